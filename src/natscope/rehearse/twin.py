"""The twin of a box: packets are put into it, and the kernel tells what it does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from natscope import uapi
from natscope.codec import legacytrace, packets, routes
from natscope.codec.nflog import LoggedPacket
from natscope.codec.text import ruleset, tracking
from natscope.codec.text.natrules import rulesets
from natscope.codec.traversal import Assembler, packet_of
from natscope.errors import KernelError, NatscopeError
from natscope.model.bundle import Bundle
from natscope.model.flow import Flow
from natscope.model.journey import (
    Departure,
    Hook,
    Routed,
    Rule,
    Sightings,
    Tracked,
    Visit,
)
from natscope.model.packet import Packet, Question
from natscope.rehearse import positions
from natscope.rehearse.building import build
from natscope.rehearse.counters import Counters
from natscope.rehearse.entries import Made
from natscope.rehearse.lookups import Lookups
from natscope.rehearse.private import Private
from natscope.rehearse.wires import Frame, Wires, mac_of
from natscope.sources.closing import Closing
from natscope.sources.tracing import PacketLog, Traces
from natscope.table.flowtable import FlowTable

_OF_CONNTRACK = "nf_ct_"
"""So nf_ct_l4proto_log_invalid() begins, whatever a rule may log."""
_LATE_S = 0.05
"""So long a packet that left may take to the other end of its wire."""


class Twin(Closing):
    """A box's twin, for as long as it is open.

    Args:
        bundle: what the box is.

    Raises:
        NamespaceError: this user may have no namespaces.
        MissingTool: ip(8), nft(8) or what loads a ruleset is not installed.
        NatscopeError: a ruleset cannot be loaded.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        with ExitStack() as stack:
            self._private = stack.enter_context(Private())
            self.missing = build(self._private, bundle)
            """What of the box is not in it, in words."""
            self._open(stack)
            self._held = stack.pop_all()

    def _open(self, stack: ExitStack) -> None:
        private = self._private
        traces = Traces(socket=private.netlink(uapi.NETLINK_NETFILTER))
        self._traces = stack.enter_context(traces)
        log = PacketLog(socket=private.netlink(uapi.NETLINK_NETFILTER))
        self._log = stack.enter_context(log)
        for family in (uapi.AF_INET, uapi.AF_INET6):
            self._log.take_over(family)
        with suppress(OSError):  # a kernel that has not loaded conntrack
            private.write("net/netfilter/nf_conntrack_log_invalid", "255")
        self._counters = Counters(private)
        stack.callback(self._counters.close)
        self._links = {link.name: link for link in self.bundle.links}
        links = self._interfaces()
        self._names: dict[int, str] = {one["ifindex"]: one["ifname"] for one in links}
        self._asked = Lookups(private, self._names)
        stack.callback(self._asked.close)
        self._wires = Wires(
            private,
            {
                one["ifname"]: mac_of(one["address"])
                for one in links
                if one["link_type"] == "ether"
            },
        )
        stack.callback(self._wires.close)
        self._list()

    def close(self) -> None:
        """End the twin."""
        self._held.close()

    def send(self, question: Question) -> Sightings:
        """Put a packet in, and tell what the kernel did with it.

        What it leaves in the table stays there for the next packet.

        Raises:
            NatscopeError: the box has no such interface.
        """
        self._check(question)
        for rest in (self._wires.take, self._traces.read, self._log.read):
            rest()
        before = self._asked.entries(question.packet.tuple)
        self._counters.mark()
        refused = self._wires.put(question)
        self._wires.settle()
        logged = self._log.read()
        visits = self._seen(logged)
        frames = self._wires.take(_LATE_S if _left(visits) else 0.0)
        departures = tuple(self._departures(question, visits, frames))
        stays = any(not departure.is_answer for departure in departures)
        link = self._links.get(question.iif or "")
        # the last: before conntrack, a packet may have a template with the zone
        tracked = next((v.tracked for v in reversed(visits) if v.tracked), None)
        known = None if tracked is None else tracked.id
        # what is stopped on its way is not put into the table
        after = self._asked.entries(question.packet.tuple, known if stays else None)
        seen = Sightings(
            # natscope's own drop, after confirmation, is no part of the way
            visits=tuple(visit for visit in visits if not _is_delivery(visit)),
            question=question,
            departures=departures,
            before=_entry(before, tracked),
            after=_entry(after, tracked),
            routed=self._routed(question, visits),
            is_tracked=question.packet.src.version in self.tracked,
            invalid=tuple(_invalid(logged, question.packet)),
            counters=() if stays else tuple(self._counters.risen().items()),
            sysctls=() if stays else self._settings(question),
            is_up=None if link is None else link.up,
            is_bridge=link is not None and link.kind == "bridge",
        )
        if refused is not None and not visits:
            error = KernelError("sending", refused.errno or 0, str(refused))
            seen = replace(seen, routed=routes.no_route(error))
        return seen

    def send_untraced(self, question: Question) -> Sightings:
        """Put a packet in, and tell what left alone, or that it was delivered.

        No rules, route and entry: a tenth of the time.  A packet with a sender of
        its own is traced all the same.

        Raises:
            NatscopeError: the box has no such interface.
        """
        if question.mac is not None:
            return self.send(question)
        self._check(question)
        self._wires.take()
        self._traces.read()
        self._wires.put(question, traced=False)
        frames, told = self._wires.take(), self._traces.read()
        if not (frames or told):
            self._wires.settle()
            frames, told = self._wires.take(), self._traces.read()
        departures = list(self._departures(question, (), frames))
        for message in told:
            packet = packet_of(message) or question.packet
            answer = _is_answer(question.packet, packet)
            departures.append(Departure(None, packet, is_answer=answer))
        return Sightings(question=question, departures=tuple(departures))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the twin, with the handles the box has for them."""
        return self._listed.rules

    def made(self) -> Made:
        """The entries that will be made from now on; to be closed."""
        return Made(self._private)

    def origin(self, packet: Packet) -> str | None:
        """Where a packet with this source comes in; None: it is the box's own.

        Raises:
            NatscopeError: no route leads to its source.
        """
        return self._asked.origin(packet)

    def insert(self, table: FlowTable) -> int:
        """Put flows of the box in; how many the kernel did not take."""
        return self._asked.insert(table)

    def forget(self, flow: Flow) -> None:
        """Take an entry out again."""
        self._asked.forget(flow)

    def change(self, command: str) -> str:
        """Run a shell command in the twin's namespaces; what it prints.

        Raises:
            NatscopeError: it failed; the message holds what it said.
        """
        said = self._private.run(["sh", "-c", command])
        self._list()
        for one in self._interfaces():
            self._names[one["ifindex"]] = name = one["ifname"]
            if name in self._links:
                is_up = "UP" in one["flags"]
                self._links[name] = replace(self._links[name], up=is_up)
        return said

    def _check(self, question: Question) -> None:
        """Refuse what would be answered wrongly: in the twin a bridge has no ports."""
        link = self._links.get(question.iif or "")
        master = None if link is None else self._links.get(link.master or "")
        if link is not None and master is not None and master.kind != "vrf":
            raise NatscopeError(
                f"{link.name} is a port of {master.name}: its packets come in by that",
                hint=f"in {master.name}",
            )

    def _seen(self, logged: list[LoggedPacket]) -> tuple[Visit, ...]:
        """The way of what was put in, from the trace; iptables-legacy logs its own."""
        assembler = Assembler(self._listed, self._names.get)
        found: list[Visit] = []
        for message in self._traces.read():
            for visits in assembler.feed(message):
                found += visits
        for visits in assembler.flush():
            found += visits
        told = (legacytrace.visit(one, self._listed, self._names.get) for one in logged)
        legacy = [step for step in told if step is not None]
        return tuple(_in_order(found + legacy) if legacy else found)

    def _departures(
        self, question: Question, visits: tuple[Visit, ...], frames: list[Frame]
    ) -> Iterator[Departure]:
        for frame in frames:
            answer = _is_answer(question.packet, frame.packet)
            yield Departure(frame.interface, frame.packet, is_answer=answer)
        for visit in filter(_is_delivery, visits):
            packet = visit.packet
            if packet is None or packet.proto in _UNTOLD:
                packet = question.packet
            answer = _is_answer(question.packet, packet)
            yield Departure(None, packet, is_answer=answer)

    def _routed(self, question: Question, visits: tuple[Visit, ...]) -> Routed:
        """Where the packet goes as it is after prerouting."""
        later = [v for v in visits if v.packet and v.base.hook != Hook.POSTROUTING]
        packet = (later[-1].packet if later else None) or question.packet
        turned = replace(question.packet, dst=packet.dst, dport=packet.dport)
        mark = later[-1].mark if later else question.mark
        return self._asked.route(replace(question, packet=turned, mark=mark))

    def _settings(self, question: Question) -> tuple[tuple[str, str], ...]:
        """Those that may stop a packet which comes in, as they are now."""
        iif = question.iif
        if iif is None:
            return ()
        if question.packet.src.version == 6:
            # one switch for all interfaces, and one that overrules it (ip6_forward)
            names = ("all/forwarding", f"{iif}/force_forwarding")
            values = [self._setting(f"net/ipv6/conf/{name}") for name in names]
            return (("forwarding", max(values)),) if values[0] else ()
        forwarding = self._setting(f"net/ipv4/conf/{iif}/forwarding")
        filters = [
            self._setting(f"net/ipv4/conf/{name}/rp_filter") for name in (iif, "all")
        ]
        return (("forwarding", forwarding), ("rp_filter", max(filters)))

    def _setting(self, path: str) -> str:
        try:
            with os.fdopen(self._private.open(f"/proc/sys/{path}")) as file:
                return file.read().strip()
        except OSError:
            return ""  # another kernel's

    def _list(self) -> None:
        """Learn the rules as they are now."""
        self._listed = self._ruleset()
        self._asked.is_zoned = tracking.is_zoned(self._listed.rules)
        self.tracked = tracking.tracked(self._listed.rules)
        """The IP versions conntrack looks at."""

    def _ruleset(self) -> ruleset.RuleIndex:
        """The rules, found by their handles in the twin."""
        # -t: the elements of sets may be many, and are no rules
        listed = self._private.run(["nft", "-s", "-a", "-t", "list", "ruleset"])
        others = []
        for tool, table in dict.fromkeys(_iptables(self.bundle)):
            family = "ip6" if tool.startswith("ip6") else "ip"
            text = self._private.run([f"{tool}-save", "-t", table])
            others.append(ruleset.parse_iptables(text, family=family, tool=tool))
        found = ruleset.joined(ruleset.parse_nft(listed), *others)
        return found.told_by(rulesets(self.bundle))

    def _interfaces(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self._private.run(["ip", "-j", "link"])
        )
        return found


def _is_answer(asked: Packet, packet: Packet) -> bool:
    """Whether the box itself made it: an ICMP error, a reset, a SYN cookie."""
    if packet.proto != asked.proto:
        return True  # no translation changes it
    if packet.fragment is not None:
        return False
    if packet.tcp_flags != asked.tcp_flags:
        return True
    return packet.icmp_type != asked.icmp_type


def _invalid(logged: list[LoggedPacket], packet: Packet) -> Iterator[str]:
    """What conntrack said of it; it may call the box's answers INVALID too."""
    for one in logged:
        if one.prefix.startswith(_OF_CONNTRACK):
            told = packets.decode(one.payload, cut=True)
            if _sent(told) == _sent(packet):
                yield one.prefix.strip()


def _in_order(found: list[Visit]) -> list[Visit]:
    """As the kernel goes: what the box sends to itself leaves before it comes in."""
    is_sent = any(visit.base.hook is Hook.OUTPUT for visit in found)
    hooks = _SENT if is_sent else _RECEIVED
    ranks: dict[Hook | None, int] = {hook: rank for rank, hook in enumerate(hooks)}
    return sorted(
        found, key=lambda v: (ranks.get(v.base.hook, -1), v.base.priority or 0)
    )


_RECEIVED = (
    *(Hook.INGRESS, Hook.PREROUTING, Hook.INPUT),
    *(Hook.FORWARD, Hook.POSTROUTING, Hook.EGRESS),
)
_SENT = (
    *(Hook.OUTPUT, Hook.POSTROUTING, Hook.EGRESS),
    *(Hook.INGRESS, Hook.PREROUTING, Hook.INPUT),
)
_UNTOLD = frozenset(
    {uapi.IPPROTO_HOPOPTS, uapi.IPPROTO_ROUTING, uapi.IPPROTO_FRAGMENT}
    | {uapi.IPPROTO_AH, uapi.IPPROTO_DSTOPTS}
)
"""Behind such a header of IPv6 the trace does not tell the protocol."""


def _sent(packet: Packet) -> tuple[object, ...]:
    """What tells a packet from an answer to it."""
    return packet.src, packet.proto, packet.tcp_flags


def _entry(found: list[Flow], tracked: Tracked | None) -> Flow | None:
    """The one a trace told of; the only one, if it told of none."""
    if tracked is None:
        return found[0] if found else None
    if tracked.state == _UNTRACKED:
        return None
    return next((flow for flow in found if tracked.id in (flow.id, None)), None)


_UNTRACKED = 64
"""Of nft's ct state: a rule said so, and an entry of that tuple is not looked at."""


def _is_delivery(visit: Visit) -> bool:
    return visit.base.table == positions.TABLE and visit.base.name == "delivered"


def _passed(visits: list[Visit]) -> bool:
    """Whether the last of natscope's chains at a hook was reached."""
    last = visits[-1].base
    return last.table == positions.TABLE and last.priority == positions.LAST


def _left(visits: tuple[Visit, ...]) -> bool:
    """Whether a packet passed postrouting."""
    late = [v for v in visits if v.base.hook == Hook.POSTROUTING]
    return bool(late) and _passed(late)


def _iptables(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """The tables an iptables made, with its name."""
    for one in bundle.rulesets:
        if "tables" in one.tool:
            for table in _TABLE.findall(one.text):
                yield one.tool, table


_TABLE = re.compile(r"^\*(\S+)", re.MULTILINE)
