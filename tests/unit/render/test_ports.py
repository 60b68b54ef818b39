"""Ports in use, as people read them."""

from __future__ import annotations

from dataclasses import replace

from natscope.model.finding import Severity
from natscope.render import ports as rendered
from natscope.views.pools import Destination
from natscope.views.portalarms import Alarms, PortLimits, Trend
from natscope.views.portrecords import Reading
from unit.views.natted import TIME_WAIT, flows, table
from unit.views.test_ports import use

FULL = use(
    table(
        flows(range(2000, 2006), inside="10.0.0.2"),
        flows(range(2006, 2010), inside="10.0.0.3"),
    )
)
HALF = use(table(flows(range(2000, 2004)), flows([2004], state=TIME_WAIT)))


def reading(of: Destination) -> Reading:
    return Reading(of, PortLimits().severity(of))


def test_pools_and_destinations_are_two_tables() -> None:
    (of,) = FULL.busiest(9)
    lines = rendered.pools(FULL.pools, heading=True)
    assert lines == [
        "PUBLIC       PROTO  RANGE      FLOWS  PORTS  DESTINATIONS  HOSTS  FAIR  TOP-HOST    BY",
        "203.0.113.7  tcp    2000-2009     10     10             1      2     5  10.0.0.2 6  ip nat post rule 1",
    ]
    assert rendered.destinations([reading(of)], heading=True) == [
        "PUBLIC       PROTO  RANGE      DESTINATION       USED  CLOSING  OF  TAKEN   LOSS  HOSTS  TOP-HOST",
        "203.0.113.7  tcp    2000-2009  198.51.100.9:443    10        0  10  100 %  100 %      2  10.0.0.2 60 %",
    ]


def test_of_many_pools_the_fullest_are_shown() -> None:
    (pool,) = FULL.pools
    many = [replace(pool, ports=ports) for ports in range(60)]
    lines = rendered.pools(many, heading=False)
    assert [line.split()[4] for line in lines[:2]] == ["59", "58"]
    assert lines[-1] == "and 10 less full (--json has all)"
    assert len(lines) == rendered.MOST_POOLS + 1


def test_growth_and_peak_have_columns_where_they_are_known() -> None:
    (of,) = HALF.busiest(9)
    watched = Reading(of, None, Trend(0.5, 12.0), 7)
    heading, line = rendered.destinations([watched], heading=True)
    assert heading.split()[7:12] == ["PEAK", "TAKEN", "LOSS", "GROWTH", "TROUBLE-IN"]
    assert line.split()[7:] == [*("7", "40", "%", "0", "%", "+0.5/s", "12s"), "1",
                                "10.0.0.5", "100", "%"]  # fmt: skip


def test_a_full_range_is_told_in_a_sentence() -> None:
    (of,) = FULL.busiest(9)
    assert rendered.troubles([reading(of)]) == [
        "critical: tcp from 203.0.113.7 to 198.51.100.9:443 (2000-2009, by ip nat post "
        "rule 1): 10 of 10 ports are taken, every new flow that needs one is dropped; "
        "10.0.0.2 has 6, a fair share among 2 hosts is 5"
    ]


def test_what_is_far_from_trouble_gets_no_sentence() -> None:
    (of,) = HALF.busiest(9)
    assert rendered.troubles([reading(of)]) == []
    assert rendered.sentence(of).endswith(
        "4 of 10 ports are taken, new flows are lost from about 10 on; 1 more wait for "
        "their end and can be evicted"
    )


def test_alarms_are_told_when_they_are_raised_and_cleared() -> None:
    alarms = Alarms(PortLimits())
    (raised,) = rendered.changes(alarms.update(FULL))
    assert raised.startswith(
        "raised critical: tcp from 203.0.113.7 to 198.51.100.9:443"
    )
    assert rendered.changes(alarms.update(HALF)) == [
        "cleared: tcp from 203.0.113.7 to 198.51.100.9:443 (2000-2009, by ip nat post "
        "rule 1)"
    ]


def test_drops_are_blamed_on_ports_only_where_ports_are_short() -> None:
    rose = {"drop": 4, "insert_failed": 4}
    said = rendered.counted(rose, 10.0, Severity.CRITICAL)
    assert said == (
        "in 10s: drop +4, insert_failed +4: new flows were dropped for want of a port"
    )
    assert "raced" in rendered.counted(rose, 10.0, None)
    quiet = {"drop": 0, "insert_failed": 0}
    assert rendered.counted(quiet, 10.0, None) == "in 10s: drop +0, insert_failed +0"
