"""Packets worth a case: what would try the port forwards of a ruleset.

A guess from the text of rules, which the twin answers: nothing here decides what
becomes of a packet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from itertools import chain

from natscope import uapi
from natscope.codec.packetline import endpoint_text
from natscope.model.bundle import Bundle, Link, Network
from natscope.model.cases import PASSED
from natscope.model.flow import Flow
from natscope.model.journey import Rule, Sightings
from natscope.model.tuples import Address
from natscope.views.checking import translation
from natscope.views.journey import journey

MOST_FLOWS = 20
"""Cases from live flows; each is of another translation."""
_COMMENT = re.compile(r'(?:-m )?(?:--)?comment ("[^"]*"|\S+)')
_TRANSLATES = re.compile(
    r"(?<!status )\b(?:dnat|redirect) |\bredirect$|-j (?:DNAT|REDIRECT)\b"
)
_JUMP = re.compile(r"(?:\b(?:jump|goto)|-[jg]) (\S+)")
_PORTS = (
    re.compile(r"\b(tcp|udp|sctp|dccp|th) dport (?!!=|@)(?:v?map )?(\{[^}]*\}|[\w-]+)"),
    re.compile(r"-p (\w+)\b.*?(?<!! )--dports? ([\d:,]+)"),
)
_ADDRESS = {
    way: (
        re.compile(rf"\bip6? {way} (?!!=|@)(?:v?map )?(\{{[^}}]*\}}|[0-9a-fA-F.:/-]+)"),
        re.compile(rf"(?<!! )-{option} ([0-9a-fA-F.:/]+)"),
    )
    for way, option in (("daddr", "d"), ("saddr", "s"))
}
_INTERFACE = (
    re.compile(r'\biif(?:name)? "?([^\s"!=@{*]+)"?(?!\*)'),
    re.compile(r"(?<!! )-i ([^\s+]+)(?![\S+])"),
)
_NOT_INTERFACE = re.compile(r'\biif(?:name)? != "?([^\s"]+)"?|! -i (\S+)')
_STRANGERS = {
    4: ("192.0.2.9", "198.51.100.9", "203.0.113.9"),
    6: ("2001:db8:9::9", "3fff::9"),
}
"""Addresses of documentation (RFC 5737, 3849, 9637): hosts of the world."""


ChainName = tuple[str, str, str]
"""Family, table, chain."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A packet worth a case, in words."""

    words: str
    about: str
    """The rule or the flow it is from."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A case as a file has it: what the twin answered is what is expected."""

    name: str
    packet: str
    keys: tuple[tuple[str, str | bool], ...]
    about: str
    why: str | None = None
    """Why it is stopped."""


def forwards(rules: Iterable[Rule], bundle: Bundle) -> Iterator[Candidate]:
    """A packet for each port, or else each address, rules translate."""
    box = _Box(bundle)
    rules = [replace(rule, text=_COMMENT.sub("", rule.text)) for rule in rules]
    leading = _leading(rules)
    for rule in rules:
        text = rule.text
        ports = list(_ports(text))
        targets = _addresses(text, "daddr")
        found = ports or targets
        if _target(rule) in leading:
            found = ports and targets
        elif _TRANSLATES.search(text) is None:
            continue
        if not found:
            continue
        version = 6 if rule.family == "ip6" or (targets and ":" in targets[0]) else 4
        link = box.entry(text, version)
        if link is None:
            continue
        to = targets or box.addresses(link, version)[:1]
        sources = _addresses(text, "saddr") or [box.stranger(link, version)]
        for address in to:
            for proto, port in ports or [("tcp", 443)]:
                target = f"[{address}]:{port}" if version == 6 else f"{address}:{port}"
                words = f"{proto} {sources[0]} to {target} in {link.name}"
                yield Candidate(words, rule.text)


def _leading(rules: Sequence[Rule]) -> set[ChainName]:
    """The chains that translate, or lead to one that does."""
    found = {_place(rule) for rule in rules if _TRANSLATES.search(rule.text)}
    while True:
        more = {_place(rule) for rule in rules if _target(rule) in found}
        if more <= found:
            return found
        found |= more


def _place(rule: Rule) -> ChainName:
    return rule.family, rule.table, rule.chain


def _target(rule: Rule) -> ChainName | None:
    jump = _JUMP.search(rule.text)
    return None if jump is None else (rule.family, rule.table, jump[1])


def translated(flows: Iterable[Flow]) -> Iterator[Candidate]:
    """One flow of each translation that is there, as its first packet."""
    known: set[tuple[object, ...]] = set()
    for flow in flows:
        orig, reply = flow.orig, flow.reply
        is_snat = (orig.src, orig.sport) != (reply.dst, reply.dport)
        is_dnat = (orig.dst, orig.dport) != (reply.src, reply.sport)
        if not (is_snat or is_dnat) or orig.sport is None:
            continue
        one = (
            orig.proto,
            reply.dst if is_snat else None,
            (orig.dst, orig.dport, reply.src, reply.sport) if is_dnat else None,
        )
        if one in known or len(known) == MOST_FLOWS:
            continue
        known.add(one)
        source = endpoint_text(orig.src, orig.sport)
        target = endpoint_text(orig.dst, orig.dport)
        words = f"{uapi.protocol_name(orig.proto)} {source} to {target}"
        yield Candidate(words, "a flow that is open")


def draft(candidate: Candidate, seen: Sightings, *, replied: bool) -> Draft | None:
    """A case that expects what was seen; None where nothing was translated.

    Args:
        candidate: what was sent.
        seen: of it.
        replied: an answer came back to its sender.
    """
    found, departure, asked = journey(seen), seen.departure, seen.question
    if asked is None:
        return None
    packet = asked.packet
    keys: list[tuple[str, str | bool]] = [("expect", found.outcome.value)]
    target = endpoint_text(packet.dst, packet.dport)
    name = f"{uapi.protocol_name(packet.proto)} {target}"
    if departure is None or found.outcome not in PASSED:
        keys += [("reason", found.reason)] if found.reason else []
        name += f" is {found.outcome.value}"
        return Draft(name, candidate.words, tuple(keys), candidate.about, found.why)
    nat = translation(packet, departure.packet)
    if nat == "none":
        return None
    left = departure.packet
    if departure.interface is not None:
        keys.append(("out", departure.interface))
    keys.append(("nat", nat))
    if nat in ("dnat", "both"):
        to = endpoint_text(left.dst, left.dport)
        keys.append(("to", to))
        name += f" to {to}"
    if nat in ("snat", "both"):
        keys.append(("from", str(left.src)))
    if nat == "snat":
        name = f"{uapi.protocol_name(packet.proto)} of {packet.src} as {left.src}"
    if replied:
        keys.append(("reply", True))
    return Draft(name, candidate.words, tuple(keys), candidate.about)


class _Box:
    """Where packets would come in, and from whom."""

    def __init__(self, bundle: Bundle) -> None:
        self._links = {
            link.name: link
            for link in bundle.links
            if link.up and "LOOPBACK" not in link.flags
        }
        self._own = {one.local for link in bundle.links for one in link.addresses}
        self._networks = [one for link in bundle.links for one in _networks(link)]
        self._default: dict[int, str | None] = {
            route.dst.version: route.dev
            for route in reversed(bundle.routes)
            if route.dst.prefixlen == 0 and route.dev in self._links
        }

    def entry(self, text: str, version: int) -> Link | None:
        """The interface a rule's packets come in by."""
        for form in _INTERFACE:
            if (found := form.search(text)) is not None and found[1] in self._links:
                return self._links[found[1]]
        avoided = {a or b for a, b in _NOT_INTERFACE.findall(text)}
        names = [self._default.get(version), *self._links]
        for name in names:
            if name is not None and name not in avoided:
                return self._links[name]
        return None

    def addresses(self, link: Link, version: int) -> list[str]:
        """The box's own on a link."""
        return [
            str(one.local)
            for one in link.addresses
            if one.local.version == version and one.scope == "global"
        ]

    def stranger(self, link: Link, version: int) -> str:
        """A host whose packets come in by a link."""
        networks = [one for one in _networks(link) if one.version == version]
        if self._default.get(version) != link.name and networks:
            return self._neighbour(networks[0])
        for text in _STRANGERS[version]:
            if not any(ip_address(text) in one for one in self._networks):
                return text
        return _STRANGERS[version][0]

    def _neighbour(self, network: Network) -> str:
        """A host beside the box, the first from the ninth on that is not the box."""
        hosts = (network[at] for at in range(9, min(network.num_addresses, 64)))
        others = (one for one in chain(hosts, network.hosts()) if one not in self._own)
        return str(next(others, network[0]))


def _networks(link: Link) -> list[Network]:
    return [
        ip_network(f"{one.local}/{one.prefix}", strict=False) for one in link.addresses
    ]


def _ports(text: str) -> Iterator[tuple[str, int]]:
    """Protocols and ports, of a range its first."""
    for form in _PORTS:
        for proto, values in form.findall(text):
            for one in _members(values):
                first = re.split("[-:]", one)[0]
                if first.isdigit():
                    yield ("tcp" if proto == "th" else proto), int(first)


def _members(text: str) -> list[str]:
    """The keys of a set or a map in braces, or the one value."""
    inside = text.strip("{} ")
    return [one.split(" : ")[0].strip() for one in inside.split(",") if one.strip()]


def _addresses(text: str, way: str) -> list[str]:
    """Addresses a rule is for; of a network or a range the first host."""
    found = []
    for form in _ADDRESS[way]:
        for values in form.findall(text):
            for one in _members(values):
                try:
                    found.append(str(_host(one.split("-")[0])))
                except ValueError:
                    continue  # a word that only looks like one
    return found


def _host(text: str) -> Address:
    network = ip_network(text, strict=False)
    return network[0] if network.num_addresses == 1 else network[1]
