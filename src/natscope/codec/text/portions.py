"""A large ruleset in portions that are loaded one after the other.

nft(8) and iptables-nft-restore(8) send a whole file to the kernel in one message.
Its size is limited by the socket's send buffer; beyond net.core.wmem_max only root of
the machine may enlarge that (SO_SNDBUFFORCE), not root of a user namespace.  Where
nobody passes meanwhile, a ruleset may as well come in portions: first what others
refer to (tables, chains, empty sets), then rules, in their order, and the elements
last, for nft reads the sets that are there again for each portion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

_TOKENS = re.compile(r'"[^"]*"|#[^\n]*|\\\n|[{}();\n]|[^"#{}();\n\\]+|\\')
_DEFINITION = re.compile(r"(define|redefine|undefine)\b")
_TABLE = re.compile(r"(?:add\s+)?table\s+(?:(?:ip6?|inet|arp|bridge|netdev)\s+)?\S+$")
_SET = re.compile(r"(set|map)\s+(\S+)$")
_CHAIN = re.compile(r"chain\s+\S+$")
_OF_CHAIN = re.compile(r"(type|policy|flags|devices?|comment)\b")
"""What a chain holds beside its rules."""
_ELEMENTS = re.compile(r"elements\s*=\s*\{(.*)\}$", re.DOTALL)
_ELEMENTS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Step:
    """A line to load, within its table and its chain, if it has one."""

    text: str
    table: str = ""
    chain: str = ""

    @property
    def cost(self) -> int:
        """Characters; a rule becomes about twice the message elements become."""
        return 2 * len(self.text) if self.chain or self.table else len(self.text)


def of_nft(text: str, size: int) -> list[str]:
    """The portions of a file of nft.

    Each has about so many characters of elements, or half as many of rules.
    Definitions stand in every portion.  One statement is never cut, but for the
    elements of a set.
    """
    statements = list(_statements(text))
    defined = [one for one in statements if _DEFINITION.match(one)]
    head = "".join(f"{one}\n" for one in defined)
    steps = [step for one in statements for step in _steps(one)]
    return [head + _written(some) for some in _batches(steps, size)]


def of_iptables(text: str, size: int) -> list[str]:
    """The portions of what iptables-save(8) printed; all but the first are for
    ``--noflush``."""
    first: list[str] = []
    steps: list[_Step] = []
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line
        if line.startswith(("*", ":")) or line == "COMMIT":
            first.append(line)
        elif line.strip() and not line.startswith("#"):
            steps.append(_Step(line, table))
    portions = ["".join(f"{line}\n" for line in first)]
    for some in _batches(steps, size):
        lines = []
        for name, same in groupby(some, lambda step: step.table):
            lines += [name, *(step.text for step in same), "COMMIT"]
        portions.append("".join(f"{line}\n" for line in lines))
    return portions


def _batches(steps: list[_Step], size: int) -> Iterator[list[_Step]]:
    batch: list[_Step] = []
    length = 0
    for step in steps:
        if batch and length + step.cost > size:
            yield batch
            batch, length = [], 0
        batch.append(step)
        length += step.cost
    if batch:
        yield batch


def _written(steps: list[_Step]) -> str:
    """Steps as nft reads them."""
    lines = []
    for (table, chain), same in groupby(steps, lambda step: (step.table, step.chain)):
        blocks = [name for name in (table, chain) if name]
        lines += [f"{name} {{" for name in blocks]
        lines += [step.text for step in same]
        lines += ["}"] * len(blocks)
    return "".join(f"{line}\n" for line in lines)


def _statements(text: str) -> Iterator[str]:
    """The statements of a block, each with what its own braces hold."""
    parts: list[str] = []
    depth = 0
    for token in _TOKENS.findall(text):
        if token.startswith("#"):
            continue
        if token in ("\n", ";") and depth == 0:
            if statement := "".join(parts).strip():
                yield statement
            parts = []
            continue
        depth += (token in "{(") - (token in "})")
        parts.append(token)
        if token == "}" and depth == 0 and _is_block("".join(parts)):
            yield "".join(parts).strip()
            parts = []
    if statement := "".join(parts).strip():
        yield statement


def _is_block(text: str) -> bool:
    """Whether another statement may follow on the same line."""
    head = text.partition("{")[0].strip()
    return any(kind.match(head) for kind in (_TABLE, _CHAIN, _SET))


def _block(statement: str) -> tuple[str, str]:
    """What stands before the braces, and within them."""
    head, _, rest = statement.partition("{")
    return head.strip(), rest.rstrip().removesuffix("}")


def _steps(statement: str) -> Iterator[_Step]:
    """A statement of a file; a table in the order its parts need each other."""
    if _DEFINITION.match(statement):
        return
    head, body = _block(statement)
    if not (_TABLE.match(head) and body):
        yield _Step(statement)
        return
    declared: list[str] = []
    elements: list[_Step] = []
    rules: list[_Step] = []
    for one in _statements(body):
        name, inside = _block(one)
        if found := _SET.match(name):
            elements += _elements(head, found[2], inside)
            declared.append(_with(name, _ELEMENTS, inside, keep=False))
        elif _CHAIN.match(name):
            declared.append(_with(name, _OF_CHAIN, inside, keep=True))
            rules += (
                _Step(rule, head, name)
                for rule in _statements(inside)
                if not _OF_CHAIN.match(rule)
            )
        else:
            declared.append(one)
    yield _Step("\n".join([f"{head} {{", *declared, "}"]))
    yield from rules
    yield from elements


def _with(name: str, kind: re.Pattern[str], inside: str, *, keep: bool) -> str:
    lines = [one for one in _statements(inside) if bool(kind.match(one)) is keep]
    return "\n".join([f"{name} {{", *lines, "}"])


def _elements(table: str, name: str, inside: str) -> Iterator[_Step]:
    path = table.removeprefix("add").strip().removeprefix("table").strip()
    for statement in _statements(inside):
        if found := _ELEMENTS.match(statement):
            every = list(_listed(found[1]))
            for at in range(0, len(every), _ELEMENTS_AT_ONCE):
                some = ", ".join(every[at : at + _ELEMENTS_AT_ONCE])
                yield _Step(f"add element {path} {name} {{ {some} }}")


def _listed(text: str) -> Iterator[str]:
    """The elements between commas, none of them in quotes or braces."""
    parts: list[str] = []
    depth = 0
    for token in re.findall(r'"[^"]*"|#[^\n]*|[{},]|[^"#{},]+', text):
        if token.startswith("#"):
            continue
        if token == "," and depth == 0:
            yield "".join(parts).strip()
            parts = []
            continue
        depth += (token == "{") - (token == "}")
        parts.append(token)
    if last := "".join(parts).strip():
        yield last
