"""What a NAT rule may give, read from its text as nft(8) or iptables-save(8) wrote it.

The kernel says which rule took a packet; the text says what else that rule could
have given: the addresses and ports of its range (struct nf_nat_range2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Literal

from natscope.codec.text.strings import emptied, masked

Kind = Literal["snat", "dnat", "masquerade", "redirect"]
Span = tuple[int, int]
"""First and last, both within."""

_NFT = re.compile(
    r"(?<!jump )(?<!goto )(?<!\S)(?:"
    r"(?P<to>[sd]nat)\s+(?:(?:ip6?|inet)\s+)?(?P<prefix>prefix\s+)?"
    r"(?:addr(?: \. port)?\s+|interval\s+)?to\s+(?P<target>.+)"
    r"|(?P<own>masquerade|redirect)(?:\s+to\s+(?P<ports>:\S+))?(?!\S))"
)
_FLAGS = re.compile(r"\s+(random|fully-random|persistent|comment)\b.*$")
_XT = re.compile(r'xt target "?(SNAT|DNAT|MASQUERADE|REDIRECT|NETMAP)\b')
_IPTABLES = re.compile(r"(?<!\S)-j (SNAT|DNAT|MASQUERADE|REDIRECT|NETMAP)(?!\S)")
_OPTION = re.compile(r"--to(?:-source|-destination|-ports)? (\S+)")
_SOURCE_CHAINS = ("POSTROUTING", "INPUT")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/\d+)?$", re.ASCII)
_HIGHEST_PORT = 0xFFFF
_BRACKETS = re.compile(r"\[([^]]*)\](?:-\[([^]]*)\])?(?::(.*))?$")
_DOUBT = re.compile(
    r"\b(numgen|jhash|symhash|limit rate|quota|ct count|meta (?:hour|day|time)|"
    r"skuid|skgid|cgroupv?2?|ether saddr|physdev|ibrname|pkttype|osf|"
    r"add @|update @)\b|"
    r"-m (statistic|limit|hashlimit|quota|recent|connlimit|time|owner|cgroup|mac|"
    r"physdev|pkttype|nfacct|osf|socket|bpf|u32|string)\b"
)


@dataclass(frozen=True, slots=True)
class Given:
    """What a NAT rule gives.

    ``addresses`` are empty where the text names none: the box's own (masquerade,
    redirect), or a map's that is told elsewhere.
    """

    kind: Kind
    addresses: tuple[Span, ...] = ()
    ports: Span | None = None
    is_prefix: bool = False
    """Only the network is exchanged; the host's part stays."""
    is_map: bool = False
    """A map chooses by the packet, or by chance."""

    @property
    def is_source(self) -> bool:
        """Whether the source is translated."""
        return self.kind in ("snat", "masquerade")


@lru_cache(1 << 16)
def given(text: str) -> Given | None:
    """What a rule gives; None of one that translates nothing.

    Args:
        text: the rule, of nft or beginning with ``-A CHAIN`` of iptables.
    """
    plain = emptied(text)
    if plain.startswith("-A "):
        return _of_iptables(plain)
    at = masked(text).find("xt target ")
    if at >= 0 and (found := _XT.match(text, at)) is not None:
        return Given(_kind(found[1], text))
    if (found := _NFT.search(plain)) is None:
        return None
    if found["own"]:
        kind: Kind = "masquerade" if found["own"] == "masquerade" else "redirect"
        return Given(kind, ports=port_span((found["ports"] or "").lstrip(":")))
    kind = "snat" if found["to"] == "snat" else "dnat"
    return _target(kind, found["target"], is_prefix=bool(found["prefix"]))


def has_doubt(text: str) -> bool:
    """Whether a rule decides by what one packet cannot tell.

    By chance, by time, by what it counted, or by what only the real packet has: its
    sender's MAC address, the program that sent it.
    """
    return _DOUBT.search(emptied(text)) is not None


def _of_iptables(text: str) -> Given | None:
    found = _IPTABLES.search(text)
    if found is None:
        return None
    kind = _kind(found[1], text)
    option = _OPTION.search(text, found.end())
    if option is None:
        return Given(kind)
    if found[1] in ("MASQUERADE", "REDIRECT"):
        return Given(kind, ports=port_span(option[1]))
    return _target(kind, option[1], is_prefix=found[1] == "NETMAP")


def _kind(target: str, text: str) -> Kind:
    match target:
        case "SNAT":
            return "snat"
        case "MASQUERADE":
            return "masquerade"
        case "REDIRECT":
            return "redirect"
        case "NETMAP" if any(f"-A {chain} " in text for chain in _SOURCE_CHAINS):
            return "snat"
    return "dnat"


def _target(kind: Kind, text: str, *, is_prefix: bool) -> Given:
    text = _FLAGS.sub("", text).strip()
    if " map " in f" {text}":
        return Given(kind, _of_map(text), is_prefix=is_prefix, is_map=True)
    address, ports = _split(text)
    return Given(kind, address_spans(address), port_span(ports), is_prefix)


def _of_map(text: str) -> tuple[Span, ...]:
    """The addresses of a map that is written out."""
    inner = text.partition("{")[2].rpartition("}")[0]
    found: tuple[Span, ...] = ()
    for element in inner.split(","):
        _, separator, value = element.partition(" : ")
        if separator:
            found += address_spans(value.split(" . ")[0].strip())
    return found


def _split(text: str) -> tuple[str, str]:
    """``A-B:1-2`` and ``[A]-[B]:1-2`` into addresses and ports."""
    if (found := _BRACKETS.match(text)) is not None:
        first, last, ports = found.groups()
        return (f"{first}-{last}" if last else first), ports or ""
    if text.count(":") == 1:
        address, _, ports = text.partition(":")
        return address, ports
    return text, ""


def address_spans(text: str) -> tuple[Span, ...]:
    """``A``, ``A-B`` or a prefix, as numbers; nothing where it is none of these."""
    first, _, last = text.partition("-")
    try:
        if "/" in text and "." not in text.partition("/")[2]:
            network = ip_network(text, strict=False)
            return ((int(network.network_address), int(network.broadcast_address)),)
        low = int(ip_address(first))
        return ((low, int(ip_address(last)) if last else low),)
    except ValueError:
        return ()


def port_span(text: str) -> Span | None:
    """``P`` or ``P-Q``; None where it is neither."""
    found = _PORTS.match(text)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2] or found[1])
    return (first, last) if first <= last <= _HIGHEST_PORT else None
