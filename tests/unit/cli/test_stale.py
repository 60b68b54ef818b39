"""``natscope stale``: what is refused, and what the exit codes say."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundles import LINKS, flows_of
from natscope.cli import main
from natscope.codec import bundle
from natscope.model.bundle import Bundle, Ruleset


@dataclass(frozen=True)
class Refusal:
    """A command line, and what is said of it."""

    id: str
    words: str
    said: str


REFUSALS = [
    Refusal("two boxes", "--bundle b --netns n", "choose one of --bundle and --netns"),
    Refusal("another box's flows", "--bundle b --delete", "--delete is for this box"),
    Refusal("few packets", "--packets -1", "from 0 up"),
    Refusal("no deletion", "--dry-run", "--dry-run goes with --delete"),
    Refusal("no deletion of doubt", "--uncertain", "--uncertain goes with --delete"),
    Refusal("a table of deletions", "--delete --csv", "as text or with --json"),
    Refusal("no filter", "udp adn tcp", "adn"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.id)
def test_what_cannot_be_meant_is_refused(
    case: Refusal, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["stale", *case.words.split()]) == 2
    assert case.said in capfd.readouterr().err


LINE = (
    "udp      17 29 src=192.0.2.9 dst=203.0.113.1 sport=5000 dport=53 "
    "src=10.0.0.3 dst=192.0.2.9 sport=53 dport=5000 mark=0 use=1"
)
BOX = Bundle(made_ns=1, links=LINKS, flows=flows_of(LINE))


def nat(rule: str) -> tuple[Ruleset, ...]:
    return (
        Ruleset(
            "nft",
            "table ip nat { chain pre { type nat hook prerouting priority -100\n"
            f"{rule}\n}} }}",
        ),
    )


@dataclass(frozen=True)
class Case:
    """A box in a bundle, and the exit code."""

    id: str
    box: Bundle
    code: int
    stale: int = 0


CASES = [
    Case("no flow", replace(BOX, flows=flows_of("")), 0),
    Case("a flow and its rule", replace(BOX, rulesets=nat("dnat to 10.0.0.3")), 0),
    Case("a flow and another", replace(BOX, rulesets=nat("dnat to 10.0.0.4")), 1, 1),
    Case("links not known", replace(BOX, links=()), 4),
    Case("rules not read", replace(BOX, missing=("nftables: not permitted",)), 4),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_exit_code_says_whether_some_are_stale(
    case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "box.json"
    path.write_bytes(bundle.encode(case.box))
    words = ["stale", "--bundle", str(path), "--by-shape", "--json"]
    assert main(words) == case.code
    told = json.loads(capfd.readouterr().out)
    assert (told["stale"], len(told["rows"])) == (case.stale, case.stale)


def test_a_bundle_without_flows_cannot_be_judged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "box.json"
    path.write_bytes(bundle.encode(replace(BOX, flows=None)))
    assert main(["stale", "--bundle", str(path)]) == 3
    assert "natscope bundle --flows" in capfd.readouterr().err
