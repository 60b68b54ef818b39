"""What ``natscope rules`` and ``natscope list --rule`` will not be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from natscope.cli import listing, rules
from natscope.cli.diagnostics import UsageError
from natscope.errors import NatscopeError


@dataclass(frozen=True)
class Case:
    id: str
    words: list[str]
    said: str


CASES = [
    Case("a bundle for nothing", ["--bundle", "b"], "--bundle goes with --rule"),
    Case("all namespaces", ["--rule", "--all-netns"], "neither --all-netns nor"),
    Case("again and again", ["--rule", "--watch"], "neither --all-netns nor"),
    Case("a file of another box", ["--rule", "-r", "saved"], "this box"),
    Case("by a column", ["-g", "rule", "-r", "saved"], "this box"),
    Case("by an order", ["-s", "-rule-state", "-r", "saved"], "this box"),
    Case("a bundle without flows", ["--rule", "--bundle", "b"], "a file of flows"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rules_are_asked_of_the_box_the_flows_are_of(case: Case) -> None:
    with pytest.raises(UsageError, match=case.said):
        listing.run(case.words)


def test_rules_are_of_one_box() -> None:
    with pytest.raises(UsageError, match="choose one"):
        rules.run(["--bundle", "b", "--netns", "n"])


def test_a_bundle_that_is_none_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "box.json"
    file.write_text("{}")
    with pytest.raises(NatscopeError, match=str(file)):
        rules.run(["--bundle", str(file)])
