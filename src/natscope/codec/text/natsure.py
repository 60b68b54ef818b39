"""Which packets a rule surely takes, where its whole text is understood.

``natmatch`` tells what surely keeps a flow out.  This is the other side: a rule with
any word that is not understood tells nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import given, has_doubt
from natscope.codec.text.strings import emptied
from natscope.model.journey import Rule

_VALUE = r"(?:\{[^}@]*\}|[^\s{}!@]+)"
_NFT_KNOWN = re.compile(
    rf"\bip6? [sd]addr {_VALUE}(?! \.)|\b(?:tcp|udp|sctp) dport {_VALUE}(?! \.)"
    rf"|\b(?:meta l4proto|ip protocol) {_VALUE}"
    r'|\bmeta nfproto ipv[46]\b|\b[io]if(?:name)? "[^"*]*"|\bct state new\b'
    r'|\bcounter\b(?: packets \d+ bytes \d+)?|\bcomment "[^"]*"'
)
_NFT_ACTION = re.compile(
    r"(?<!\S)(?:snat|dnat|masquerade|redirect|jump|goto|return|accept|drop)(?!\S)"
)
_WILDCARD = re.compile(r'\b[io]ifname (?:!= )?"[^"]*\*"')
_NOT_LO = re.compile(r'(?<!\S)(?:oifname != "lo"|! -o lo)(?!\S)')
"""Of every packet that is forwarded."""
_IIF = re.compile(r'\biif(?:name)? "([^"*]+)"')
_IPTABLES_KNOWN = re.compile(
    r"(?<!\S)(?:-A \S+|-[sd] [\w.:/]+|-p \w+|-m (?:tcp|udp|comment|multiport)"
    r"|--dports? [\d:,]+|-[io] [^\s+]+"
    r"|-j (?:SNAT|DNAT|MASQUERADE|REDIRECT|NETMAP)(?: .*)?$|-[jg] \S+$)(?!\S)"
)
_IPTABLES_IIF = re.compile(r"(?<!\S)-i (\S+)")
_LEADS = re.compile(
    r'(?<!\S)(?:jump|(goto)) ([^\s,;{}]+)(?: comment "[^"]*")?$'
    r"|(?<!\S)-(?:j|(g)) (\S+)$"
)
_COMPOUND = re.compile(r"\b(?:jump|goto) \{")
_MAPS = re.compile(r"(?<!\S)(?:map|NETMAP)(?!\S)")
_COMMENT = re.compile(r'(?<!\S)--comment (?:""|\S+)')
_RETURNS = re.compile(
    r'(?<!jump )(?<!goto )(?<!\S)return(?: comment "")?$|(?<!\S)-j RETURN$'
)
_TOLD = (
    (re.compile(r"\bsaddr\b|(?<!\S)-s "), "src"),
    (re.compile(r"\bdaddr\b|(?<!\S)-d "), "dst"),
    (re.compile(r"\bdport\b|--dports? "), "dports"),
    (re.compile(r"\b(?:l4proto|protocol)\b|(?<!\S)-p "), "protos"),
    (re.compile(r"\boif(?:name)?\b|(?<!\S)-o "), "oif"),
)
"""What a text asks, and where it is told if it was read: a name may not be."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The packets a rule takes: all that are as ``asked``, from ``iif``."""

    asked: Asked
    iif: str | None = None
    """None: from any interface."""


@dataclass(frozen=True, slots=True)
class Leads:
    """Another chain a rule sends packets to, perhaps a target that is none."""

    chain: str
    is_goto: bool
    """They do not come back behind the rule, but behind the one that led here."""


@lru_cache(1 << 16)
def taken(rule: Rule) -> Taken | None:
    """The packets a NAT rule takes, as far as its own chain lets them come to it.

    Returns:
        None where a word is not understood, and of a rule that translates nothing or
        looks up in a map what to give: there need be nothing in it.
    """
    is_sure = given(rule.text) is not None and not has_doubt(rule.text)
    return condition(rule) if is_sure and not _MAPS.search(emptied(rule.text)) else None


@lru_cache(1 << 16)
def condition(rule: Rule) -> Taken | None:
    """The packets a rule is for, whatever it does with them.

    Returns:
        None where a word is not understood.
    """
    text = emptied(rule.text)
    if _WILDCARD.search(rule.text) or _COMPOUND.search(text) or '\\"' in rule.text:
        return None
    if text.startswith("-A "):
        rule = replace(rule, text=_NOT_LO.sub("", _COMMENT.sub("", text)))
        told, iif = rule.text, _IPTABLES_IIF.findall(rule.text)
        rest = _IPTABLES_KNOWN.sub("", told)
    else:
        plain = _NOT_LO.sub("", rule.text)
        masked = emptied(plain)
        action = _NFT_ACTION.search(masked)
        if action is None:
            return None
        told, iif = masked[: action.start()], _IIF.findall(plain)
        rest = _NFT_KNOWN.sub("", told)
    found = asked(rule)
    is_read = all(
        not times or (times == 1 and getattr(found, name))
        for times, name in ((len(say.findall(told)), name) for say, name in _TOLD)
    )
    if rest.strip() or not is_read or " . " in told or len(iif) > 1:
        return None
    return Taken(found, iif[0] if iif else None)


def leads(rule: Rule) -> Leads | None:
    """Where a rule sends packets; None of one with another end, or several."""
    found = _LEADS.search(emptied(rule.text))
    if found is None:
        return None
    return Leads(found[2] or found[4], bool(found[1] or found[3]))


def returns(rule: Rule) -> bool:
    """Whether a rule ends its chain, and no more."""
    return _RETURNS.search(emptied(rule.text)) is not None
