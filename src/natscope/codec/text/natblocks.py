"""Blocks of ports that the maps of NAT rules give.

Carriers give each inside host a block (RFC 7422), with nft: ``snat ip to ip saddr map {
10.0.0.2 : 203.0.113.7 . 1024-2047, … }``.  The map stands in the rule, or under a name
in its table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from natscope.codec.text.natrule import Span, address_spans, port_span
from natscope.codec.text.strings import emptied
from natscope.model.bundle import Bundle
from natscope.model.journey import Rule

Block = tuple[Span, Span]
"""Addresses and ports, the first and the last of each."""
MapName = tuple[str, str, str]
"""Family, table and name."""

_TABLE = re.compile(r"^table (\w+) (\S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_MAP = re.compile(r"^([ \t]+)map (\S+) \{\n(.*?)^\1\}", re.MULTILINE | re.DOTALL)
_ELEMENTS = re.compile(r"elements = \{([^}]*)\}")
_USED = re.compile(r"\bmap (?:@(\S+)|\{([^}]*)\})")


def maps(bundle: Bundle) -> dict[MapName, str]:
    """The elements of every map that has a name, as nft(8) lists them."""
    found = {}
    for one in bundle.rulesets:
        if one.tool != "nft":
            continue
        for family, table, body in _TABLE.findall(emptied(one.text)):
            for _, name, inner in _MAP.findall(body):
                listed = _ELEMENTS.search(inner)
                found[family, table, name] = "" if listed is None else listed[1]
    return found


def blocks(rule: Rule, named: Mapping[MapName, str]) -> tuple[Block, ...]:
    """What the map of a rule gives; nothing where it gives no ports.

    Args:
        rule: of nft.
        named: see :func:`maps`.
    """
    used = _USED.search(emptied(rule.text))
    if used is None:
        return ()
    elements = used[2]
    if used[1] is not None:
        elements = named.get((rule.family, rule.table, used[1]), "")
    return tuple(_blocks(elements))


def _blocks(elements: str) -> Iterator[Block]:
    for element in elements.split(","):
        address, _, port = element.partition(" : ")[2].strip().partition(" . ")
        span = port_span(port)
        if span is not None:
            for addresses in address_spans(address):
                yield addresses, span
