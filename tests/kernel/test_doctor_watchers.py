"""R31, R34 to R36: rulesets, listeners and settings, on a real router."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import unavailable
from kernel.router import MASQUERADE, SERVER, WAN, Hosts, hosts
from natscope import uapi
from natscope.actions import mending
from natscope.lab.build import built
from natscope.lab.traffic import Traffic, happen
from natscope.model.finding import Severity
from natscope.sources import tools
from natscope.sources.nlsocket import NetlinkSocket
from natscope.sources.snapshot import collect
from natscope.views.doctor import diagnosis
from natscope.views.doctor.snapshot import Snapshot

pytestmark = pytest.mark.kernel


@pytest.fixture
def box() -> Iterator[Hosts]:
    with hosts() as made:
        yield made


@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
def test_nat_of_two_tools_is_found_and_moved_to_one(box: Hosts, tool: str) -> None:
    family = tool.removesuffix("tables")
    if tools.find(f"{tool}-legacy") is None:
        unavailable(f"{tool}-legacy is not installed")
    box.rules(MASQUERADE.replace("table ip", f"table {family}"))
    assert box.findings("R31") == ()
    with box.router.enter():
        if not Path(f"/proc/thread-self/net/{family}_tables_names").exists():
            unavailable(f"this kernel has no {tool}-legacy")
        words = f"{tool}-legacy -t nat -A POSTROUTING -o wan -j MASQUERADE"
        tools.run(words.split())
    (found,) = box.findings("R31")
    assert found.about == f"{tool}-legacy"
    with box.router.enter():
        mending.run(found.remedies[0].command)
        assert "-A" not in tools.run([f"{tool}-legacy-save"])
        assert "-o wan -j MASQUERADE" in tools.run([f"{tool}-nft-save"])
    assert box.findings("R31") == ()


def test_a_rule_that_never_has_its_turn_is_found_and_is_in_vain(box: Hosts) -> None:
    box.rules(MASQUERADE)
    second = MASQUERADE.replace("ip nat", "ip later").replace("srcnat", "srcnat + 5")
    box.rules(second)
    assert box.findings("R31") == ()
    box.rules("delete table ip later")
    box.rules(second.replace("masquerade", f"snat to {SERVER}"))
    (found,) = box.findings("R31")
    assert found.about is not None
    assert found.about.startswith("ip later postrouting")
    box.datagrams([9])
    (flow,) = box.snapshot().flows
    assert str(flow.reply.dst) == WAN


def test_a_listener_that_loses_events_is_found(box: Hosts) -> None:
    box.rules(MASQUERADE)
    with box.router.enter():
        listener = NetlinkSocket()
    with listener:
        listener.listen([uapi.Group.CONNTRACK_NEW], buffer_size=1)
        assert box.findings("R34") == ()
        (found,) = box.findings("R34", lambda: box.datagrams(list(range(1, 600))))
    assert found.severity is Severity.HIGH
    assert int(found.facts[0].value) > 0


def test_settings_that_keep_flows_blind_are_told(box: Hosts) -> None:
    box.rules(MASQUERADE)
    box.setting("net/netfilter/nf_conntrack_acct", "0")
    assert box.findings("R35") == ()  # nothing is tracked yet
    box.datagrams([9])
    (found,) = box.findings("R35")
    assert found.headline == "conntrack keeps no bytes or packets of flows"
    box.setting("net/netfilter/nf_conntrack_timestamp", "0")
    both = box.findings("R35")
    assert [one.about for one in both] == ["acct", "timestamp"]
    for one in both:
        with box.router.enter():
            mending.run(one.remedies[0].command)
    assert box.findings("R35") == ()
    box.datagrams([10])
    (flow,) = (one for one in box.snapshot().flows if one.orig.dport == 10)
    assert flow.orig_packets == 1
    assert flow.start_ns is not None


def test_masquerade_beside_a_replicator_is_found(box: Hosts, tmp_path: Path) -> None:
    box.rules(MASQUERADE)
    program = tmp_path / "conntrackd"
    cat = shutil.which("cat")
    assert cat is not None
    shutil.copy(cat, program)
    assert box.findings("R36") == ()
    with box.router.enter():
        running = subprocess.Popen([program], stdin=subprocess.PIPE)
    with running:
        assert running.stdin is not None
        found = box.findings("R36")
        box.setting("net/netfilter/nf_conntrack_tcp_loose", "0")
        strict = box.findings("R36")
        for one in strict:
            command = one.remedies[0].command.replace("SHARED-ADDRESS", WAN)
            with box.router.enter():
                listed = tools.run(["nft", "-a", "list", "ruleset"])
                handle = re.search(r"masquerade # (handle \d+)", listed)
                assert handle is not None
                mending.run(command.replace("handle N", handle[1]))
        mended = box.findings("R36")
        running.stdin.close()
    assert [one.about for one in found] == ["masquerade"]
    assert [one.about for one in strict] == ["loose", "masquerade"]
    assert mended == ()


def test_a_healthy_box_has_none_of_it() -> None:
    with built() as lab, Traffic(lab) as traffic, lab.inside("box"):
        bundle, flows = collect(interval_s=1.0, wait=lambda _: list(happen(traffic)))
    asked = [rule.id for rule in diagnosis.RULES if rule.id > "R12"]
    # other tests have namespaces of their own, and keep the CPUs busy
    asked = [rule for rule in asked if rule not in ("R24", "R33")]
    found = diagnosis.diagnose(Snapshot.of(bundle, flows), only=asked)
    assert (found.findings, found.not_checked) == ((), ())
    assert len(found.checked) == 23
