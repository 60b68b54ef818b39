"""Ports in use, for programs: what is not known is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from natscope import uapi
from natscope.model.finding import Severity
from natscope.model.tuples import Address
from natscope.views.pools import Destination, HostUse, Pool
from natscope.views.portalarms import Change, Trend
from natscope.views.portranges import PortRange

_DIGITS = 6
"""Of a share or a chance: more would be noise."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A destination as it was found, and what is known of it over time."""

    of: Destination
    severity: Severity | None = None
    trend: Trend | None = None
    """None: there was one reading alone."""
    peak: int | None = None
    """The most ports in use while watched; None: not watched."""


COLUMNS = (
    *("severity", "public", "proto", "zone", "first", "last", "rule", "destination"),
    *("used", "hard", "closing", "size", "occupancy", "loss", "trouble_at", "peak"),
    *("growth_per_s", "trouble_in_s", "hosts", "fair", "top_host", "top_host_ports"),
)
"""Of a destination, in the order CSV has them."""


def record(reading: Reading) -> dict[str, Any]:
    """A destination."""
    of, trend = reading.of, reading.trend
    known: dict[str, Any] = {
        "severity": None if reading.severity is None else reading.severity.word,
        **_sharing(of.public, of.proto, of.zone),
        **_range(of.range),
        "destination": _endpoint(of.address, of.port),
        "used": of.used,
        "hard": of.hard,
        "closing": of.closing,
        "occupancy": round(of.occupancy, _DIGITS),
        "loss": round(of.loss, _DIGITS),
        "trouble_at": of.trouble,
        "peak": reading.peak,
        "growth_per_s": None if trend is None else round(trend.growth_per_s, _DIGITS),
        "trouble_in_s": None if trend is None else _whole(trend.trouble_in_s),
        "hosts": of.hosts,
        "fair": of.fair,
        "top_hosts": _hosts(of.top),
    }
    return {name: value for name, value in known.items() if value is not None}


def row(reading: Reading) -> dict[str, Any]:
    """A destination as one flat line: the first of its hosts alone."""
    found = record(reading)
    top = found.pop("top_hosts")[0]
    return found | {"top_host": top["address"], "top_host_ports": top["ports"]}


def document(
    pools: Iterable[Pool],
    readings: Sequence[Reading],
    *,
    evicts: bool,
    rose: Mapping[str, int] | None = None,
    seconds: float | None = None,
    changes: Sequence[Change] | None = None,
    over: Iterable[tuple[Pool, HostUse]] | None = None,
) -> dict[str, Any]:
    """All of it.

    Args:
        pools: all.
        readings: the destinations that are shown.
        evicts: as :func:`ports.port_use` was told.
        rose: conntrack's counters between the readings; None: there was one.
        seconds: between them.
        changes: alarms raised and cleared by this reading; None: it is not watched.
        over: inside hosts with more ports than they may have; None: nothing was asked.
    """
    made: dict[str, Any] = {"schema": "natscope.ports/1", "evicts_closing": evicts}
    if rose is not None:
        made |= {"interval_s": seconds, "counters": dict(rose)}
    made["pools"] = [_pool(pool) for pool in pools]
    made["destinations"] = [record(reading) for reading in readings]
    if over is not None:
        made["hosts_over"] = [
            {
                **_sharing(pool.public, pool.proto, pool.zone),
                **_range(pool.range),
                "host": str(host.address),
                "ports": host.ports,
            }
            for pool, host in over
        ]
    if changes is not None:
        made["alarms"] = [_alarm(change) for change in changes]
    return made


def _alarm(change: Change) -> dict[str, Any]:
    """An alarm; a cleared one has no severity."""
    public, proto, zone, r, address, port = change.key
    severity = change.severity
    return {
        "change": "cleared" if severity is None else "raised",
        **({} if severity is None else {"severity": severity.word}),
        **_sharing(public, proto, zone),
        **_range(r),
        "destination": _endpoint(address, port),
    }


def _pool(pool: Pool) -> dict[str, Any]:
    return {
        **_sharing(pool.public, pool.proto, pool.zone),
        **_range(pool.range),
        "flows": pool.flows,
        "ports": pool.ports,
        "hosts": pool.hosts,
        "destinations": pool.destinations,
        "fair": pool.fair,
        "top_hosts": _hosts(pool.top),
    }


def _sharing(public: Address, proto: int, zone: int) -> dict[str, Any]:
    named = {"public": str(public), "proto": uapi.protocol_name(proto)}
    return named | ({"zone": zone} if zone else {})


def _endpoint(address: Address, port: int | None) -> dict[str, Any]:
    return {"address": str(address)} | ({} if port is None else {"port": port})


def _hosts(found: Iterable[HostUse]) -> list[dict[str, Any]]:
    return [{"address": str(host.address), "ports": host.ports} for host in found]


def _range(r: PortRange) -> dict[str, Any]:
    rule = {"rule": r.rule} if r.rule else {}
    return {"first": r.first, "last": r.last, **rule, "size": r.size}


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
