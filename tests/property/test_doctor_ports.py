"""Ports towards each destination: columns say what counting flow by flow says."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.model.bundle import Bundle, Ruleset
from natscope.model.flow import Flow
from natscope.model.measured import Measured
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.exhaustion import CLASSES, fullest
from natscope.views.doctor.snapshot import Snapshot

PUBLIC = ("203.0.113.1", "203.0.113.2", "2001:db8::1")
REMOTE = ("198.51.100.9", "198.51.100.10", "2001:db8::9")
RULES = """table inet nat { chain c { type nat hook postrouting priority srcnat;
    masquerade to :2000-2003
} }"""
STATES = ("SYN_SENT", "ESTABLISHED", "TIME_WAIT", "CLOSE")
CLOSING = tuple(map(uapi.TCP_STATES.index, ("TIME_WAIT", "CLOSE")))
AT_LEAST = 0.5


@st.composite
def flows(draw: st.DrawFn) -> list[Flow]:
    made: dict[FlowTuple, Flow] = {}
    for _ in range(draw(st.integers(0, 30))):
        at = draw(st.integers(0, 2))
        public = ip_address(PUBLIC[at])
        remote = ip_address(REMOTE[2 if at == 2 else draw(st.integers(0, 1))])
        proto = draw(st.sampled_from([6, 17]))
        port = draw(st.sampled_from([1, 700, 2000, 2001, 2002, 2003, 2004]))
        reply = FlowTuple(remote, public, proto, draw(st.sampled_from([53, 443])), port)
        inside = ip_address("fd00::2" if at == 2 else "10.0.0.2")
        orig = FlowTuple(inside, remote, proto, 5000 + len(made), reply.sport)
        state = draw(st.sampled_from(STATES)) if proto == 6 else None
        made[reply] = Flow(
            orig,
            reply,
            status=uapi.Status.CONFIRMED
            | draw(st.sampled_from([0, uapi.Status.SRC_NAT])),
            tcp_state=None if state is None else uapi.TCP_STATES.index(state),
        )
    return list(made.values())


@given(flows())
def test_the_ports_held_are_those_counted_one_by_one(made: list[Flow]) -> None:
    bundle = Bundle(1, kernel="6.18.1", rulesets=(Ruleset("nft", RULES),))
    snapshot = Snapshot(bundle, Measured(), FlowTable.from_flows(made))
    found = {
        (one.proto, one.public, one.remote, one.remote_port, one.ports): one.held
        for one in fullest(snapshot, AT_LEAST)
    }
    assert found == _counted(made)


def _counted(made: list[Flow]) -> dict[tuple[object, ...], int]:
    given_away = {f.reply.dst for f in made if (f.status or 0) & uapi.Status.SRC_NAT}
    held: Counter[tuple[object, ...]] = Counter()
    taken: Counter[tuple[object, ...]] = Counter()
    total: Counter[tuple[object, ...]] = Counter()
    for flow in made:
        reply = flow.reply
        if reply.dst not in given_away:
            continue
        key = (reply.proto, reply.dst, reply.src, reply.sport)
        total[key] += 1
        closing = flow.tcp_state in CLOSING
        for span in ((2000, 2003), *CLASSES):
            if span[0] <= (reply.dport or 0) <= span[1]:
                taken[*key, span] += 1
                held[*key, span] += not closing
    by_rule = {
        key for key in total if taken[*key, (2000, 2003)] >= max(1, total[key] / 2)
    }
    return {
        key: number
        for key, number in held.items()
        if (key[:4] in by_rule) is (key[4] == (2000, 2003))
        and number >= AT_LEAST * (key[4][1] - key[4][0] + 1)  # type: ignore[index]
    }
