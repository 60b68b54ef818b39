"""R17, R18: flows that stay too long or end too soon, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from kernel import crowd
from kernel.router import CLIENT, SERVER, TRACKED, Hosts, hosts
from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.views.doctor.thresholds import Thresholds

pytestmark = pytest.mark.kernel
TIMEOUT = "net/netfilter/nf_conntrack_tcp_timeout_"
DAYS_S = 432_000


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with hosts() as made:
        yield made


def _add(box: Hosts, state: str, timeout: int, count: int, sport: int = 1024) -> None:
    """TCP flows of the client that are in a state, with so much time left."""
    replied = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED | uapi.Status.CONFIRMED
    found = []
    for at in range(count):
        ends = (ip_address(CLIENT), ip_address(SERVER))
        orig = FlowTuple(*ends, uapi.IPPROTO_TCP, sport + at, 80)
        found.append(
            Flow(
                orig,
                orig.reversed(),
                status=replied,
                timeout=timeout,
                tcp_state=uapi.TCP_STATES.index(state),
            )
        )
    with box.router.enter():
        crowd.insert(found)


def _sysctl(box: Hosts, name: str) -> str:
    with box.router.enter():
        return Path("/proc/sys", TIMEOUT + name).read_text().strip()


def test_flows_that_are_idle_for_hours_are_found_and_may_be_deleted(
    box: Hosts,
) -> None:
    few = Thresholds(idle_table=0.0, idle_flows=10)
    _add(box, "ESTABLISHED", DAYS_S - 60, 10)
    assert box.findings("R17", thresholds=few) == ()
    _add(box, "ESTABLISHED", DAYS_S - 7200, 10, sport=2048)
    (found,) = box.findings("R17", thresholds=few)
    assert found.about == "idle"
    assert found.facts[0].value == 10
    setting, delete = found.remedies
    box.mend(setting)
    assert _sysctl(box, "established") == "86400"
    box.setting(f"{TIMEOUT}established", str(DAYS_S))  # by it idle time is known
    box.mend(delete)
    assert box.findings("R17", thresholds=few) == ()
    assert len(box.snapshot().flows) == 10


def test_a_timeout_below_the_keep_alives_is_told_with_who_is_next(box: Hosts) -> None:
    box.setting(f"{TIMEOUT}established", "900")
    _add(box, "ESTABLISHED", 890, 3)
    _add(box, "ESTABLISHED", 300, 2, sport=2048)
    (found,) = box.findings("R17")
    assert [fact.value for fact in found.facts] == [900, 7200, 7440, 2]
    assert {flow.orig.sport for flow in found.flows} == {2048, 2049}
    box.mend(found.remedies[0])
    assert box.findings("R17") == ()


@pytest.mark.parametrize(
    ("state", "before", "after"),
    [("CLOSE_WAIT", "3600", "60"), ("TIME_WAIT", "120", "30")],
)
def test_flows_that_are_closed_pile_up_until_their_timeout_is_short(
    box: Hosts, state: str, before: str, after: str
) -> None:
    box.rules(TRACKED)
    setting = state.lower()
    box.setting(TIMEOUT + setting, before)
    few = Thresholds(closing_flows=100, time_wait_table=0.0)
    _add(box, state, 25, 100)
    (found,) = box.findings("R18", thresholds=few)
    assert found.about == state
    assert {flow.orig.dport for flow in found.flows} == {80}
    box.mend(found.remedies[0])
    assert _sysctl(box, setting) == after
    assert box.findings("R18", thresholds=few) == ()
