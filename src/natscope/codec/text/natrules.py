"""The NAT rules of a box, in the order packets meet them, with their counters.

A rule is known by its place: its chain, and its number there.  So it is found again
in another listing, and in a twin, where handles differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from natscope.codec.text.natrule import Given, given
from natscope.codec.text.ruleset import ChainName, RuleIndex, parse_iptables, parse_nft
from natscope.codec.text.strings import emptied
from natscope.model.bundle import Bundle, Tool
from natscope.model.journey import Hook, Rule

Place = tuple[str, str, str, int | None]
"""Family, table, chain, number."""
_ORDER = (Hook.PREROUTING, Hook.OUTPUT, Hook.INPUT, Hook.POSTROUTING)
_COUNTER = re.compile(r"\bcounter packets ([0-9]{1,20}) bytes ([0-9]{1,20})")
_SAVED = re.compile(r"\[([0-9]{1,20}):([0-9]{1,20})\] -A (\S+)")
_TARGET = re.compile(r"\b(?:jump|goto) ([^\s,;{}]+)|-[jg] (\S+)")


@dataclass(frozen=True, slots=True)
class NatRule:
    """A rule of a chain NAT passes.

    ``packets`` and ``bytes`` are of the rule's own counter; None: it has none.
    """

    rule: Rule
    gives: Given | None
    """None: it translates nothing; it jumps, returns or accepts."""
    packets: int | None = None
    bytes: int | None = None


def place(rule: Rule) -> Place:
    """Where a rule stands."""
    return rule.family, rule.table, rule.chain, rule.number


def rulesets(bundle: Bundle) -> RuleIndex:
    """Every chain and rule of a bundle, as the tool that made it writes it."""
    found = [
        _index(one.tool, one.family, one.text, one.handles)
        for one in bundle.rulesets
        if one.tool == "nft" or one.family is not None
    ]
    return RuleIndex(
        (chain for one in found for chain in one.chains),
        (rule for one in found for rule in one.rules),
    )


@lru_cache(8)
def _index(
    tool: Tool, family: str | None, text: str, handles: tuple[int, ...]
) -> RuleIndex:
    """A diagnosis comes back to its rulesets several times; a large one takes long."""
    if family is None:
        return parse_nft(text, handles)
    return parse_iptables(text, family=family, tool=tool)


def nat_rules(bundle: Bundle) -> list[NatRule]:
    """The rules of all chains that NAT passes, in the order packets meet them.

    A chain several others jump to stands where it is met first.
    """
    ruleset = rulesets(bundle)
    counted = dict(_saved_counters(bundle))
    return [_nat_rule(rule, counted) for chain in _chains(ruleset) for rule in chain]


def reachable(
    rules: Mapping[ChainName, list[Rule]], chain: ChainName
) -> Iterator[Rule]:
    """The rules of a chain and of all it leads to, in that order, each once.

    Args:
        rules: see :attr:`RuleIndex.by_chain`.
        chain: where to begin.
    """
    return _walk(rules, chain, set())


def shown(text: str) -> str:
    """A rule without what its counter says."""
    return _COUNTER.sub("counter", text)


def _nat_rule(rule: Rule, counted: Mapping[Place, tuple[int, int]]) -> NatRule:
    counter = _COUNTER.search(emptied(rule.text))
    totals = counted.get(place(rule))
    if counter is not None:
        totals = int(counter[1]), int(counter[2])
    packets, octets = totals or (None, None)
    return NatRule(
        replace(rule, text=shown(rule.text)), given(rule.text), packets, octets
    )


def _saved_counters(bundle: Bundle) -> Iterator[tuple[Place, tuple[int, int]]]:
    """What iptables-save -c tells of each rule."""
    for one in bundle.rulesets:
        if one.family is None:
            continue
        table, count = "", dict[str, int]()
        for line in one.text.splitlines():
            if line.startswith("*"):
                table, count = line[1:].strip(), {}
            elif (found := _SAVED.match(line)) is not None:
                number = count[found[3]] = count.get(found[3], 0) + 1
                totals = int(found[1]), int(found[2])
                yield (one.family, table, found[3], number), totals


def _chains(ruleset: RuleIndex) -> Iterator[list[Rule]]:
    """The rules of each base chain of NAT, with those of the chains it leads to."""
    rules = ruleset.by_chain
    met: set[ChainName] = set()
    bases = [chain for chain in ruleset.base_chains() if chain.type == "nat"]
    bases = [chain for chain in bases if chain.hook in _ORDER]
    bases.sort(key=lambda c: (_ORDER.index(c.hook or Hook.PREROUTING), c.priority or 0))
    for base in bases:
        yield list(_walk(rules, (base.family, base.table, base.name), met))
    tables = {(base.family, base.table) for base in bases}
    # a map of verdicts may lead where no rule says so
    for key, found in rules.items():
        if key[:2] in tables and key not in met and any(given(r.text) for r in found):
            yield list(_walk(rules, key, met))


def _walk(
    rules: Mapping[ChainName, list[Rule]],
    chain: ChainName,
    met: set[ChainName],
) -> Iterator[Rule]:
    ways: list[Iterator[Rule | ChainName]] = [iter([chain])]
    while ways:
        step = next(ways[-1], None)
        if step is None:
            ways.pop()
        elif isinstance(step, Rule):
            yield step
        elif step not in met:
            met.add(step)
            ways.append(_steps(rules, step))


def _steps(
    rules: Mapping[ChainName, list[Rule]], chain: ChainName
) -> Iterator[Rule | ChainName]:
    """The rules of a chain, each followed by the chains it leads to."""
    for rule in rules.get(chain, ()):
        yield rule
        for target in _TARGET.findall(emptied(rule.text)):
            yield (*chain[:2], target[0] or target[1])
