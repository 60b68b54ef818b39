"""Whom a diagnosis is about: its uplinks, its rules, how many flows it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from natscope.model.bundle import LinkAddress
from natscope.model.evidence import Evidence
from natscope.model.ipversion import VERSIONS
from natscope.model.nat import Kind
from natscope.views.doctor.reading.ways import default_devices
from natscope.views.doctor.snapshot import NotRead, Snapshot

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Uplink:
    """An interface a default route leads through."""

    name: str
    addresses: tuple[str, ...]
    """Its global ones."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box, as far as it tells; None is what was not read."""

    name: str
    natscope: str
    """The version that judges it."""
    evidence: Evidence = field(default_factory=Evidence)
    interval_s: float | None = None
    """Between the two readings; None: there was one."""
    uplinks: tuple[Uplink, ...] | None = None
    nat_rules: int | None = None
    """Rules that translate."""
    flows: int | None = None
    translated: int | None = None
    """Of these, those with NAT."""
    entries: int | None = None
    """As the kernel counts them for its limit."""
    limit: int | None = None


def box_of(snapshot: Snapshot, natscope: str, netns: str | None = None) -> Box:
    """The box of a snapshot.

    Args:
        snapshot: what was read of it.
        natscope: the version that judges it.
        netns: the network namespace that was asked for.
    """
    bundle, measured = snapshot.bundle, snapshot.measured
    name = bundle.hostname or "box"
    return Box(
        name if netns is None else f"{name}/{netns}",
        natscope,
        snapshot.evidence,
        measured.interval_ms / 1000 if measured.interval_ms else None,
        _known(lambda: _uplinks(snapshot)),
        _known(lambda: sum(one.gives is not None for one in snapshot.nat_rules)),
        _known(lambda: len(snapshot.flows)),
        _known(lambda: int((snapshot.translations.kind != Kind.NONE).sum())),
        measured.count,
        measured.limit,
    )


def _known(read: Callable[[], Part]) -> Part | None:
    try:
        return read()
    except NotRead:
        return None


def _uplinks(snapshot: Snapshot) -> tuple[Uplink, ...]:
    addresses = {
        link.name: tuple(str(one.local) for one in link.addresses if _is_global(one))
        for link in snapshot.links
    }
    if not snapshot.routes:
        return ()
    names = dict.fromkeys(
        name
        for one in VERSIONS.values()
        for name in default_devices(snapshot.bundle, one.inet)
    )
    return tuple(Uplink(name, addresses.get(name, ())) for name in names)


def _is_global(address: LinkAddress) -> bool:
    return address.scope == "global"
