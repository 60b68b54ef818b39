"""Bundles from strangers, and stand-ins for their addresses."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from bundles import BUNDLE
from natscope.codec import flowcolumns
from natscope.codec.bundle import decode, encode
from natscope.codec.iproute import commands, inet6_commands
from natscope.errors import DecodeError
from natscope.model.bundle import Bundle
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.views.redaction import redacted
from natscope.views.standins import StandIns
from property.crowd import crowds
from strategies import flows

WHOLE = encode(BUNDLE)
STAND_INS = StandIns(b"key", [ip_network("203.0.112.0/20")])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
V4 = st.integers(0, 2**32 - 1)
V6 = st.integers(0, 2**128 - 1)


def _used(data: bytes) -> None:
    """What decodes can be written, redacted and built; what does not says so."""
    try:
        bundle = decode(data)
    except DecodeError as error:
        assert str(error)
        return
    assert decode(encode(bundle)) == bundle
    try:
        hidden = redacted(bundle, b"key")
    except DecodeError as error:
        assert error.path[0] == "flows"  # they are read when they are asked for
        return
    lines = commands(hidden) + inet6_commands(bundle)
    assert [line for line in lines if "\n" in line] == []


@given(
    at=st.integers(0, len(WHOLE) - 1), new=st.binary(max_size=3), cut=st.integers(0, 9)
)
def test_any_change_of_bytes_gives_a_bundle_or_an_error(
    at: int, new: bytes, cut: int
) -> None:
    _used(WHOLE[:at] + new + WHOLE[at + cut :])


@given(data=st.data())
def test_any_change_of_a_member_gives_a_bundle_or_an_error(data: st.DataObject) -> None:
    document = json.loads(WHOLE)
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(JUNK)
            break
        place = inner
    _used(json.dumps(document).encode())


@given(rows=crowds | st.lists(flows(), max_size=6))
def test_flows_are_unpacked_as_they_were_packed(rows: list[Flow]) -> None:
    known = [replace(flow, extra=None) for flow in rows]
    table = FlowTable.from_flows(rows)
    assert list(flowcolumns.unpack(flowcolumns.pack(table))) == known


@given(rows=st.lists(flows(), max_size=6))
def test_flows_between_stand_ins_are_those_of_their_records(rows: list[Flow]) -> None:
    bundle = Bundle(1, flows=flowcolumns.pack(FlowTable.from_flows(rows)))
    hidden = redacted(bundle, b"key").flows
    assert hidden is not None
    stand_ins = StandIns(b"key")
    for flow, told in zip(flowcolumns.unpack(hidden), rows, strict=True):
        assert flow.orig.src == stand_ins.address(told.orig.src)
        assert flow.reply.dst == stand_ins.address(told.reply.dst)
        assert (flow.orig.sport, flow.id) == (told.orig.sport, told.id)


@given(one=V4, other=V4)
def test_ipv4_stand_ins_share_what_the_addresses_share(one: int, other: int) -> None:
    _shared(one, other, 32)


@given(one=V6, other=V6)
def test_ipv6_stand_ins_share_what_the_addresses_share(one: int, other: int) -> None:
    _shared(one | 1 << 125, other | 1 << 125, 128)


@given(one=V4, bit=st.integers(0, 31))
def test_neighbours_in_the_tree_stay_neighbours(one: int, bit: int) -> None:
    _shared(one, one ^ 1 << bit, 32)


def _shared(one: int, other: int, bits: int) -> None:
    kind = type(ip_address("0.0.0.0" if bits == 32 else "::"))
    new = [int(STAND_INS.address(kind(value))) for value in (one, other)]
    assert (one ^ other).bit_length() == (new[0] ^ new[1]).bit_length()


@given(address=V4, length=st.integers(0, 32), other=V4)
def test_a_prefix_holds_the_stand_ins_of_what_it_held(
    address: int, length: int, other: int
) -> None:
    prefix = ip_network((address, length), strict=False)
    inside = ip_address(int(prefix.network_address) | other & int(prefix.hostmask))
    new = STAND_INS.prefix(prefix)
    assert new.prefixlen == length
    assert STAND_INS.address(inside) in new
    assert (STAND_INS.address(ip_address(other)) in new) == (
        ip_address(other) in prefix
    )


@given(address=V4)
def test_private_addresses_stay_and_public_ones_stay_public(address: int) -> None:
    before = ip_address(address)
    after = STAND_INS.address(before)
    private = [*map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))]
    held = [*private, ip_network("127.0.0.0/8"), ip_network("224.0.0.0/3")]
    assert [before in one for one in held] == [after in one for one in held]
    if any(before in one for one in held):
        assert after == before
