"""R37: NAT rules that name a public address which does not lead to this box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natmatch import asked
from natscope.codec.text.natrule import Span
from natscope.codec.text.natrules import NatRule, place
from natscope.model.bundle import Link, LinkAddress, Network, Route
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.model.measured import STANDBY
from natscope.model.tuples import Address
from natscope.table.age import idle_s
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.reading.chains import arriving
from natscope.views.doctor.reading.passage import came_by
from natscope.views.doctor.reading.rows import Mask, examples, flows, is_set, is_unset
from natscope.views.doctor.reading.spans import addresses_within, is_of
from natscope.views.doctor.reading.ways import default_devices, link
from natscope.views.doctor.remedies.edits import KEEP, lacks_handle, replaced
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_PROXY = {4: "net/ipv4/conf/{}/proxy_arp", 6: "net/ipv6/conf/{}/proxy_ndp"}
_HANDLE = "N is the rule's handle: nft -a list ruleset; "
_VERIFY = "natscope doctor --only R37 finds nothing"


def rule_address(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R37: a rule gives, or waits for, an address that does not lead to this box.

    An address that a provider routes to the box need be nowhere on it.  So what a
    source rule gives counts only where nobody answers, and what a port forward asks for
    only on the uplink's own prefix: there the address must be asked for by ARP or NDP.
    """
    yield from _given(snapshot, thresholds)
    for one in _awaited(snapshot):
        # of two boxes the other may have it now
        if not STANDBY & {program.name for program in snapshot.programs}:
            yield _foreign(snapshot, one)


def _given(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """Source rules whose addresses are foreign, and whose flows nobody answers."""
    told = set()
    publics = _Publics.of(snapshot.flows)
    for nat in snapshot.nat_rules:
        gives = nat.gives
        if gives is None or gives.kind != "snat" or gives.is_map or gives.is_prefix:
            continue
        spans = gives.addresses
        if not spans or spans in told or _is_here(snapshot, spans):
            continue
        told.add(spans)
        at = _leaving_as(publics.table, spans)
        if publics.answered[at].any():
            continue
        if publics.counts[at].sum() >= thresholds.rule_address_flows:
            yield _unanswered(snapshot, nat, spans, _leaving_as(snapshot.flows, spans))


@dataclass(frozen=True, slots=True)
class _Publics:
    """The public addresses flows leave with: a box has few, and many rules."""

    table: FlowTable
    """A flow of each."""
    counts: NDArray[np.intp]
    """How many leave with it."""
    answered: Mask
    """Whether one of them is known to be, or not known not to be."""

    @classmethod
    def of(cls, table: FlowTable) -> _Publics:
        """Those of a table."""
        translated = table.mask(is_set(table, uapi.Status.SRC_NAT))
        first, of_row = translated.group("family", "reply_dst")
        counts = np.bincount(of_row, minlength=len(first))
        lost = is_unset(translated, uapi.Status.SEEN_REPLY)
        answered = np.bincount(of_row[~lost], minlength=len(first)) > 0
        return cls(translated.take(first), counts, answered)


def _leaving_as(table: FlowTable, spans: tuple[Span, ...]) -> Mask:
    rows = is_set(table, uapi.Status.SRC_NAT)
    version = 6 if is_of(spans[0], 6) else 4
    rows &= table["family"] == VERSIONS[version].family
    return rows & addresses_within(table["reply_dst"], spans)


def _is_here(snapshot: Snapshot, spans: tuple[Span, ...]) -> bool:
    """Whether some address of a range is the box's, or is led to it."""
    for one in snapshot.addresses:
        if any(is_of(span, one.version) and _within(one.ip, span) for span in spans):
            return True
    ends = {_address(end, is_of(span, 6)) for span in spans for end in span}
    return any(_is_led_here(snapshot, end) for end in ends)


def _within(address: Address, span: Span) -> bool:
    return span[0] <= int(address) <= span[1]


def _address(number: int, is_six: bool) -> Address:
    return ip_address(number.to_bytes(16 if is_six else 4, "big"))


def _is_led_here(snapshot: Snapshot, address: Address) -> bool:
    """Whether a route is made for an address, or the box answers ARP or NDP for it.

    A blackhole for a pool, AnyIP, a route inwards: each says that it is known here.
    """
    if any(
        address in one.dst and not _is_general(snapshot, one) for one in snapshot.routes
    ):
        return True
    on_link = [one.name for one in snapshot.links if _is_on_link(one, address)]
    name = _PROXY[address.version]
    return any(snapshot.sysctl(name.format(dev)) for dev in (*on_link, "all"))


def _is_general(snapshot: Snapshot, route: Route) -> bool:
    """A default route, or that of an interface's own prefix."""
    if not route.dst.prefixlen:
        return True
    if route.type != "unicast" or route.via is not None or route.dev is None:
        return False
    found = link(snapshot.bundle, route.dev)
    return found is not None and route.dst in map(_network, found.addresses)


def _network(address: LinkAddress) -> Network:
    return ip_network(f"{address.local}/{address.prefix}", strict=False)


def _is_on_link(found: Link, address: Address) -> bool:
    return any(
        one.peer is None
        and one.local.version == address.version
        and not one.local.is_link_local
        and address in _network(one)
        for one in found.addresses
    )


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An address of an uplink's prefix that forwards ask for, and the box lacks."""

    address: Address
    uplink: Link
    rules: tuple[NatRule, ...]


def _awaited(snapshot: Snapshot) -> Iterator[_Awaited]:
    """Port forwards that ask for a foreign address of the uplink's own prefix."""
    found: dict[tuple[Address, str], list[NatRule]] = {}
    own = {one.ip for one in snapshot.addresses}
    here = arriving(snapshot.ruleset)
    for nat in snapshot.nat_rules:
        if nat.gives is None or nat.gives.is_source or place(nat.rule) not in here:
            continue
        what = asked(nat.rule)
        for first, last in what.dst:
            address = _address(first, what.version == 6)
            if first != last or address in own:
                continue
            dev = _uplink(snapshot, address, came_by(nat.rule.text))
            if dev is not None and not snapshot.hits_rose(nat.rule):
                found.setdefault((address, dev), []).append(nat)
    for (address, dev), rules in found.items():
        uplink = link(snapshot.bundle, dev)
        is_led = _is_led_here(snapshot, address) or _is_in_use(snapshot, address)
        if uplink is not None and not is_led:
            yield _Awaited(address, uplink, tuple(rules))


def _uplink(snapshot: Snapshot, address: Address, came: str | None) -> str | None:
    """The uplink whose prefix an address is of, unless a rule asks for another link."""
    for name in default_devices(snapshot.bundle, VERSIONS[address.version].inet):
        found = link(snapshot.bundle, name)
        if came in (None, name) and found is not None and _is_on_link(found, address):
            return name
    return None


def _is_in_use(snapshot: Snapshot, address: Address) -> bool:
    """Whether packets to it came lately: a cloud may deliver what nobody asks for."""
    table = snapshot.flows
    rows = is_set(table, uapi.Status.DST_NAT)
    number = int(address)
    rows &= table["family"] == VERSIONS[address.version].family
    rows &= addresses_within(table["orig_dst"], ((number, number),))
    idle, known = idle_s(table, snapshot.evidence)
    # the kernel tells the timeout in whole seconds
    lately = known & (idle <= 1 + snapshot.measured.interval_ms // 1000)
    return bool((rows & lately).any())


def _unanswered(
    snapshot: Snapshot, nat: NatRule, spans: tuple[Span, ...], rows: Mask
) -> Finding:
    first, last = (_address(end, is_of(spans[0], 6)) for end in spans[0])
    named = str(first) if first == last else f"{first}-{last}"
    count = int(np.count_nonzero(rows))
    facts = [Fact("flows", count), Fact("answered", 0), Fact("rule", nat.rule.text)]
    for one in snapshot.links:
        if _is_on_link(one, first):  # its neighbours there must be answered
            facts.append(Fact("proxy_arp" if first.version == 4 else "proxy_ndp", 0))
            facts.append(Fact("of the network of", one.name))
    return Finding(
        "R37",
        Severity.HIGH,
        f"{flows(count)} leave as {named}, which a rule gives and this box does not "
        "have: nobody answers",
        tuple(facts),
        examples(snapshot.flows, rows),
        why="Answers go to the address the rule gives. No interface of this box has it "
        "and no route here is made for it: they come here only if the network before "
        "this box routes it here, and not one has come.",
        remedies=tuple(_giving_own(snapshot, nat, first, named)),
        verify=_VERIFY,
        about=named,
    )


def _giving_own(
    snapshot: Snapshot, nat: NatRule, first: Address, named: str
) -> Iterator[Remedy]:
    """The address of today in the rule; or a route that says it is this box's."""
    dev = asked(nat.rule).oif or ""
    own = _own(snapshot, dev, first.version)
    if own is not None and named in nat.rule.text:
        text = nat.rule.text.replace(named, str(own))
        yield _replacing((nat,), (text,), f"gives the address {dev} has")
    yield Remedy(
        f"ip route add blackhole {first}/{first.max_prefixlen}",
        "where the provider does route it to this box: then that is known here, and "
        "this is told no more",
        is_pattern=True,
    )


def _foreign(snapshot: Snapshot, awaited: _Awaited) -> Finding:
    address, dev = awaited.address, awaited.uplink.name
    count = len(awaited.rules)
    facts = [Fact("rule", one.rule.text) for one in awaited.rules[:3]]
    told = [str(one.local) for one in awaited.uplink.addresses]
    facts.append(Fact(f"addresses of {dev}", ", ".join(told)))
    neighbours = snapshot.bundle.neighbours
    mac = next((one.mac for one in neighbours if one.dst == address and one.mac), None)
    if mac is not None:
        facts.append(Fact("answers for it", mac))
    subject = "1 port forward waits" if count == 1 else f"{count} port forwards wait"
    return Finding(
        "R37",
        Severity.WARNING if mac is None else Severity.INFO,
        f"{subject} for packets to {address}, an address of {dev}'s network that this "
        "box does not have",
        tuple(facts),
        why="Its neighbours there ask by ARP or NDP who has the address, and this box "
        "does not answer: packets come only where the network delivers them unasked, "
        "or by a route to this box. When an address changes, rules often keep the old "
        "one.",
        remedies=tuple(_asking_own(snapshot, awaited)),
        verify=_VERIFY,
        about=str(address),
    )


def _asking_own(snapshot: Snapshot, awaited: _Awaited) -> Iterator[Remedy]:
    """The address of today in each rule; or the old one, back."""
    address, dev = awaited.address, awaited.uplink.name
    own = _own(snapshot, dev, address.version)
    texts = [one.rule.text for one in awaited.rules]
    if own is not None and all(text.count(str(address)) == 1 for text in texts):
        texts = [text.replace(str(address), str(own)) for text in texts]
        yield _replacing(awaited.rules, texts, f"{dev} has {own} now")
    yield Remedy(
        f"ip address add {address}/{address.max_prefixlen} dev {dev}",
        "if it is this box's after all; not while another host has it",
        is_pattern=True,
    )


def _own(snapshot: Snapshot, dev: str, version: int) -> Address | None:
    """The only address for the world an interface has; None where there is a choice."""
    found = link(snapshot.bundle, dev)
    own = [
        one.local
        for one in (found.addresses if found is not None else ())
        if one.local.version == version and one.scope == "global"
    ]
    return own[0] if len(own) == 1 else None


def _replacing(rules: Iterable[NatRule], texts: Iterable[str], about: str) -> Remedy:
    found = [one.rule for one in rules]
    is_pattern = any(map(lacks_handle, found))
    handle = _HANDLE if is_pattern else ""
    return Remedy(
        " &&\n".join(map(replaced, found, texts)),
        f"{handle}{about}; {KEEP}",
        is_pattern=is_pattern,
    )


RULES = (
    Rule(
        "R37",
        "rule-address",
        "NAT rules with an address that is not this box's",
        ("flows", "links", "routes", "ruleset"),
        rule_address,
        "arp_process(), ip_route_input_slow()",
    ),
)
