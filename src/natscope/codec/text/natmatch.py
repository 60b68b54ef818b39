"""What a NAT rule asks of a flow, read from its text as nft(8) or iptables wrote it.

Only what surely keeps a flow out is read: a constant protocol, address, port or
interface.  What is not understood asks nothing, so that a rule may seem to take more
than it does, never less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from natscope import uapi
from natscope.codec.text.natrule import Span
from natscope.codec.text.strings import masked
from natscope.model.journey import Rule

_VERSIONS = {"ip": 4, "ip6": 6}
_TERM = r"(?:== )?(\{[^}]*\}|[^\s{}!]+)"
_ADDRESS = re.compile(rf"\b(ip6?) (saddr|daddr) {_TERM}(?! \.)")
_PORT = re.compile(rf"\b(tcp|udp|sctp|dccp|udplite|th) dport {_TERM}(?! \.)")
_PROTOCOL = re.compile(rf"\b(?:meta l4proto|ip protocol|ip6 nexthdr) {_TERM}(?! \.)")
_NFPROTO = re.compile(r"\bmeta nfproto ipv([46])\b")
_OIF = re.compile(r'\boif(?:name)? "([^"*]+)"')
_ACTION = re.compile(r"(?<!\S)(?:snat|dnat|masquerade|redirect)(?!\S)")
_CONCATENATED = re.compile(r"\S+ \S+(?: \. \S+ \S+)+ (?:!= |== )?(?:\{[^}]*\}|\S+)")
_WORD = re.compile(r'"[^"]*"|\S+')
_NUMBER = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Asked:
    """What keeps flows out; empty or None asks nothing.

    Addresses and ports are those a packet has when it meets the rule: the
    destination of a rule that translates sources is what it was translated to.
    """

    version: int | None = None
    """4 or 6."""
    protos: frozenset[int] = frozenset()
    src: tuple[Span, ...] = ()
    dst: tuple[Span, ...] = ()
    dports: tuple[Span, ...] = ()
    oif: str | None = None


@lru_cache(1 << 16)
def asked(rule: Rule) -> Asked:
    """What a NAT rule asks."""
    if rule.text.startswith("-A "):
        return _of_iptables(rule)
    return _of_nft(rule)


def _of_nft(rule: Rule) -> Asked:
    # a comment may hold any word
    plain = masked(rule.text)
    action = _ACTION.search(plain)
    end = len(plain) if action is None else action.start()
    head = plain[:end]
    if " . " in head:
        head = _CONCATENATED.sub(_blank, head)
    version = _VERSIONS.get(rule.family)
    sides: dict[str, tuple[Span, ...]] = {}
    for found in _ADDRESS.finditer(head):
        version = _VERSIONS[found[1]]
        sides[found[2]] = _spans(_elements(found[3]), version)
    protos = frozenset[int]()
    dports: tuple[Span, ...] = ()
    for found in _PROTOCOL.finditer(head):
        protos = _protocols(_elements(found[1]))
    for found in _PORT.finditer(head):
        if found[1] != "th":
            protos = _protocols([found[1]])
        dports = _ports(_elements(found[2]))
    if (told := _NFPROTO.search(head)) is not None:
        version = int(told[1])
    oif = _OIF.search(rule.text[:end])
    return Asked(
        version,
        protos,
        sides.get("saddr", ()),
        sides.get("daddr", ()),
        dports,
        None if oif is None else oif[1],
    )


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _of_iptables(rule: Rule) -> Asked:
    words = [word.strip('"') for word in _WORD.findall(rule.text)]
    told: dict[str, str] = {}
    for before, option, value in zip(
        ["", *words], words, [*words[1:], ""], strict=False
    ):
        if before != "!":
            told.setdefault(option, value)
    ports = told.get("--dport") or told.get("--dports") or ""
    oif = told.get("-o")
    version = _VERSIONS.get(rule.family)
    return Asked(
        version,
        _protocols([told["-p"]] if "-p" in told else []),
        _spans(told.get("-s", "").split(","), version),
        _spans(told.get("-d", "").split(","), version),
        _ports(ports.replace(":", "-").split(",")),
        None if oif is None or oif.endswith("+") else oif,
    )


def _elements(term: str) -> list[str]:
    return [one.strip() for one in term.strip("{} ").split(",")]


def _protocols(names: Iterable[str]) -> frozenset[int]:
    """Empty where one of them is not known."""
    found = set()
    for name in names:
        number = uapi.PROTOCOL_NUMBERS.get(_OTHER_NAMES.get(name, name))
        if number is None and _NUMBER.fullmatch(name):
            number = int(name)
        if not number:
            return frozenset()  # all, or a set that is told elsewhere
        found.add(number)
    return frozenset(found)


_OTHER_NAMES = {"ipv6-icmp": "icmpv6"}


def _spans(texts: Iterable[str], version: int | None) -> tuple[Span, ...]:
    try:
        return tuple(_span(text, version) for text in texts)
    except ValueError:
        return ()  # a name, a set, nothing


def _span(text: str, version: int | None) -> Span:
    if "/" in text:
        if "." in text.partition("/")[2]:
            raise ValueError("a mask that is no prefix")  # as a host mask it is one
        network = ip_network(text, strict=False)
        ends = network.network_address, network.broadcast_address
    else:
        first, _, last = text.partition("-")
        ends = ip_address(first), ip_address(last or first)
    if {one.version for one in ends} != {version}:
        raise ValueError("of another version")
    return int(ends[0]), int(ends[1])


def _ports(texts: Iterable[str]) -> tuple[Span, ...]:
    found = []
    for text in texts:
        numbers = list(_numbers(text))
        if not numbers or None in numbers:
            return ()
        known = [number for number in numbers if number is not None]
        found.append((known[0], known[-1]))
    return tuple(found)


def _numbers(text: str) -> Iterator[int | None]:
    for part in text.split("-"):
        is_port = _NUMBER.fullmatch(part) and int(part) <= _HIGHEST_PORT
        yield int(part) if is_port else None
