"""Ports in use, for each public address and each destination."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natscope import uapi
from natscope.codec.text.natrules import nat_rules
from natscope.model.finding import Severity
from natscope.table.flowtable import FlowTable
from natscope.views import ports
from natscope.views.pools import PortUse
from natscope.views.portalarms import Alarms, PortLimits, trend
from natscope.views.portranges import PortRanges
from natscope.views.portrecords import COLUMNS, Reading, document, record, row
from natscope.views.ports import port_use
from unit.views.natted import PUBLIC, SERVER, TIME_WAIT, flow, flows, table
from unit.views.test_portranges import nft

TEN = PortRanges(nat_rules(nft("meta l4proto tcp masquerade to :2000-2009")))


def use(found: FlowTable, ranges: PortRanges = TEN, *, evicts: bool = True) -> PortUse:
    return port_use(found, ranges, evicts=evicts)


def test_a_port_is_taken_for_one_destination_alone() -> None:
    found = use(table(flows(range(2000, 2004)), flows(range(2000, 2003), to_port=80)))
    assert [(of.port, of.used) for of in found.busiest(9)] == [(443, 4), (80, 3)]
    (pool,) = found.pools
    assert (pool.flows, pool.ports, pool.destinations, pool.hosts) == (7, 4, 2, 1)


def test_closing_connections_stand_apart_and_can_be_evicted() -> None:
    half = table(flows(range(2000, 2005)), flows(range(2005, 2010), state=TIME_WAIT))
    (new,) = use(half, evicts=True).busiest(9)
    assert (new.used, new.closing, new.hard, new.occupancy, new.loss) == (
        *(10, 5, 5),
        *(0.5, 0.0),
    )
    (old,) = use(half, evicts=False).busiest(9)
    assert (old.used, old.closing, old.hard, old.occupancy, old.loss) == (
        *(10, 5, 10),
        *(1.0, 1.0),
    )


def test_a_closing_flow_that_must_stay_is_hard() -> None:
    stuck = replace(
        flow(2000, state=TIME_WAIT),
        status=uapi.Status.SRC_NAT | uapi.Status.FIXED_TIMEOUT,
    )
    (of,) = use(table([stuck])).busiest(9)
    assert (of.used, of.closing) == (1, 0)


def test_the_boxs_own_flows_take_ports_too() -> None:
    own = replace(flow(2001, inside=PUBLIC), status=uapi.Status.CONFIRMED)
    (of,) = use(table([flow(2000), replace(own, reply=own.reply)])).busiest(9)
    assert (of.used, of.hosts) == (2, 2)


def test_an_address_nobody_is_translated_to_is_no_pool() -> None:
    plain = flow(2000)
    plain = replace(plain, reply=plain.orig.reversed(), status=uapi.Status.CONFIRMED)
    assert use(table([plain])).pools == ()
    assert use(FlowTable.empty()).busiest(9) == []


def test_a_flow_stays_in_the_class_of_its_port() -> None:
    found = use(table(flows([80, 550, 700, 1024, 65_535])), PortRanges())
    assert [(str(pool.range), pool.flows) for pool in found.pools] == [
        *(("1-511", 1), ("600-1023", 1)),
        ("1024-65535", 2),
    ]


def test_a_range_for_one_destination_counts_no_other() -> None:
    box = nft(f"ip daddr {SERVER} tcp dport 443 masquerade to :2000-2009", "masquerade")
    found = use(
        table(
            flows([2000]),
            flows([2001], to_port=80),
            flows([2002], server="198.51.100.10"),
        ),
        PortRanges(nat_rules(box)),
    )
    assert [pool.flows for pool in found.pools if pool.range.rule] == [1]


def test_a_destination_of_ipv6_within_the_prefix_of_its_rule() -> None:
    box = nft(
        "ip6 daddr 2001:db8:51::/48 meta l4proto tcp masquerade to :2000-2009",
        family="ip6",
    )
    ends = {"inside": "fd00::5", "public": "2001:db8::7"}
    found = use(
        table(
            flows([2000], server="2001:db8:51:ffff::9", **ends),
            flows([2001], server="2001:db8:52::9", **ends),
        ),
        PortRanges(nat_rules(box)),
    )
    assert [pool.flows for pool in found.pools if pool.range.rule] == [1]


def test_zones_do_not_share_ports() -> None:
    found = use(table([flow(2000), replace(flow(2000), zone=5)]))
    assert sorted((of.zone, of.used) for of in found.busiest(9)) == [(0, 1), (5, 1)]


def test_the_hosts_with_most_ports_come_first_beside_their_fair_share() -> None:
    found = use(
        table(
            flows(range(2000, 2002), inside="10.0.0.4"),
            flows(range(2002, 2007), inside="10.0.0.5"),
        )
    )
    (of,) = found.busiest(9)
    assert [(str(host.address), host.ports) for host in of.top] == [
        ("10.0.0.5", 5),
        ("10.0.0.4", 2),
    ]
    assert of.fair == 5


def test_a_filter_chooses_destinations_and_leaves_their_ports_whole() -> None:
    found = use(
        table(
            flows([2000], inside="10.0.0.4"),
            flows([2001, 2002]),
            flows([2003], to_port=80),
        )
    )
    of_one_host = found.table["orig_src"][:, 1] == 0x0A000004
    (of,) = found.busiest(9, shown=of_one_host)
    assert (of.port, of.used) == (443, 3)


def test_growth_tells_when_ports_run_out() -> None:
    before = use(table(flows(range(2000, 2004))))
    (now,) = use(table(flows(range(2000, 2006)))).busiest(9)
    found = trend(before, now, 4.0)
    assert (found.growth_per_s, found.trouble_in_s) == (0.5, 8.0)
    assert trend(use(table(flows(range(2000, 2006)))), now, 4.0).trouble_in_s is None


def test_a_record_has_what_is_known_and_csv_a_column_for_each() -> None:
    found = use(table(flows(range(2000, 2010), inside="10.0.0.4")))
    (of,) = found.busiest(9)
    reading = Reading(of, PortLimits().severity(of))
    told = record(reading)
    assert (told["severity"], told["loss"], told["occupancy"]) == ("critical", 1, 1)
    assert told["destination"] == {"address": SERVER, "port": 443}
    assert "growth_per_s" not in told
    assert "peak" not in told
    assert row(reading).keys() <= set(COLUMNS)
    whole = document(found.pools, [reading], evicts=True)
    assert (whole["schema"], len(whole["destinations"])) == ("natscope.ports/1", 1)
    assert reading.severity is Severity.CRITICAL


def test_alarms_are_told_with_what_they_are_of() -> None:
    alarms, full, one = Alarms(PortLimits()), use(table(flows(range(2000, 2010)))), 2000
    raised = document((), [], evicts=True, changes=alarms.update(full))["alarms"]
    assert raised == [
        {
            **{"change": "raised", "severity": "critical"},
            **{"public": PUBLIC, "proto": "tcp"},
            **{"first": 2000, "last": 2009, "rule": "ip nat post rule 1", "size": 10},
            "destination": {"address": SERVER, "port": 443},
        }
    ]
    changes = alarms.update(use(table(flows([one]))))
    (cleared,) = document((), [], evicts=True, changes=changes)["alarms"]
    assert (cleared["change"], "severity" in cleared) == ("cleared", False)
    assert "alarms" not in document((), [], evicts=True)


def test_the_hosts_of_a_pool_stand_with_what_each_may_have() -> None:
    found = use(
        table(
            flows(range(2000, 2004), inside="10.0.0.4"),
            flows(range(2002, 2006), inside="10.0.0.5", to_port=80),
            flows(range(2002, 2005), inside="10.0.0.5", to_port=25),
        )
    )
    (pool,) = found.pools
    assert (pool.hosts, pool.fair) == (2, 5)
    (told,) = document(found.pools, [], evicts=True)["pools"]
    assert told["top_hosts"] == [
        {"address": "10.0.0.4", "ports": 4},
        {"address": "10.0.0.5", "ports": 4},
    ]


def test_hosts_with_more_ports_than_they_may_have_are_named() -> None:
    found = use(
        table(
            flows(range(2000, 2004), inside="10.0.0.4"),
            flows(range(2004, 2009), inside="10.0.0.5"),
            flows([2009], inside="10.0.0.6"),
        )
    )
    over = found.hosts_over(3, 9)
    assert [(str(host.address), host.ports) for _, host in over] == [
        *(("10.0.0.5", 5), ("10.0.0.4", 4)),
    ]
    assert found.hosts_over(3, 1) == over[:1]
    assert found.hosts_over(5, 9) == []
    (first, _) = document((), [], evicts=True, over=over)["hosts_over"]
    assert (first["host"], first["ports"], first["public"]) == ("10.0.0.5", 5, PUBLIC)


def test_more_pools_than_fit_a_word_are_counted_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = table(
        flows(range(2000, 2004)),
        flows(range(2000, 2003), to_port=80),
        flows(
            [2000, 2001], server="2001:db8::9", inside="fd00::5", public="2001:db8::7"
        ),
    )
    packed = [of.key for of in use(rows).busiest(9)]
    monkeypatch.setattr(ports, "_MOST_PACKED", 0)
    assert {of.key for of in use(rows).busiest(9)} == set(packed)
    assert len(packed) == 3
