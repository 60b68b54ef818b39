"""What ``explain-counter`` knows: every counter a rule looks at, and leads to the rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from natscope.views.counters import MEANINGS
from natscope.views.doctor.counters import BY_NAME, explained, feeds
from natscope.views.doctor.diagnosis import RULES, diagnose
from natscope.views.doctor.rule import Rule
from unit.sourcetree import ROOT
from unit.views.doctor.boxes import Box, snat, tcp

OF_PROC = re.compile(r"[A-Z][A-Za-z0-9]+(?:\.[A-Z]|In|Out)[A-Za-z]+|softnet\.[a-z]+")
"""Names of counters as a rule may write them; those of conntrack are in MEANINGS."""
MEASURED = {"buckets": 4096, "hits_rose": {}}
FLOWS = [*tcp("ESTABLISHED", 3), snat(17, 4000, 4789)]
NAT = "table ip nat { chain c { type nat hook postrouting priority srcnat; masquerade\n} }\n"


class Asked(dict[str, int]):
    """Counters that keep which of them were looked at; each rose by much."""

    def __init__(self) -> None:
        super().__init__(any=0)  # not empty
        self.names: set[str] = set()

    def __missing__(self, name: str) -> int:
        return self.get(name)

    def get(self, name: str, _: object = None) -> int:
        self.names.add(name)
        return 1000


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_counter_a_rule_looks_at_leads_to_the_rule(rule: Rule) -> None:
    asked = Asked()
    box = Box(FLOWS, NAT, measured={**MEASURED, "rose": asked, "counters_rose": asked})
    diagnose(box.snapshot, only=[rule.id])
    looked = {name for name in asked.names if OF_PROC.fullmatch(name)}
    looked |= asked.names & MEANINGS.keys()
    beside = {name for name in looked if rule.id not in feeds(name)}
    assert beside == BESIDE.get(rule.id, set())


BESIDE = {
    "R01": {"insert_failed", "chaintoolong"},
    "R02": {"drop"},
    "R03": {"chaintoolong"},
    "R04": {"chaintoolong"},
    "R05": {"chaintoolong"},
}
"""What a rule reads to take it away from another counter."""


def literals() -> Iterator[str]:
    for path in (ROOT / "src/natscope/views/doctor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_counter_a_rule_names_is_explained() -> None:
    named = {text for text in literals() if OF_PROC.fullmatch(text)}
    assert "TcpExt.IPReversePathFilter" in named
    assert named <= BY_NAME.keys()


@dataclass(frozen=True)
class Name:
    id: str
    known: str | None


NAMES = [
    Name("drop", "drop"),
    Name("DROP", "drop"),
    Name("IPReversePathFilter", "TcpExt.IPReversePathFilter"),
    Name("clashres", "clash_resolve"),
    Name("chainlength", "chaintoolong"),
    Name("icmp_error", "error"),
    Name("node_nf_conntrack_stat_early_drop", "early_drop"),
    Name("system.net.conntrack.insert_failed", "insert_failed"),
    Name(
        "system.net.aws.ec2.conntrack_allowance_available",
        "conntrack_allowance_available",
    ),
    Name("cpu12.softirq", "cpuN.softirq"),
    Name("netlink.4711.dropped", "netlink.PORT.dropped"),
    Name("nonsense.drop", None),
    Name("nothing", None),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.id)
def test_a_counter_is_known_by(name: Name) -> None:
    found = explained(name.id)
    assert (None if found is None else found.name) == name.known


def test_every_column_of_proc_is_explained() -> None:
    """As ct_cpu_seq_show() of Linux 6.18 heads them."""
    columns = (
        "entries clashres found new invalid ignore delete chainlength insert "
        "insert_failed drop early_drop icmp_error expect_new expect_create "
        "expect_delete search_restart"
    )
    assert [name for name in columns.split() if explained(name) is None] == []
