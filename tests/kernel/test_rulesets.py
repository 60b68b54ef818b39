"""Rulesets of every kind, loaded for real and listed; nft's own JSON is the oracle."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from natscope.codec.text.ruleset import RuleIndex, parse_nft
from natscope.model.journey import Chain, Hook, Verdict
from natscope.sources import tools
from natscope.sources.netns import Namespace
from natscope.sources.rulesets import read_ruleset

pytestmark = pytest.mark.kernel

RULESETS = Path(__file__).parents[1] / "rulesets"
NFT = sorted(RULESETS.glob("*.nft"))
IPTABLES = sorted(RULESETS.glob("*.rules"))

needs_nft = pytest.mark.skipif(tools.find("nft") is None, reason="needs nft")
needs_iptables = pytest.mark.skipif(
    tools.find("iptables-nft-restore") is None, reason="needs iptables"
)


def _load(path: Path) -> None:
    """In the namespace of the calling thread, with the links a ruleset names by iif."""
    tools.run(
        ["ip", "-batch", "-"], stdin="link set lo up\nlink add virbr0 type bridge"
    )
    tools.run(["nft", "-f", str(path)])


def _json(kind: str) -> list[dict[str, Any]]:
    # nft warns about chains without a name, which it cannot print as JSON
    listed = json.loads(tools.run(["nft", "-a", "-j", "list", "ruleset"]))
    return [item[kind] for item in listed["nftables"] if kind in item]


def _by_chain(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The JSON has the chains in another order, and each chain's rules in theirs."""
    return sorted(rows, key=lambda row: row[:3])


@needs_nft
@pytest.mark.parametrize("path", NFT, ids=lambda path: path.stem)
def test_every_rule_is_found_by_its_handle(netns: Namespace, path: Path) -> None:
    _load(path)
    ruleset = parse_nft(tools.run(["nft", "-a", "list", "ruleset"]))
    theirs = [
        (rule["family"], rule["table"], rule["chain"], rule["handle"])
        for rule in _json("rule")
    ]
    ours = [(r.family, r.table, r.chain, r.handle) for r in ruleset.rules]
    assert theirs
    assert _by_chain(ours) == _by_chain(theirs)


@needs_nft
@pytest.mark.parametrize("path", NFT, ids=lambda path: path.stem)
def test_a_rule_has_its_comment_and_it_alone(netns: Namespace, path: Path) -> None:
    _load(path)
    ruleset = parse_nft(tools.run(["nft", "-a", "list", "ruleset"]))
    for rule in _json("rule"):
        found = ruleset.rule(rule["family"], rule["table"], rule["handle"])
        assert found is not None
        assert "# handle" not in found.text.replace(rule.get("comment", ""), "") or (
            "log prefix" in found.text
        )
        if "comment" in rule:
            assert found.text.endswith(f'comment "{rule["comment"]}"')


@needs_nft
@pytest.mark.parametrize("path", NFT, ids=lambda path: path.stem)
def test_every_chain_has_its_hook_and_priority(netns: Namespace, path: Path) -> None:
    _load(path)
    ruleset = parse_nft(tools.run(["nft", "-a", "list", "ruleset"]))
    # nft 1.0.6 tells the table's name in the place of the flag
    asleep = [
        (table["family"], table["name"]) for table in _json("table") if "flags" in table
    ]
    theirs = [
        Chain(
            chain["family"],
            chain["table"],
            chain["name"],
            chain["type"],
            Hook[chain["hook"].upper()],
            chain["prio"],
            Verdict[chain["policy"].upper()],
        )
        if "hook" in chain and (chain["family"], chain["table"]) not in asleep
        else Chain(chain["family"], chain["table"], chain["name"])
        for chain in _json("chain")
    ]
    assert list(ruleset.chains) == theirs


@needs_nft
@pytest.mark.parametrize("path", NFT, ids=lambda path: path.stem)
def test_the_text_of_every_rule_is_a_rule_again(netns: Namespace, path: Path) -> None:
    """Each rule as shown, put once more at the end of its chain, is loaded."""
    _load(path)
    ruleset = parse_nft(tools.run(["nft", "-a", "list", "ruleset"]))
    again = [
        f"add rule {r.family} {r.table} {r.chain} {r.text}\n" for r in ruleset.rules
    ]
    tools.run(["nft", "-c", "-f", "-"], stdin="".join(again))


def _iptables(ruleset: RuleIndex, tool: str) -> list[str]:
    return [rule.text for rule in ruleset.rules if rule.tool == tool]


@needs_iptables
@pytest.mark.parametrize("path", IPTABLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["nft", "legacy"])
def test_rules_of_iptables_are_shown_as_written(
    netns: Namespace, path: Path, kind: str
) -> None:
    tools.run([f"iptables-{kind}-restore"], stdin=path.read_text())
    ruleset = read_ruleset()
    written = [line for line in path.read_text().splitlines() if line.startswith("-A")]
    assert sorted(_iptables(ruleset, f"iptables-{kind}")) == sorted(written)


@needs_iptables
def test_a_rule_of_iptables_nft_is_found_by_the_handle_of_the_kernel(
    netns: Namespace,
) -> None:
    tools.run(["iptables-nft-restore"], stdin=(RULESETS / "docker.rules").read_text())
    ruleset = read_ruleset()
    rules = _json("rule")
    assert rules
    for rule in rules:
        found = ruleset.rule("ip", rule["table"], rule["handle"])
        assert found is not None
        assert found.text.startswith(f"-A {rule['chain']} ")


@needs_iptables
def test_a_rule_of_iptables_legacy_is_found_by_its_number(netns: Namespace) -> None:
    text = (RULESETS / "docker.rules").read_text()
    tools.run(["iptables-legacy-restore"], stdin=text)
    found = read_ruleset().numbered("iptables-legacy", "ip", "nat", "DOCKER", 2)
    assert found is not None
    assert found.text.endswith("-j DNAT --to-destination 172.17.0.2:80")


@needs_iptables
def test_reading_makes_no_table_of_iptables_legacy(netns: Namespace) -> None:
    read_ruleset(netns)
    names = Path("/proc/thread-self/net/ip_tables_names")
    assert not names.exists() or names.read_text() == ""


@needs_iptables
def test_a_table_of_nft_with_a_name_of_iptables_is_shown_as_nft_lists_it(
    netns: Namespace,
) -> None:
    rules = """table ip nat {
    chain mine { type nat hook prerouting priority dstnat; policy accept;
        ip daddr @old dnat to 10.0.0.1
    }
    set old { type ipv4_addr; elements = { 192.0.2.1 }
    }
}"""
    tools.run(["nft", "-f", "-"], stdin=rules)
    (rule,) = read_ruleset().rules
    assert (rule.tool, rule.text) == ("nft", "ip daddr @old dnat to 10.0.0.1")


@needs_nft
def test_a_ruleset_of_another_namespace_is_read_there(netns: Namespace) -> None:
    _load(RULESETS / "libvirt.nft")
    done = subprocess.run(
        ["unshare", "-n", "nft", "list", "ruleset"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
    assert {rule.table for rule in read_ruleset(netns).rules} == {"libvirt_network"}
