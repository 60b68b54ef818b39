"""All that a diagnosis may look at, of one box at one moment.

It is made of a bundle, so that a customer's file is as good as the live box.  A part
that was not read raises NotRead: no rule can take absence for zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from natscope.codec.text.counters import counters
from natscope.codec.text.natrules import NatRule, nat_rules, place, rulesets
from natscope.codec.text.ruleset import RuleIndex
from natscope.filter.rows import Rows
from natscope.model.bundle import Bundle, Link, Route
from natscope.model.evidence import Evidence, Interface
from natscope.model.journey import Rule
from natscope.model.measured import Listener, Measured, Namespace, Program, Totals
from natscope.table.attribution import Attribution
from natscope.table.flowtable import FlowTable
from natscope.table.nat import Translations
from natscope.views.pools import PortUse
from natscope.views.portranges import PortRanges, ranges_of
from natscope.views.ports import port_use
from natscope.views.portsearch import evicts

Part = TypeVar("Part")
_OF_RULES = re.compile(r"nftables|table |/proc/net/ip6?_tables")
"""How a ruleset that was not read is named in ``missing``."""


class NotRead(Exception):
    """A part of the snapshot that could not be read; ``part`` names it."""

    def __init__(self, part: str) -> None:
        super().__init__(f"{part} was not read")
        self.part = part


_NOTHING = Measured()
_OF_LINKS = re.compile(r"addresses:")
_OF_ROUTES = re.compile(r"IPv[46] (?:routes|rules):")
"""How ``sources.bundle`` names these in ``missing``."""


@dataclass(frozen=True)
class Snapshot:
    """A box to be judged.

    Args:
        bundle: links, routes, settings, rulesets, and what could not be read.
        measured: counters, listeners …; see ``model.measured``.
        table: its flows; None: they were not read.
        made: what made each flow by the rules of today; None: nobody asked.
        is_exact: the rules were asked in a twin of the box, not read as text.
    """

    bundle: Bundle
    measured: Measured = _NOTHING
    table: FlowTable | None = None
    made: Attribution | None = None
    is_exact: bool = False

    @classmethod
    def of(cls, bundle: Bundle, table: FlowTable | None) -> Snapshot:
        """The snapshot a bundle holds.

        Of one that was not made for a diagnosis, what its files of /proc tell.
        """
        measured = bundle.measured
        if measured is None:
            measured = Measured(counters=counters(bundle.counters))
        return cls(bundle, measured, table)

    def judged(self, made: Attribution, *, is_exact: bool = False) -> Snapshot:
        """The same, with what made each flow; what is read of it already stays so."""
        found = replace(self, made=made, is_exact=is_exact)
        for name, value in vars(self).items():
            vars(found).setdefault(name, value)
        return found

    @property
    def flows(self) -> FlowTable:
        """The flows of the namespace."""
        return _read(self.table, "flows")

    @property
    def interval_s(self) -> float:
        """Seconds between the two readings; NotRead if there was one."""
        if not self.measured.interval_ms:
            raise NotRead("rose")
        return self.measured.interval_ms / 1000

    @property
    def interval(self) -> str:
        """The same in words: ``5 s``, ``0.4 s``."""
        return f"{round(self.interval_s, 1):g} s"

    @property
    def count(self) -> int:
        """Entries in the table."""
        return _read(self.measured.count, "count")

    @property
    def limit(self) -> int:
        """nf_conntrack_max; it is compared with each namespace's own count."""
        return _read(self.measured.limit, "limit")

    @property
    def buckets(self) -> int:
        """Of the hash, shared by all namespaces of the host."""
        return _read(self.measured.buckets, "buckets")

    @property
    def stats(self) -> Totals:
        """Conntrack's counters since boot: never a reason for an alarm."""
        return _read(self.measured.stats, "stats")

    @property
    def rose(self) -> Totals:
        """By how much conntrack's counters rose in ``interval_s``."""
        return self._rise(self.measured.rose, "rose", of="stats")

    @property
    def counters(self) -> Totals:
        """``Ip.ForwDatagrams`` … since boot; see ``model.measured``."""
        return _read(self.measured.counters, "counters")

    @property
    def counters_rose(self) -> Totals:
        """By how much they rose in ``interval_s``."""
        return self._rise(self.measured.counters_rose, "counters_rose", of="counters")

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Sockets that wait for strangers."""
        return _read(self.measured.listeners, "listeners")

    @property
    def log(self) -> tuple[str, ...]:
        """Lines of the kernel's log."""
        return _read(self.measured.log, "log")

    @property
    def nics(self) -> Mapping[str, Totals]:
        """ethtool statistics by interface."""
        return _read(self.measured.nics, "nics")

    @property
    def nics_rose(self) -> Mapping[str, Totals]:
        """By how much they rose in ``interval_s``."""
        return self._rise(self.measured.nics_rose, "nics_rose", of="nics")

    @property
    def attribution(self) -> Attribution:
        """What made each flow, as far as the rules of today tell."""
        return _read(self.made, "attribution")

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """The other network namespaces of the host."""
        return _read(self.measured.namespaces, "namespaces")

    @property
    def programs(self) -> tuple[Program, ...]:
        """Programs that listen to netfilter, or keep a standby."""
        return _read(self.measured.programs, "programs")

    @property
    def links(self) -> tuple[Link, ...]:
        """The interfaces, with their addresses."""
        if not self.bundle.links:
            raise NotRead("links")  # every box has lo
        return self._told(self.bundle.links, "links", _OF_LINKS)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of every table; the rules that choose a table were read too."""
        return self._told(self.bundle.routes, "routes", _OF_ROUTES)

    def _rise(self, told: Part | None, part: str, *, of: str) -> Part:
        """What rose; where there were two readings, what counts was not read."""
        return _read(told, of if self.measured.interval_ms else part)

    def _told(self, told: Part, part: str, pattern: re.Pattern[str]) -> Part:
        """A part of the bundle, unless ``missing`` names it."""
        if any(pattern.match(words) for words in self.bundle.missing):
            raise NotRead(part)
        return told

    @property
    def missing(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        return self.bundle.missing + self.measured.missing

    @property
    def addresses(self) -> tuple[Interface, ...]:
        """The box's own addresses, each with its on-link prefix."""
        return self.evidence.addresses if self.links else ()

    @cached_property
    def own(self) -> frozenset[int]:
        """The same as numbers."""
        return frozenset(int(one.ip) for one in self.addresses)

    def sysctl(self, name: str) -> int | None:
        """A setting by its path, ``net/ipv4/ip_forward``; None if it is not known."""
        return self.bundle.number(name)

    @cached_property
    def evidence(self) -> Evidence:
        """What questions about the flows need: moment, timeouts, addresses."""
        return self.bundle.evidence

    @cached_property
    def ruleset(self) -> RuleIndex:
        """Every chain and rule, as the tool that made it writes it."""
        if any(_OF_RULES.match(words) for words in self.bundle.missing):
            raise NotRead("ruleset")
        return rulesets(self.bundle)

    @cached_property
    def nat_rules(self) -> list[NatRule]:
        """The rules of the chains NAT passes, in the order packets meet them."""
        return nat_rules(self.bundle) if self.ruleset.chains else []

    def hits_rose(self, rule: Rule) -> int | None:
        """By how many packets a NAT rule's counter rose; None: it has none."""
        told = _read(self.measured.hits_rose, "hits_rose")
        return told.get(" ".join(map(str, place(rule))))

    @cached_property
    def ranges(self) -> PortRanges:
        """The source ports NAT may choose from."""
        return ranges_of(self.bundle, self.nat_rules)

    @cached_property
    def ports(self) -> PortUse:
        """The source ports NAT has in use."""
        return port_use(self.flows, self.ranges, evicts=evicts(self.bundle.kernel))

    @cached_property
    def rows(self) -> Rows:
        """The flows, for filters."""
        return Rows(self.flows, self.evidence)

    @property
    def translations(self) -> Translations:
        """Kind and cast of every flow."""
        return self.rows.nat


def _read(told: Part | None, part: str) -> Part:
    if told is None:
        raise NotRead(part)
    return told
