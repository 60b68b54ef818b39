"""Which packets a NAT rule surely takes, where its whole text is understood.

``natmatch`` tells what surely keeps a flow out.  This is the other side: a rule with
any word that is not understood tells nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
_NFT_ACTION = re.compile(r"(?<!\S)(?:snat|dnat|masquerade|redirect)(?!\S)")
_WILDCARD = re.compile(r'\b[io]ifname (?:!= )?"[^"]*\*"')
_IIF = re.compile(r'\biif(?:name)? "([^"*]+)"')
_IPTABLES_KNOWN = re.compile(
    r"(?<!\S)(?:-A \S+|-[sd] [\w.:/]+|-p \w+|-m (?:tcp|udp|comment|multiport)"
    r"|--dports? [\d:,]+|-[io] [^\s+]+|--comment (?:\"[^\"]*\"|\S+)"
    r"|-j (?:SNAT|DNAT|MASQUERADE|REDIRECT).*)(?!\S)"
)
_IPTABLES_IIF = re.compile(r"(?<!\S)-i (\S+)")


@dataclass(frozen=True, slots=True)
class Taken:
    """The packets a rule takes: all that are as ``asked``, from ``iif``."""

    asked: Asked
    iif: str | None = None
    """None: from any interface."""


def taken(rule: Rule) -> Taken | None:
    """The packets a NAT rule takes, as far as its own chain lets them come to it.

    Returns:
        None where a word is not understood, and of a rule that translates nothing.
    """
    is_open = _WILDCARD.search(rule.text) is not None
    if is_open or given(rule.text) is None or has_doubt(rule.text):
        return None
    if rule.text.startswith("-A "):
        rest, iif = _IPTABLES_KNOWN.sub("", rule.text), _IPTABLES_IIF.search(rule.text)
    else:
        masked = emptied(rule.text)
        action = _NFT_ACTION.search(masked)
        if action is None:
            return None
        rest, iif = _NFT_KNOWN.sub("", masked[: action.start()]), _IIF.search(rule.text)
    if rest.strip():
        return None
    return Taken(asked(rule), None if iif is None else iif[1])
