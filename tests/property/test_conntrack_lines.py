"""conntrack(8)'s lines of one flow and of many are the same bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope.codec.encode import cells_of
from natscope.model.flow import Flow
from natscope.model.labelmap import LabelMap
from natscope.render.conntrack import address, forms
from natscope.render.conntrack.line import line
from natscope.render.conntrack.lines import lines
from natscope.render.conntrack.style import Style
from natscope.table.flowtable import FlowTable
from strategies import NOW_NS, V4, V6, addresses, flows, versions

LABELS = LabelMap({0: "web", 1: "vip customer", 64: "high", 127: "last"})


@st.composite
def styles(draw: st.DrawFn) -> Style:
    """Every option of -o, on and off."""
    return Style(
        format=draw(st.sampled_from(tuple(forms.FORMS))),
        extended=draw(st.booleans()),
        id=draw(st.booleans()),
        ktimestamp=draw(st.booleans()),
        labels=draw(st.sampled_from((None, LABELS))),
        timestamp=draw(st.booleans()),
        now_s=NOW_NS // 10**9,
    )


@st.composite
def events(draw: st.DrawFn) -> tuple[list[Flow], list[int]]:
    """Flows, and what happened to each."""
    found = draw(st.lists(st.tuples(flows(wire=True), st.integers(0, 3)), max_size=8))
    return [flow for flow, _ in found], [code for _, code in found]


@given(happened=events(), style=styles())
def test_a_table_prints_what_its_flows_print_one_by_one(
    happened: tuple[list[Flow], list[int]], style: Style
) -> None:
    found, codes = happened
    each = [
        line(cells_of(flow), style, forms.EVENTS[code])
        for flow, code in zip(found, codes, strict=True)
    ]
    table = FlowTable.from_flows(found)
    assert lines(table, style, np.array(codes, np.uint8)) == b"".join(each)


@given(found=st.lists(flows(wire=True), max_size=8), style=styles())
def test_without_events_nothing_has_happened_to_any_flow(
    found: list[Flow], style: Style
) -> None:
    each = [line(cells_of(flow), style) for flow in found]
    assert lines(FlowTable.from_flows(found), style) == b"".join(each)


@given(st.sampled_from([*V4, *V6]) | versions().flatmap(addresses))
def test_addresses_are_those_of_inet_ntop(found: object) -> None:
    import socket
    from ipaddress import IPv4Address, IPv6Address

    assert isinstance(found, IPv4Address | IPv6Address)
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    assert address.text(found.packed) == socket.inet_ntop(family, found.packed)


@given(st.binary(min_size=1, max_size=6), st.integers(0, 14))
def test_addresses_with_long_runs_of_zeros_too(some: bytes, at: int) -> None:
    import socket

    packed = (bytes(at) + some).ljust(16, b"\0")[:16]
    assert address.text(packed) == socket.inet_ntop(socket.AF_INET6, packed)
