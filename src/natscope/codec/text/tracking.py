"""Whether conntrack looks at packets at all: it does where a rule asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set

from natscope.model.journey import Rule

_QUOTED = re.compile(r'"[^"]*"|--comment \S+')
_ZONING = re.compile(r"\bzone set\b|-j CT\b.* --zone")
_TRACKING = re.compile(
    r"\b(ct|snat|dnat|masquerade|redirect|synproxy|flow add)\b|"
    r"-m (conntrack|state|conn\w+|helper|cluster)|"
    r"-j (SNAT|DNAT|MASQUERADE|REDIRECT|NETMAP|CT|NOTRACK|CONN\w+|SYNPROXY)"
)
VERSIONS: Mapping[str, Set[int]] = {
    "ip": {4},
    "ip6": {6},
    "inet": {4, 6},
    "bridge": {4, 6},
}
"""The IP versions whose packets the rules of a family meet."""


def tracked(rules: Iterable[Rule]) -> frozenset[int]:
    """The IP versions conntrack looks at: without a rule, its hooks are not there.

    Each family has its own (nf_ct_netns_get).
    """
    found: set[int] = set()
    for rule in rules:
        if _TRACKING.search(_QUOTED.sub("", rule.text)):
            found |= VERSIONS.get(rule.family, set())
    return frozenset(found)


def is_zoned(rules: Iterable[Rule]) -> bool:
    """Whether a rule gives packets a zone."""
    return any(_ZONING.search(_QUOTED.sub("", rule.text)) for rule in rules)
