"""What ``explain-counter`` knows: every counter a rule looks at, and leads to the rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from natscope.views.counters import MEANINGS
from natscope.views.doctor.counters import BY_NAME, explained, feeds, nearest
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
    "R23": {"invalid"},
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
    Name("nf_conntrack_count", "entries"),
    Name("TcpExtIPReversePathFilter", "TcpExt.IPReversePathFilter"),
    Name("IpForwDatagrams", "Ip.ForwDatagrams"),
    Name("node_nf_conntrack_entries", "entries"),
    Name("node_nf_conntrack_entries_limit", "nf_conntrack_max"),
    Name("nf_conntrack_stat_insert_failed", "insert_failed"),
    Name("node_netstat_TcpExt_IPReversePathFilter", "TcpExt.IPReversePathFilter"),
    Name("node_netstat_Ip6_OutForwDatagrams", "Ip6OutForwDatagrams"),
    Name("node_netstat_Udp6_InCsumErrors", "Udp6InCsumErrors"),
    Name("node_softnet_dropped_total", "softnet.dropped"),
    Name("node_softnet_times_squeezed_total", "softnet.squeezed"),
    Name("node_ethtool_pps_allowance_exceeded", "pps_allowance_exceeded"),
    Name("conntrack_stats_early_drop", "early_drop"),
    Name("conntrack_stats_count", "entries"),
    Name("system.net.conntrack.count", "entries"),
    Name("system.net.conntrack.max", "nf_conntrack_max"),
    Name("system.net.conntrack.buckets", "nf_conntrack_buckets"),
    Name("system.softnet_stat.squeezed", "softnet.squeezed"),
    Name("netfilter.conntrack_sockets", "entries"),
    Name("netfilter.conntrack_changes.inserted", "insert"),
    Name("netfilter.conntrack_errors_icmp_error", "error"),
    Name("netfilter.conntrack_nothing", None),
    Name("netfilter.conntrack_errors.nothing", None),
    Name("nonsense.drop", None),
    Name("nothing", None),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.id)
def test_a_counter_is_known_by(name: Name) -> None:
    found = [one.name for one in explained(name.id)]
    assert found == ([] if name.known is None else [name.known])


def test_a_chart_of_netdata_is_all_its_counters() -> None:
    found = explained("netfilter.conntrack_errors")
    assert [one.name for one in found] == [
        "error",
        "insert_failed",
        "drop",
        "early_drop",
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("insertfailed", "insert_failed"),
        ("node_nf_conntrack_stat_insert_faild", "insert_failed"),
        ("nf_conntrack_stat_inserted_failed", "insert_failed"),
        ("node_netstat_TcpExt_IPReversePathFilters", "TcpExt.IPReversePathFilter"),
        ("reverse_path_filter", "TcpExt.IPReversePathFilter"),
        ("system.net.conntrack.chainlen", "chaintoolong"),
        ("nonsense", None),
    ],
)
def test_the_nearest_name_is_that_of_the_counter(typed: str, meant: str | None) -> None:
    """Whatever an exporter puts before it."""
    assert nearest(typed) == meant


def test_every_column_of_proc_is_explained() -> None:
    """As ct_cpu_seq_show() of Linux 6.18 heads them."""
    columns = (
        "entries clashres found new invalid ignore delete chainlength insert "
        "insert_failed drop early_drop icmp_error expect_new expect_create "
        "expect_delete search_restart"
    )
    assert [name for name in columns.split() if not explained(name)] == []
