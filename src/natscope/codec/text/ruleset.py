"""Rules as nft(8) and iptables-save(8) list them, to be found as the kernel names them.

``nft -a list ruleset`` tells each rule's handle, which a trace names; a rule of
iptables has a number, its place in the chain.  iptables-nft keeps its rules in nft
chains, in the same order: there a rule is shown as iptables writes it.

Rules are kept as text.  Nothing here looks into what a rule matches or does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from natscope.model.journey import Chain, Hook, Rule, Verdict

PRIORITIES = {
    "raw": -300,
    "mangle": -150,
    "dstnat": -100,
    "filter": 0,
    "security": 50,
    "srcnat": 100,
}
"""enum nf_ip_hook_priorities by nft's words."""
BRIDGE_PRIORITIES = {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300}
"""enum nf_br_hook_priorities."""

_TOKENS = re.compile(r'"[^"]*"|#[^\n]*|[{};\n]|[^"#{};\n]+')
_HANDLE = re.compile(r"# handle ([0-9]{1,18})\s*$")
_TOLD_HANDLE = re.compile(r" # handle \d+$", re.MULTILINE)
_COUNTED = re.compile(r"\bcounter packets [0-9]+ bytes [0-9]+")
_SPACES = re.compile(r'("[^"]*")|\s+')
_BASE = re.compile(r"type (\w+) hook (\w+)\b.* priority (.+)")
_PRIORITY = re.compile(r"([a-z]+|[0-9]{1,10})?\s*(?:([+-])\s*([0-9]{1,10}))?$")
_DORMANT = re.compile(r"flags\b.*\bdormant\b")
_POLICY = re.compile(r"policy (\w+)")
_NO_RULE = frozenset({"", "type", "policy", "flags", "devices", "comment"})
"""First words of what a chain holds beside its rules."""
_ANONYMOUS = ("jump", "goto")

ChainName = tuple[str, str, str]
"""Family, table, chain."""


class RuleIndex:
    """The chains and rules of a box.

    A handle names a rule within its table (struct nft_table.hgenerator), a number
    within its chain.
    """

    def __init__(self, chains: Iterable[Chain], rules: Iterable[Rule]) -> None:
        self.chains = tuple(chains)
        self.rules = tuple(rules)
        self._chains = {(c.family, c.table, c.name): c for c in self.chains}
        self._handles = {
            (r.family, r.table, r.handle): r for r in self.rules if r.handle is not None
        }
        self._numbers = {
            (r.tool, r.family, r.table, r.chain, r.number): r for r in self.rules
        }

    def chain(self, family: str, table: str, name: str) -> Chain:
        """A chain by name; of one that is not in the listing, the name alone."""
        found = self._chains.get((family, table, name))
        return found if found is not None else Chain(family, table, name)

    def rule(self, family: str, table: str, handle: int) -> Rule | None:
        """The rule a trace names; None if it is not in the listing."""
        return self._handles.get((family, table, handle))

    def numbered(
        self, tool: str, family: str, table: str, chain: str, number: int
    ) -> Rule | None:
        """A rule by its place, from 1: as iptables-legacy's TRACE names it."""
        return self._numbers.get((tool, family, table, chain, number))

    @cached_property
    def by_chain(self) -> Mapping[ChainName, list[Rule]]:
        """The rules of each chain that has some, in order."""
        found: dict[ChainName, list[Rule]] = {}
        for rule in self.rules:
            found.setdefault((rule.family, rule.table, rule.chain), []).append(rule)
        return found

    def told_by(self, box: RuleIndex) -> RuleIndex:
        """The same rules, found as before, with the handles a box has for them.

        Who loads the text of a box gives its rules other handles.  A rule the box has
        not, by its place and text, has none.
        """

        def told(rule: Rule) -> Rule:
            place = (rule.tool, rule.family, rule.table, rule.chain)
            other = box.numbered(*place, rule.number or 0)
            is_same = other is not None and _plain(other) == _plain(rule)
            return replace(rule, handle=other.handle if other and is_same else None)

        found = RuleIndex(self.chains, map(told, self.rules))
        found._handles = {key: told(rule) for key, rule in self._handles.items()}
        return found

    def base_chains(self) -> tuple[Chain, ...]:
        """The chains that hang at a hook, in the order packets meet them there."""
        found = [chain for chain in self.chains if chain.hook is not None]
        return tuple(sorted(found, key=lambda c: (c.hook or 0, c.priority or 0)))


def _plain(rule: Rule) -> str:
    """A rule's text without what its counter says."""
    return _COUNTED.sub("counter", rule.text)


EMPTY = RuleIndex((), ())


def parse_nft(text: str, handles: Sequence[int] = ()) -> RuleIndex:
    """The output of ``nft -a list ruleset``, or a file nft loads.

    What is not understood is left out: sets, maps and objects, and anything a
    newer nft may add to a table or a chain.

    Args:
        text: what nft printed, or reads.
        handles: of its rules in order, where the text does not tell them.
    """
    chains: list[Chain] = []
    rules: list[Rule] = []
    for table in _statements(iter(_TOKENS.findall(text)), ("table", "chain")):
        words = table.text.split()
        if words[:1] != ["table"] or table.body is None:
            continue
        family = words[1] if len(words) > 2 else "ip"
        is_dormant = any(_DORMANT.match(one.text) for one in table.body)
        for block in table.body:
            kind, _, name = block.text.partition(" ")
            if kind == "chain" and block.body is not None:
                chain = Chain(family, words[-1], name)
                # of a dormant table no chain is registered (nf_tables_table_disable)
                chains.append(chain if is_dormant else _chain(chain, block.body))
                rules.extend(_rules(chain, block.body))
    if len(handles) == len(rules):
        each = zip(rules, handles, strict=True)
        rules = [replace(rule, handle=handle) for rule, handle in each]
    return RuleIndex(chains, rules)


def without_handles(text: str) -> tuple[str, tuple[int, ...]]:
    """What ``nft -a`` listed as it lists it without, and the handle of each rule.

    Args:
        text: of ``nft -a list ruleset``; of a text without handles, there are none.
    """
    handles = [rule.handle for rule in parse_nft(text).rules]
    known = tuple(handle for handle in handles if handle is not None)
    plain = _TOLD_HANDLE.sub("", text)
    return plain, known if len(known) == len(handles) else ()


def parse_iptables(text: str, *, family: str, tool: str) -> RuleIndex:
    """The output of iptables-save(8).

    Args:
        text: of it; counters are left out.
        family: ip or ip6.
        tool: whose rules they are: iptables-nft, ip6tables-legacy …
    """
    chains: list[Chain] = []
    rules: list[Rule] = []
    count: Counter[tuple[str, str]] = Counter()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif len(words := line[1:].split()) > 1 and line.startswith(":"):
            name, policy = words[:2]
            chains.append(_built_in(Chain(family, table, name), policy))
        elif (rule := _APPEND.match(line)) is not None:
            name = rule["chain"]
            count[table, name] += 1
            number = count[table, name]
            shown = line[rule.end("counters") :]
            rules.append(Rule(family, table, name, shown, None, number, tool))
    return RuleIndex(chains, rules)


def joined(nft: RuleIndex, *others: RuleIndex) -> RuleIndex:
    """One ruleset of all: nft's, with the rules of iptables-nft as iptables has them.

    The n-th rule of a chain is the n-th of the other listing, where both have
    equally many; else nft's text stays.  Rules of iptables-legacy are added.
    """
    written: dict[ChainName, list[Rule]] = {}
    legacy: list[RuleIndex] = []
    for other in others:
        if any(rule.tool.endswith("-nft") for rule in other.rules):
            for rule in other.rules:
                written.setdefault(_place(rule), []).append(rule)
        else:
            legacy.append(other)
    sizes = Counter(_place(rule) for rule in nft.rules)
    rules = [
        _as_written(rule, written.get(_place(rule), []), sizes[_place(rule)])
        for rule in nft.rules
    ]
    known = {(c.family, c.table, c.name) for c in nft.chains}
    chains = list(nft.chains)
    for other in legacy:
        rules.extend(other.rules)
        chains += [c for c in other.chains if (c.family, c.table, c.name) not in known]
    return RuleIndex(chains, rules)


def _place(rule: Rule) -> ChainName:
    return rule.family, rule.table, rule.chain


def _as_written(rule: Rule, written: list[Rule], size: int) -> Rule:
    if len(written) != size or rule.number is None:
        return rule
    other = written[rule.number - 1]
    return replace(rule, text=other.text, tool=other.tool)


@dataclass(slots=True)
class _Statement:
    """A statement of nft's grammar; ``body`` is what its braces hold, if a block."""

    text: str
    handle: int | None = None
    body: list[_Statement] | None = None


@dataclass(slots=True)
class _Parts:
    """A statement as it is read."""

    texts: list[str] = field(default_factory=list)
    handle: int | None = None
    body: list[_Statement] | None = None

    def taken(self) -> _Statement:
        text = "".join(self.texts)
        text = _SPACES.sub(lambda found: found[1] or " ", text).strip()
        return _Statement(text, self.handle, self.body)

    def last_word(self) -> str:
        words = "".join(self.texts).split()
        return words[-1] if words else ""

    def first_word(self) -> str:
        return "".join(self.texts).strip().partition(" ")[0]


def _statements(tokens: Iterator[str], blocks: tuple[str, ...]) -> Iterator[_Statement]:
    """Statements up to the closing brace.

    Args:
        tokens: where to read on.
        blocks: what opens a block here, and in that, and so on; other braces are
            part of their statement.
    """
    parts = _Parts()
    for token in tokens:
        if token in "\n;":
            if parts.texts:
                yield parts.taken()
            parts = _Parts()
        elif token == "}":
            break
        elif token == "{":
            _open(parts, tokens, blocks)
        elif token.startswith("#"):
            found = _HANDLE.search(token)
            parts.handle = int(found[1]) if found else None
        elif parts.texts or not token.isspace():
            parts.texts.append(token)
    if parts.texts:
        yield parts.taken()


def _open(parts: _Parts, tokens: Iterator[str], blocks: tuple[str, ...]) -> None:
    """Read what a brace holds into the statement it belongs to."""
    if blocks and parts.first_word() == blocks[0]:
        parts.body = list(_statements(tokens, blocks[1:]))
    elif parts.last_word() in _ANONYMOUS:
        parts.body = list(_statements(tokens, ()))
        inner = " ".join(f"{one.text};" for one in parts.body)
        parts.texts.append(f"{{ {inner} }}")
    else:
        parts.texts.append(f"{{{_inline(tokens)}}}")


def _inline(tokens: Iterator[str]) -> str:
    """The text up to the closing brace, as of an anonymous set."""
    texts, depth = [], 1
    for token in tokens:
        depth += {"{": 1, "}": -1}.get(token, 0)
        if depth == 0:
            break
        texts.append(token)
    return "".join(texts)


def _chain(chain: Chain, body: list[_Statement]) -> Chain:
    """The chain with what its first lines tell of its hook."""
    for statement in body:
        base = _BASE.match(statement.text)
        policy = _POLICY.match(statement.text)
        if base is not None and base[2].upper() in Hook.__members__:
            priority = _priority(base[3], chain.family)
            hook = Hook[base[2].upper()]
            chain = replace(chain, type=base[1], hook=hook, priority=priority)
            if chain.policy is None:
                chain = replace(chain, policy=Verdict.ACCEPT)
        elif policy is not None and policy[1].upper() in Verdict.__members__:
            chain = replace(chain, policy=Verdict[policy[1].upper()])
    return chain


def _priority(text: str, family: str) -> int | None:
    """``dstnat + 5``, ``filter``, ``-500``; None for a word nobody knows."""
    found = _PRIORITY.match(text.strip())
    if found is None:
        return None
    word, sign, number = found.groups()
    names = BRIDGE_PRIORITIES if family == "bridge" else PRIORITIES
    if word is None or word.isdigit():
        base = int(word or 0)
    elif word in names:
        base = names[word]
    else:
        return None
    return base + int(f"{sign}{number}") if sign else base


def _rules(chain: Chain, body: list[_Statement]) -> Iterator[Rule]:
    place = (chain.family, chain.table, chain.name)
    number = 0
    for statement in body:
        first = statement.text.partition(" ")[0]
        if statement.handle is None and first in _NO_RULE:
            continue
        number += 1
        yield Rule(*place, statement.text, statement.handle, number)


_APPEND = re.compile(r"(?P<counters>(\[\d+:\d+\] )?)-A (?P<chain>\S+)")
_HOOKS = {
    "PREROUTING": Hook.PREROUTING,
    "INPUT": Hook.INPUT,
    "FORWARD": Hook.FORWARD,
    "OUTPUT": Hook.OUTPUT,
    "POSTROUTING": Hook.POSTROUTING,
}
_NAT_PRIORITIES = {
    Hook.PREROUTING: PRIORITIES["dstnat"],
    Hook.OUTPUT: PRIORITIES["dstnat"],
    Hook.INPUT: PRIORITIES["srcnat"],
    Hook.POSTROUTING: PRIORITIES["srcnat"],
}


def _built_in(chain: Chain, policy: str) -> Chain:
    """A chain of iptables, with its hook if it is a built-in one: it has a policy."""
    hook = _HOOKS.get(chain.name)
    if hook is None or policy not in ("ACCEPT", "DROP"):
        return chain
    kind = "filter"
    if chain.table == "nat":
        if hook not in _NAT_PRIORITIES:
            return chain  # it is no hook of that table
        kind, priority = "nat", _NAT_PRIORITIES[hook]
    else:
        priority = PRIORITIES.get(chain.table, 0)
        if chain.table == "mangle" and hook is Hook.OUTPUT:
            kind = "route"
    return replace(
        chain, type=kind, hook=hook, priority=priority, policy=Verdict[policy]
    )
