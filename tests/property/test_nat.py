"""What columns say of a translation is what the record says, row by row."""

from __future__ import annotations

from ipaddress import ip_network

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.model import nat as scalar
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import ROLES, Endpoint, Kind
from natscope.table import nat
from natscope.table.flowtable import FlowTable
from natscope.table.records import address_at, address_words
from property.crowd import POOL, Address, crowds, evidence
from strategies import flows

FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}
addresses = st.lists(
    st.one_of(st.sampled_from(POOL[4] + POOL[6]), st.ip_addresses()), max_size=12
)


def words(of: list[Address]) -> tuple[nat.Codes, nat.Words]:
    """Families and address words, as columns hold them."""
    family = np.array([FAMILY[a.version] for a in of], np.uint8)
    return family, np.array([address_words(a) for a in of], np.uint64).reshape(-1, 2)


@given(crowds | st.lists(flows(), max_size=6), evidence)
def test_kind_and_cast_are_the_records(rows: list[Flow], seen: Evidence) -> None:
    view = nat.translations(FlowTable.from_flows(rows), seen)
    got = [
        (Kind(kind), ROLES[role])
        for kind, role in zip(view.kind.tolist(), view.role.tolist(), strict=True)
    ]
    assert got == [scalar.classify(flow, seen) for flow in rows]


@given(crowds | st.lists(flows(), max_size=6), evidence)
def test_every_part_is_the_records_endpoint(rows: list[Flow], seen: Evidence) -> None:
    view = nat.translations(FlowTable.from_flows(rows), seen)
    wanted = [scalar.translation(flow, seen) for flow in rows]
    for name in ("inside", "public", "outside", "target"):
        part = view.part(name)
        got = [
            Endpoint(
                address_at(flow.family, *map(int, part.address[row])),
                int(part.port[row]) if part.has_port[row] else None,
            )
            if part.has_address[row]
            else None
            for row, flow in enumerate(rows)
        ]
        assert got == [getattr(translation, name) for translation in wanted]


@given(addresses, st.ip_addresses(), st.data())
def test_a_network_holds_what_ipaddress_says(
    some: list[Address], base: Address, data: st.DataObject
) -> None:
    prefix = data.draw(st.integers(0, base.max_prefixlen))
    network = ip_network((base, prefix), strict=False)
    family, value = words(some)
    found = nat.in_network(
        family,
        value,
        FAMILY[network.version],
        int(network.network_address),
        network.prefixlen,
    )
    assert found.tolist() == [address in network for address in some]


@given(addresses, evidence)
def test_private_and_local_are_the_scalar_answers(
    some: list[Address], seen: Evidence
) -> None:
    family, value = words(some)
    private = nat.is_private(family, value).tolist()
    local = nat.is_local(family, value, seen.addresses).tolist()
    assert private == [scalar.is_private(address) for address in some]
    assert local == [scalar.is_local(address, seen.addresses) for address in some]


@given(st.lists(st.sampled_from([4, 6]), max_size=10), evidence, st.data())
def test_one_subnet_is_the_scalar_answer(
    versions: list[int], seen: Evidence, data: st.DataObject
) -> None:
    pairs = [
        (data.draw(st.sampled_from(POOL[v])), data.draw(st.sampled_from(POOL[v])))
        for v in versions
    ]
    family, one = words([a for a, _ in pairs])
    _, other = words([b for _, b in pairs])
    found = nat.same_subnet(family, one, other, seen.addresses).tolist()
    assert found == [scalar.same_subnet(a, b, seen.addresses) for a, b in pairs]
