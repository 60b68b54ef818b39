"""Ports in use as tables and sentences for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from natscope import uapi
from natscope.model.finding import Severity
from natscope.model.nat import Endpoint
from natscope.render.columns import ABSENT, Row, aligned, count, span
from natscope.views.pools import Destination, DestinationKey, HostUse, Pool
from natscope.views.portalarms import Change
from natscope.views.portrecords import Reading
from natscope.views.shares import percent
from natscope.views.who import show

_POOL = ("PUBLIC", "PROTO", "RANGE", "FLOWS", "PORTS", "DESTINATIONS", "HOSTS", "FAIR")
_POOL_END = ("TOP-HOST", "BY")
_DESTINATION = ("PUBLIC", "PROTO", "RANGE", "DESTINATION", "USED", "CLOSING", "OF")
_STATE = ("TAKEN", "LOSS")
_TREND = ("GROWTH", "TROUBLE-IN")
_HOSTS = ("HOSTS", "TOP-HOST")
_KERNEL = "kernel"
MOST_POOLS = 50
"""Lines of pools: carriers have a range for each subscriber."""
_TOLD = ("drop", "insert_failed")
"""Counters that say new flows were dropped for want of a port."""


def pools(found: Sequence[Pool], *, heading: bool) -> list[str]:
    """A line a public address, protocol and range; of very many the fullest."""
    shown = found
    if len(found) > MOST_POOLS:
        shown = sorted(found, key=lambda pool: -pool.ports / pool.range.size)
    shown = shown[:MOST_POOLS]
    rows = [
        (
            *(str(pool.public) + _zone(pool.zone), uapi.protocol_name(pool.proto)),
            *(str(pool.range), str(pool.flows), str(pool.ports)),
            *(str(pool.destinations), str(pool.hosts), str(pool.fair)),
            *(_first(pool.top), pool.range.rule or _KERNEL),
        )
        for pool in shown
    ]
    heads = (*_POOL, *_POOL_END) if heading else None
    lines = aligned(rows, heads, right=(3, 4, 5, 6, 7))
    if len(found) > len(shown):
        lines.append(f"and {len(found) - len(shown)} less full (--json has all)")
    return lines


def _first(top: Sequence[HostUse]) -> str:
    return f"{top[0].address} {top[0].ports}" if top else ABSENT


def destinations(readings: Sequence[Reading], *, heading: bool) -> list[str]:
    """A line a destination, as they come."""
    has_trend = any(reading.trend for reading in readings)
    has_peak = any(reading.peak is not None for reading in readings)
    headings = [*_DESTINATION, *(("PEAK",) if has_peak else ()), *_STATE]
    headings += [*(_TREND if has_trend else ()), *_HOSTS]
    rows = [_row(one, has_trend=has_trend, has_peak=has_peak) for one in readings]
    right = tuple(range(4, len(headings) - 1))
    return aligned(rows, headings if heading else None, right=right)


def _row(reading: Reading, *, has_trend: bool, has_peak: bool) -> Row:
    of, trend = reading.of, reading.trend
    cells = [str(of.public) + _zone(of.zone), uapi.protocol_name(of.proto)]
    cells += [str(of.range), _endpoint(of), str(of.used), str(of.closing)]
    cells += [str(of.range.size)]
    cells += [count(reading.peak)] if has_peak else []
    cells += [percent(of.occupancy), percent(of.loss)]
    if has_trend:
        left = None if trend is None else trend.trouble_in_s
        cells.append(ABSENT if trend is None else f"{trend.growth_per_s:+.1f}/s")
        cells.append(ABSENT if left is None else span(left))
    top = of.top[0]
    return [*cells, str(of.hosts), f"{top.address} {percent(top.ports / of.used)}"]


def troubles(readings: Iterable[Reading]) -> list[str]:
    """A sentence for each destination that is near trouble or in it."""
    return [
        f"{reading.severity.word}: {sentence(reading.of)}"
        for reading in readings
        if reading.severity is not None
    ]


def sentence(of: Destination) -> str:
    """What the use of a destination's ports means."""
    text = f"{_name(of.key)}: {of.hard} of {of.range.size} ports are taken"
    if of.loss >= 1:
        text += ", every new flow that needs one is dropped"
    elif of.loss > 0:
        text += f", {percent(of.loss)} of new flows that need another are dropped"
    else:
        text += f", new flows are lost from about {of.trouble} on"
    if of.closing and of.evicts:
        text += f"; {of.closing} more wait for their end and can be evicted"
    if of.hosts > 1:
        top = of.top[0]
        text += (
            f"; {top.address} has {top.ports}, "
            f"a fair share among {of.hosts} hosts is {of.fair}"
        )
    return text


def over(found: Iterable[tuple[Pool, HostUse]], ports: int) -> list[str]:
    """A sentence for each inside host that has more ports than it may have."""
    return [
        f"{host.address} has {host.ports} ports of "
        f"{uapi.protocol_name(pool.proto)} {pool.public}{_zone(pool.zone)} "
        f"({pool.range}), more than {ports}"
        for pool, host in found
    ]


def changes(found: Iterable[Change]) -> list[str]:
    """A line for each alarm that was raised or cleared."""
    lines = []
    for change in found:
        if change.severity is None:
            lines.append(f"cleared: {_name(change.key)}")
        elif change.destination is not None:
            lines.append(
                f"raised {change.severity.word}: {sentence(change.destination)}"
            )
    return lines


def counted(rose: Mapping[str, int], seconds: float, worst: Severity | None) -> str:
    """What the kernel's counters say of the time between two readings."""
    told = ", ".join(f"{name} {rose[name]:+}" for name in _TOLD if name in rose)
    line = f"in {span(seconds)}: {told}"
    if rose.get("insert_failed") and worst is not None:
        return f"{line}: new flows were dropped for want of a port"
    if rose.get("insert_failed"):
        return f"{line}: flows raced for one port, or want of ports has passed"
    return line


def _name(key: DestinationKey) -> str:
    public, proto, zone, r, address, port = key
    to = show(Endpoint(address, port), proto)
    whose = f", by {r.rule}" if r.rule else ""
    return (
        f"{uapi.protocol_name(proto)} from {public}{_zone(zone)} to {to} ({r}{whose})"
    )


def _endpoint(of: Destination) -> str:
    return show(Endpoint(of.address, of.port), of.proto)


def _zone(zone: int) -> str:
    return f" zone {zone}" if zone else ""
