"""Trace messages put together: each packet's visits, in the kernel's order.

No message says that a packet is new or that it is through.  The id is a hash of
the skb's address and its flow hash: the next packet in the same memory has it too,
and a packet that came by a bridge gets another one while it is routed.  What tells
packets apart is the way netfilter's hooks follow each other; what holds them
together is what NAT and routing leave of their headers.  Packets on several CPUs
are interleaved, and a message may be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from natscope import uapi
from natscope.codec import packets
from natscope.codec.nftrace import TraceMessage
from natscope.codec.text.ruleset import EMPTY, RuleIndex
from natscope.errors import DecodeError
from natscope.model.journey import Chain, Hook, Rule, Verdict, Visit
from natscope.model.packet import Packet
from natscope.uapi import nftables

Visits = tuple[Visit, ...]

_LAYERS = {"ip": "ip", "ip6": "ip", "inet": "ip"}
"""Families whose chains hang at the same hooks."""
_ONWARD = {
    Hook.INGRESS: {
        *(Hook.INGRESS, Hook.PREROUTING, Hook.INPUT),
        *(Hook.FORWARD, Hook.POSTROUTING),
    },
    Hook.PREROUTING: {Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.POSTROUTING},
    Hook.INPUT: {Hook.INPUT},
    Hook.FORWARD: {Hook.FORWARD, Hook.POSTROUTING},
    Hook.OUTPUT: {Hook.OUTPUT, Hook.POSTROUTING},
    Hook.POSTROUTING: {Hook.POSTROUTING, Hook.EGRESS},
    Hook.EGRESS: {Hook.EGRESS},
}
"""Where a packet may be seen next; it may pass a hook without a chain unseen."""
_FROM_BRIDGE = {Hook.OUTPUT, Hook.POSTROUTING}
"""What a routed packet still meets of a bridge after its INPUT (br_netfilter)."""
_INNER = (Hook.INPUT, Hook.FORWARD, Hook.POSTROUTING, Hook.EGRESS)
"""Where no packet begins its way."""
_OWN = {
    uapi.IPPROTO_TCP: slice(4, 16),  # sequence numbers, flags, window
    uapi.IPPROTO_UDP: slice(4, 6),  # the length
    uapi.IPPROTO_ICMP: slice(6, 8),  # the sequence number
    uapi.IPPROTO_ICMPV6: slice(6, 8),
}
"""What of a transport header is a packet's own and no translation changes."""


class Assembler:
    """Puts the messages of one network namespace together to packets.

    Args:
        ruleset: what the chains and rules are; may be set anew when it changed.
        name_of: the name of an interface by its index; None if there is none.
    """

    def __init__(
        self,
        ruleset: RuleIndex = EMPTY,
        name_of: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self.ruleset = ruleset
        self.unlisted: set[tuple[str, str, int]] = set()
        """Family, table and handle of rules that matched and are not in the listing."""
        self._name_of = name_of
        self._open: dict[int, _Traced] = {}
        """By id; a packet may have several."""
        self._imprints: dict[bytes, _Traced] = {}
        self._through: list[_Traced] = []
        self._count = 0

    def feed(self, message: TraceMessage) -> list[Visits]:
        """Take one message; the packets that are through by now.

        In the order they began: what began earlier is waited for.
        """
        chain = self.ruleset.chain(message.family, message.table, message.chain)
        begins = message.network_header is not None
        traced = self._open.get(message.id)
        if traced is not None and begins and not traced.goes_on_to(chain):
            self._finish(traced)
            traced = None
        if traced is None:
            traced = self._earlier(message, chain) or self._new()
            self._open[message.id] = traced
        traced.add(self._visit(message, traced.base_of(chain, begins=begins)))
        if begins:
            self._imprints[imprint(message)] = traced
        if traced.is_over:
            self._finish(traced)
        return self._released()

    def settle(self) -> list[Visits]:
        """End the packets nothing was told of since the last call.

        For who listens on, and calls this a few times a second.
        """
        for traced in self._packets():
            if traced.is_fresh:
                traced.is_fresh = False
            else:
                self._finish(traced)
        return self._released()

    def flush(self) -> list[Visits]:
        """Every packet that is open, for who knows that all are through."""
        for traced in self._packets():
            self._finish(traced)
        return self._released()

    def _new(self) -> _Traced:
        self._count += 1
        return _Traced(self._count)

    def _packets(self) -> list[_Traced]:
        """What is open, each once."""
        return list({traced.number: traced for traced in self._open.values()}.values())

    def _finish(self, traced: _Traced) -> None:
        self._open = {k: t for k, t in self._open.items() if t is not traced}
        self._imprints = {k: t for k, t in self._imprints.items() if t is not traced}
        self._through.append(traced)

    def _released(self) -> list[Visits]:
        """What is through, and began before everything that is open."""
        if not self._through:
            return []
        oldest = min((traced.number for traced in self._open.values()), default=None)
        ready = [t for t in self._through if oldest is None or t.number < oldest]
        self._through = [t for t in self._through if t not in ready]
        return [tuple(t.seen) for t in sorted(ready, key=lambda t: t.number)]

    def _earlier(self, message: TraceMessage, chain: Chain) -> _Traced | None:
        """The packet that was seen under another id before, and comes here now."""
        if chain.hook not in _INNER or message.network_header is None:
            return None
        found = self._imprints.get(imprint(message))
        return found if found is not None and found.goes_on_to(chain) else None

    def _visit(self, message: TraceMessage, base: Chain) -> Visit:
        is_policy = message.type == nftables.NftTraceType.POLICY
        verdict = message.policy if is_policy else message.verdict
        if verdict is None:
            verdict = Verdict.CONTINUE
        chain = self.ruleset.chain(message.family, message.table, message.chain)
        return Visit(
            base=base,
            chain=chain,
            verdict=verdict,
            rule=self._rule(message),
            target=message.target,
            is_policy=is_policy,
            packet=packet_of(message),
            tracked=message.tracked,
            iif=self._interface(message.iif),
            oif=self._interface(message.oif),
            mark=message.mark or 0,
        )

    def _rule(self, message: TraceMessage) -> Rule | None:
        handle = message.rule_handle
        if handle is None:
            return None
        found = self.ruleset.rule(message.family, message.table, handle)
        if found is not None:
            return found
        # made since the listing, or in a chain without a name
        place = (message.family, message.table, message.chain)
        self.unlisted.add((message.family, message.table, handle))
        return Rule(*place, f"(handle {handle})", handle)

    def _interface(self, index: int | None) -> str | None:
        if not index:
            return None
        return self._name_of(index) or f"if{index}"


def packet_of(message: TraceMessage) -> Packet | None:
    """The packet as a message shows it; None where it does not, or it is not IP."""
    network, transport = message.network_header, message.transport_header or b""
    if not network or network[0] >> 4 not in (4, 6):
        return None
    if network[0] >> 4 == 4:
        # of long options only a part is told, and the ports come after all of them
        words = min(network[0] & 0xF, len(network) // 4)
        network = bytes([4 << 4 | words]) + network[1:]
    try:
        return packets.decode_headers(network, transport)
    except DecodeError:
        return None


def imprint(message: TraceMessage) -> bytes:
    """What stays of a packet's headers through NAT and routing, as a key.

    Addresses, ports, checksums, TTL and TOS may be changed on the way.
    """
    network, transport = message.network_header or b"", message.transport_header or b""
    if network[:1] and network[0] >> 4 == 6:
        kept, proto = network[4:7], network[6:7]
    else:
        kept, proto = network[2:8] + network[9:10], network[9:10]  # length, id, offset
    own = _OWN.get(proto[0] if proto else 0, slice(0, 0))
    return bytes([len(kept)]) + kept + transport[own]


@dataclass(slots=True, eq=False)
class _Traced:
    """A packet on its way."""

    number: int
    """In the order packets began."""
    seen: list[Visit] = field(default_factory=list)
    is_fresh: bool = True
    is_over: bool = False
    _base: Chain | None = None
    _first: int = 0
    """Of ``seen``, where this base chain begins."""
    _bases: set[Chain] = field(default_factory=set)
    _last: dict[str, Chain] = field(default_factory=dict)
    """The base chain it visited last, by layer."""

    def goes_on_to(self, chain: Chain) -> bool:
        """Whether a packet that is here can begin with this chain next."""
        if chain in self._bases:
            return False
        last = self._last.get(_layer(chain))
        if last is None or last.hook is None or chain.hook is None:
            return True
        if last.hook is chain.hook:
            return (last.priority or 0) <= (chain.priority or 0)
        if chain.family == "bridge" and chain.hook in _FROM_BRIDGE:
            return last.hook in (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.OUTPUT)
        return chain.hook in _ONWARD[last.hook]

    def base_of(self, chain: Chain, *, begins: bool) -> Chain:
        """The base chain of a step: its own, or the one that led here."""
        elsewhere = chain.hook is not None and chain != self._base
        if begins or elsewhere or self._base is None:
            if elsewhere and not begins:
                self._adopt(chain)
            else:
                self._first = len(self.seen)
            self._base = chain
            self._bases.add(chain)
            self._last[_layer(chain)] = chain
        return self._base

    def _adopt(self, base: Chain) -> None:
        """Give steps in a chain without a hook the base chain they return to.

        The trace may have begun in a chain that was jumped to.
        """
        if self._base is not None and self._base.hook is None:
            told = self.seen[self._first :]
            self.seen[self._first :] = [replace(visit, base=base) for visit in told]
        else:
            self._first = len(self.seen)

    def add(self, visit: Visit) -> None:
        self.seen.append(visit)
        self.is_fresh = True
        self.is_over = visit.verdict is Verdict.DROP


def _layer(chain: Chain) -> str:
    return _LAYERS.get(chain.family, chain.family)
