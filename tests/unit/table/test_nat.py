"""The NAT view of columns: the parts of every row, and the network questions.

The kinds themselves are decided once, in ``unit/model/test_nat.py``; here the
same cases go through the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_interface, ip_network

import numpy as np
import pytest

from natscope import uapi
from natscope.model.nat import Kind, endpoint
from natscope.table import nat
from natscope.table.flowtable import FlowTable
from natscope.table.records import address_at, address_words
from unit.model.translated import CASES, EVIDENCE, Case, at

PARTS = ("inside", "public", "outside", "target")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_columns_say_of_one_row_what_the_record_says(case: Case) -> None:
    view = nat.translations(FlowTable.from_flows([case.flow]), EVIDENCE)
    assert case.kind == Kind(int(view.kind[0]))
    for name in PARTS:
        part = view.part(name)
        want = endpoint(case.flow, getattr(case.ends, name))
        assert bool(part.has_address[0]) == (want is not None)
        if want is None:
            continue
        got = address_at(case.flow.family, *map(int, part.address[0]))
        assert want.address == got
        assert want.port == (int(part.port[0]) if part.has_port[0] else None)


def test_rows_of_every_kind_are_told_apart_in_one_table() -> None:
    table = FlowTable.from_flows([case.flow for case in CASES])
    view = nat.translations(table, EVIDENCE)
    assert [case.kind for case in CASES] == [Kind(int(k)) for k in view.kind]


def test_which_end_changed_is_told_for_address_and_port_apart() -> None:
    flows = {case.id: case.flow for case in CASES}
    rows = ["source, port kept", "source, port changed", "port forward"]
    table = FlowTable.from_flows([flows[row] for row in rows])
    view = nat.translations(table, EVIDENCE)
    assert view.snat.tolist() == [True, True, False]
    assert view.spat.tolist() == [False, True, False]
    assert view.dnat.tolist() == [False, False, True]
    assert view.dpat.tolist() == [False, False, True]


def test_an_empty_table_has_no_translations() -> None:
    view = nat.translations(FlowTable.empty(), EVIDENCE)
    assert len(view.kind) == len(view.part("public").address) == 0


@dataclass(frozen=True)
class Within:
    id: str
    network: str
    address: str
    inside: bool


WITHIN = [
    Within("a host of the network", "10.0.0.0/8", "10.255.255.255", True),
    Within("its neighbour", "10.0.0.0/8", "11.0.0.0", False),
    Within("a host route", "192.0.2.1/32", "192.0.2.1", True),
    Within("everything", "0.0.0.0/0", "255.255.255.255", True),
    Within("everything is one family only", "0.0.0.0/0", "::1", False),
    Within("the other family's everything", "::/0", "10.0.0.1", False),
    Within("the words of v4 are not v6", "::/96", "0.0.0.5", False),
    Within("v6 across the words", "2001:db8::/32", "2001:db8:ffff::1", True),
    Within("v6 below the high word", "2001:db8::/96", "2001:db8::1:0:0", False),
    Within("v6 host", "2001:db8::1/128", "2001:db8::1", True),
    Within("v6 host, other low word", "2001:db8::1/128", "2001:db8::2", False),
    Within("v6 at the word's edge", "2001:db8::/64", "2001:db8:0:1::", False),
]


@pytest.mark.parametrize("case", WITHIN, ids=lambda case: case.id)
def test_a_network_holds_what_ipaddress_says_it_holds(case: Within) -> None:
    network, address = ip_network(case.network), at(case.address)
    assert case.inside == (address in network)
    families = {4: uapi.AF_INET, 6: uapi.AF_INET6}
    found = nat.in_network(
        np.array([families[address.version]], np.uint8),
        np.array([address_words(address)], np.uint64),
        families[network.version],
        int(network.network_address),
        network.prefixlen,
    )
    assert [case.inside] == found.tolist()


def test_the_boxs_own_addresses_are_local_and_no_others_of_its_network() -> None:
    own = (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))
    texts = ["192.0.2.1", "192.0.2.2", "127.8.8.8", "2001:db8::1", "2001:db8::2", "::1"]
    addresses = [at(text) for text in texts]
    found = nat.is_local(
        np.array([2 if a.version == 4 else 10 for a in addresses], np.uint8),
        np.array([address_words(a) for a in addresses], np.uint64),
        own,
    )
    assert found.tolist() == [True, False, True, True, False, True]
