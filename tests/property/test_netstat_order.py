"""The order of netstat-nat lines: an exchange sort of text, without its cost."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.tuples import Address, FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.views import netstat, netstat_order
from natscope.views.netstat import Question, Show, state_word

NAMES = [uapi.protocol_name(number) for number in range(256)]


def exchange_sort(keys: list[str]) -> list[int]:
    """What netstat-nat 1.4.10 does."""
    rows = list(range(len(keys)))
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            if keys[rows[i]] > keys[rows[j]]:
                rows[i], rows[j] = rows[j], rows[i]
    return rows


@given(st.lists(st.integers(0, 6), max_size=40))
def test_equals_stand_where_an_exchange_sort_leaves_them(classes: list[int]) -> None:
    _, rank = np.unique(np.array(classes, np.intp), return_inverse=True)
    keys = [str(one) for one in classes]
    assert netstat_order.exchange_sorted(rank).tolist() == exchange_sort(keys)


def expanded(address: Address) -> str:
    return address.exploded


some_v4 = st.sampled_from(["1.2.3.4", "10.0.0.1", "100.0.0.1", "9.9.9.9", "2.0.0.10"])
some_v6 = st.sampled_from(["::1", "2001:db8::1", "2001:db8::10", "99::", "fd00::2"])
v4 = st.ip_addresses(v=4) | some_v4.map(IPv4Address)
v6 = st.ip_addresses(v=6) | some_v6.map(IPv6Address)
ports = st.integers(0, 65_535) | st.sampled_from([0, 9, 53, 443, 5353])
protos = st.sampled_from([1, 6, 17, 99, 132])


@st.composite
def routed(draw: st.DrawFn) -> Flow:
    """An untranslated flow."""
    src, dst = draw(st.tuples(v4, v4) | st.tuples(v6, v6))
    proto = draw(protos)
    ends = (draw(ports), draw(ports)) if proto in uapi.PORT_PROTOCOLS else (None, None)
    orig = FlowTuple(src, dst, proto, *ends)
    state = draw(st.integers(0, 9)) if proto == uapi.IPPROTO_TCP else None
    status = draw(st.sampled_from([0, 2, 6]))
    return Flow(orig, orig.reversed(), status=status, tcp_state=state)


def key(flow: Flow, by: str, state: str) -> tuple[str, str]:
    orig = flow.orig
    text = {
        "src": expanded(orig.src),
        "dst": expanded(orig.dst),
        "src-port": "" if orig.sport is None else str(orig.sport),
        "dst-port": "" if orig.dport is None else str(orig.dport),
        "state": state,
    }
    return NAMES[flow.proto], text[by]


@given(
    st.lists(routed(), max_size=20),
    st.sampled_from(["src", "dst", "src-port", "dst-port", "state"]),
)
def test_lines_are_sorted_as_the_text_of_a_column(flows: list[Flow], by: str) -> None:
    show = Question(Show.LOCAL | Show.ROUTED)
    lines = netstat.lines(FlowTable.from_flows(flows), Evidence(), show)
    states = [state_word(code) for code in lines.state.tolist()]
    keys = [key(f, by, state) for f, state in zip(flows, states, strict=True)]
    got = netstat_order.order(lines, by, NAMES).tolist()
    assert sorted(got) == list(range(len(flows)))
    assert [keys[row] for row in got] == sorted(keys)
