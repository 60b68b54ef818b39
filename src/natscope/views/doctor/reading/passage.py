"""Whether the forward hook lets translated flows through, as far as texts tell.

A rule that accepts may take a packet unless a constant in its text keeps it out; jumps
are followed whatever they ask.  So what is called shut has no rule that could accept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import numpy as np

from natscope import uapi
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Given, Span
from natscope.codec.text.natrules import reachable
from natscope.codec.text.strings import emptied
from natscope.model.bundle import Bundle
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Chain, Hook, Rule, Verdict
from natscope.views.doctor.reading.chains import base_chains
from natscope.views.doctor.reading.ways import (
    default_devices,
    is_routed_by_rules,
    outgoing,
)
from natscope.views.doctor.snapshot import Snapshot

_ACCEPTS = re.compile(r"(?<!\S)(?:accept|queue|vmap)\b|-j (?:ACCEPT|NFQUEUE)\b")
_CLOSES = re.compile(
    r"(?:counter(?: packets \d+ bytes \d+)? )?(?:drop|reject\b.*)(?: comment .*)?$"
    r"|-A \S+ -j (?:DROP|REJECT\b.*)$"
)
_FORWARDED = re.compile(r"\bct status (?:== )?dnat\b|(?<!! )--ctstate \S*\bDNAT\b")
_STATES = re.compile(
    r"\bct state (?:vmap )?(\{[^}]*\}|(?!vmap\b)[\w,]+)(?!\S)"
    r"|(?<!! )--(?:ct)?state (\S+)"
)
_LETS_ON = re.compile(
    r"\b(?:accept|queue|jump|goto|vmap)\b|-[jg] (?!DROP\b|REJECT\b|N?F?LOG\b)"
)
FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_OF_LINK = {4: "net/ipv4/conf/{}/forwarding", 6: "net/ipv6/conf/{}/force_forwarding"}
"""What lets one interface forward though the box does not: IPv6 from Linux 6.17 on."""
_NEW = re.compile(r"\bnew\b(?! : (?:drop|reject))", re.IGNORECASE)
_IIF = re.compile(r'\biif(?:name)? "([^"*]+)"|(?<!! )-i ([^\s+]+)(?!\S)')
_NOT_IIF = re.compile(r'\biif(?:name)? != "([^"*]+)"|(?<!\S)! -i ([^\s+]+)(?!\S)')


class Passage(Enum):
    """What becomes of a flow's first packet in the forward hook."""

    OPEN = "a rule accepts what a port forward let in, or nothing drops"
    UNSURE = "some rule may accept it"
    SHUT = "no rule can accept it, and the chain drops the rest"


@dataclass(frozen=True, slots=True)
class Opening:
    """The first packet of a flow that is translated, as the forward hook sees it."""

    version: int
    protos: frozenset[int]
    targets: tuple[Span, ...]
    dports: tuple[Span, ...]
    iif: str | None
    """None: it may come from anywhere."""
    oif: str | None
    """None: it is not known."""
    sources: tuple[Span, ...] = ()
    """Empty: anybody."""
    not_iif: str | None = None
    """Not from there; None: nothing of the kind is asked."""


@dataclass(frozen=True, slots=True)
class _Accepting:
    """A rule that accepts, and may take a new flow."""

    asked: Asked
    iif: str | None
    is_sure: bool
    """It takes what was forwarded, whatever that is."""


class ForwardHook:
    """The chains of one family's forward hook that drop what they do not accept.

    Args:
        snapshot: the box.
        version: 4 or 6.
    """

    def __init__(self, snapshot: Snapshot, version: int) -> None:
        self._snapshot, self._version = snapshot, version
        self._world = default_devices(snapshot.bundle, VERSIONS[version].inet)
        rules = snapshot.ruleset.by_chain
        family = VERSIONS[version].nft
        chains = base_chains(snapshot.ruleset, family, Hook.FORWARD, "filter")
        named = [(one, (one.family, one.table, one.name)) for one in chains]
        self._closing = [
            (chain, list(filter(None, map(_accepting, reachable(rules, name)))))
            for chain, name in named
            if _closes(chain, rules.get(name, []))
        ]

    def opening(self, rule: Rule, gives: Given) -> Opening:
        """The packets a port forward sends on."""
        what = asked(rule)
        ports = (gives.ports,) if gives.ports else what.dports
        oif = self._way(gives.addresses) if self._closing else None
        return Opening(
            *(self._version, what.protos, gives.addresses, ports),
            came_by(rule.text),
            oif,
            not_iif=_named(_NOT_IIF, rule.text),
        )

    def leaving(self, rule: Rule) -> Opening:
        """TCP of the hosts a source rule names, out of the interface it names."""
        what = asked(rule)
        protos = what.protos or frozenset({uapi.IPPROTO_TCP})
        iif = self._way(what.src) if self._closing else None
        return Opening(
            self._version, protos, what.dst, what.dports, iif, what.oif, what.src
        )

    def passage(self, packet: Opening) -> tuple[Passage, Chain | None]:
        """What becomes of a packet, and the chain that decides."""
        worst: tuple[Passage, Chain | None] = Passage.OPEN, None
        for chain, rules in self._closing:
            found = {self._judged(rule, packet) for rule in rules}
            if Passage.OPEN in found:
                continue
            if Passage.UNSURE not in found:
                return Passage.SHUT, chain
            worst = Passage.UNSURE, chain
        return worst

    def _judged(self, rule: _Accepting, packet: Opening) -> Passage:
        """Whether a rule that accepts takes a packet; SHUT: it cannot."""
        if not _fits(rule.asked, packet):
            return Passage.SHUT
        is_elsewhere = packet.iif not in (None, rule.iif) or packet.not_iif == rule.iif
        if rule.iif is not None and is_elsewhere:
            return Passage.SHUT
        if packet.sources:
            return Passage.UNSURE if self._may_leave(rule, packet) else Passage.SHUT
        is_from_world = rule.iif in (None, packet.iif, *self._world)
        if (rule.is_sure or rule.asked.dst) and is_from_world:
            return Passage.OPEN
        return Passage.UNSURE

    def _may_leave(self, rule: _Accepting, packet: Opening) -> bool:
        """Whether a rule is for more than port forwards, and for where packets go."""
        towards = self._way(rule.asked.dst)
        return not rule.is_sure and towards in (None, packet.oif)

    def _way(self, spans: tuple[Span, ...]) -> str | None:
        """The interface some addresses are behind."""
        ends = {end for span in spans for end in span}
        bundle = self._snapshot.bundle
        if not ends or is_routed_by_rules(bundle):
            return None
        words = np.array([divmod(end, 1 << 64) for end in sorted(ends)], np.uint64)
        names, codes = outgoing(bundle, self._version, words)
        found = {names[code] for code in codes}
        return found.pop() or None if len(found) == 1 else None


def _accepting(rule: Rule) -> _Accepting | None:
    """What a rule accepts of new flows; None: nothing."""
    plain = emptied(rule.text)
    if not _ACCEPTS.search(plain):
        return None
    is_sure = _FORWARDED.search(plain) is not None
    states = " ".join(one for pair in _STATES.findall(plain) for one in pair)
    if states.strip() and not is_sure and not _NEW.search(states):
        return None
    return _Accepting(asked(rule), came_by(rule.text), is_sure)


def _closes(chain: Chain, rules: list[Rule]) -> bool:
    """Whether what no rule accepts is dropped."""
    if chain.policy is Verdict.DROP:
        return True
    return bool(rules) and _CLOSES.match(rules[-1].text) is not None


def _fits(what: Asked, packet: Opening) -> bool:
    """Whether no constant of a rule keeps a packet out."""
    if not _overlap(what.dst, packet.targets):
        return False
    if not _overlap(what.src, packet.sources):
        return False
    if what.version not in (None, packet.version):
        return False
    if what.protos and packet.protos and not what.protos & packet.protos:
        return False
    if packet.oif is not None and what.oif not in (None, packet.oif):
        return False
    return _overlap(what.dports, packet.dports)


def _overlap(some: tuple[Span, ...], others: tuple[Span, ...]) -> bool:
    """Whether two conditions can both hold; empty asks nothing."""
    if not some or not others:
        return True
    return any(a <= d and c <= b for a, b in some for c, d in others)


def came_by(text: str) -> str | None:
    """The one interface a rule takes packets of; None: of any, or of several."""
    return _named(_IIF, text)


def _named(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return None if found is None else found[1] or found[2]


def is_off(bundle: Bundle, version: int) -> bool:
    """Whether nothing is forwarded; False where it is not known."""
    if bundle.sysctls.get(FORWARDING[version]) != "0":
        return False
    names = (_OF_LINK[version].format(link.name) for link in bundle.links)
    return not any(bundle.sysctls.get(name) == "1" for name in names)


def dropping(snapshot: Snapshot, version: int) -> list[Chain]:
    """Chains of the forward hook that drop everything."""
    family = VERSIONS[version].nft
    rules = snapshot.ruleset.by_chain
    return [
        chain
        for chain in base_chains(snapshot.ruleset, family, Hook.FORWARD)
        if chain.policy is Verdict.DROP
        and not any(
            _LETS_ON.search(emptied(rule.text))
            for rule in reachable(rules, (chain.family, chain.table, chain.name))
        )
    ]
