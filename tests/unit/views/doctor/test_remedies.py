"""What ``--fix`` runs as root is a whole command, and mends."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from unit.sourcetree import ROOT

RUN = re.compile(
    r"(?:sysctl -w|nft (?:add|delete|insert)|natscope (?:delete|stale --delete)|ethtool -K|"
    r"(?:ip6?tables|§)\S* )"
)
"""Programs that change the box."""
TO_FILL_IN = re.compile(r"…|\b(?:[A-Z]{3,}|N)\b(?!=)")


@dataclass(frozen=True)
class Written:
    """A remedy in the source."""

    where: str
    command: str
    """What is filled in at run time stands as §."""
    is_pattern: bool


def _text(node: ast.expr) -> str:
    """The text an expression begins with, as far as it stands in the source."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(_text, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
    return "§"


def _remedies() -> Iterator[Written]:
    for path in sorted((ROOT / "src/natscope/views/doctor").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Remedy"), args=[command, *_]):
                    words = {one.arg: one.value for one in node.keywords}
                    yield Written(
                        f"{path.name}:{node.lineno}",
                        _text(command),
                        "is_pattern" in words,
                    )


@pytest.mark.parametrize(
    "remedy",
    [one for one in _remedies() if not one.is_pattern and one.command != "§"],
    ids=lambda one: one.where,
)
def test_a_remedy_that_is_no_pattern_can_be_run(remedy: Written) -> None:
    for line in remedy.command.splitlines():
        assert RUN.match(line), f"{line!r} does not mend; is it a pattern?"
        assert not TO_FILL_IN.search(line), f"{line!r} has words to fill in"
    assert "--dry-run" not in remedy.command


def test_there_are_remedies_of_both_kinds() -> None:
    kinds = [one.is_pattern for one in _remedies()]
    assert kinds.count(True) > 10 < kinds.count(False)
