"""Alarms on ports: raised, raised higher, cleared below their limit, not flapping."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natscope.codec.text.natrules import nat_rules
from natscope.model.finding import Severity
from natscope.views import portalarms
from natscope.views.pools import PortUse
from natscope.views.portalarms import Alarms, PortLimits
from natscope.views.portranges import PortRanges
from natscope.views.ports import port_use
from unit.views.natted import flows, table
from unit.views.test_portranges import nft

HUNDRED = PortRanges(nat_rules(nft("meta l4proto tcp masquerade to :2000-2099")))


def use(taken: int) -> PortUse:
    return port_use(table(flows(range(2000, 2000 + taken))), HUNDRED, evicts=True)


def told(alarms: Alarms, taken: int) -> list[Severity | None]:
    return [change.severity for change in alarms.update(use(taken))]


def test_an_alarm_is_raised_once_and_again_when_it_grows_worse() -> None:
    alarms = Alarms(PortLimits())
    assert told(alarms, 69) == []
    assert told(alarms, 70) == [Severity.WARNING]
    assert told(alarms, 75) == []
    assert told(alarms, 90) == [Severity.HIGH]
    assert told(alarms, 100) == [Severity.CRITICAL]


def test_an_alarm_is_cleared_well_below_its_limit() -> None:
    alarms = Alarms(PortLimits(clear=0.10))
    assert told(alarms, 70) == [Severity.WARNING]
    assert told(alarms, 61) == []
    assert told(alarms, 70) == []
    assert told(alarms, 59) == [None]
    assert told(alarms, 65) == []


def test_an_alarm_is_cleared_when_all_flows_are_gone() -> None:
    alarms = Alarms(PortLimits())
    assert told(alarms, 100) == [Severity.CRITICAL]
    assert told(alarms, 0) == [None]


def test_an_alarm_falls_a_step_only_when_it_is_well_below_it() -> None:
    alarms = Alarms(PortLimits())
    assert told(alarms, 88) == [Severity.HIGH]
    assert told(alarms, 84) == []
    assert told(alarms, 88) == []
    assert told(alarms, 80) == []
    assert told(alarms, 88) == [Severity.HIGH]


def test_a_chance_of_loss_at_its_limit_does_not_flap() -> None:
    (of,) = use(50).busiest(1)
    limits = PortLimits()
    at_limit, below, far = (replace(of, loss=lost) for lost in (0.001, 0.0006, 0.0004))
    assert limits.severity(at_limit) is Severity.HIGH
    assert limits.severity(below) is None
    assert limits.severity(below, slack=limits.clear) is Severity.HIGH
    assert limits.severity(far, slack=limits.clear) is None


def test_the_peak_stays() -> None:
    alarms = Alarms(PortLimits())
    peaks = [alarms.peak(use(taken).busiest(1)[0]) for taken in (10, 30, 20)]
    assert peaks == [10, 30, 30]


def test_the_peak_of_what_was_not_looked_at_for_long_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portalarms, "MOST_PEAKS", 2)
    alarms = Alarms(PortLimits())
    many, few = (
        port_use(
            table(*(flows(range(2000, 2000 + n), to_port=port) for port in (1, 2, 3))),
            HUNDRED,
            evicts=True,
        ).busiest(3)
        for n in (30, 10)
    )
    for of in (many[0], many[1], many[0], many[2]):
        assert alarms.peak(of) == 30
    # the second was looked at before the first
    assert [alarms.peak(few[at]) for at in (0, 2, 1)] == [30, 30, 10]


def test_a_range_of_a_few_ports_is_trouble_only_when_it_is_full() -> None:
    four = PortRanges(nat_rules(nft("meta l4proto tcp masquerade to :2000-2003")))
    found = [
        port_use(table(flows(range(2000, 2000 + taken))), four, evicts=True)
        for taken in (3, 4)
    ]
    severities = [PortLimits().severity(use.busiest(1)[0]) for use in found]
    assert severities == [None, Severity.CRITICAL]
