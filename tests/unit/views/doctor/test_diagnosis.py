"""The registry of rules, and what a diagnosis says of what was not read."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from natscope.model.bundle import Bundle
from natscope.model.finding import Severity
from natscope.model.measured import Measured
from natscope.rehearse.attribution.shapes import by_shape
from natscope.render.findings import page
from natscope.views.doctor import counters
from natscope.views.doctor.diagnosis import BY_ID, RULES, diagnose
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from unit.sourcetree import ROOT
from unit.views.doctor.boxes import NOW_NS, Box, tcp

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


def test_rules_stand_in_order_and_each_once() -> None:
    ids = [rule.id for rule in RULES]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"R\d\d", one) for one in ids)


@every_rule
def test_a_rule_has_a_page_with_every_part(rule: Rule) -> None:
    text = (ROOT / page(rule)).read_text()
    assert text.startswith(f"# {rule.id}: ")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == ["Symptom", "Cause", "Evidence", "Mend", "Verify", "Sources"]


@every_rule
def test_what_a_rule_needs_is_part_of_a_snapshot(rule: Rule) -> None:
    assert all(hasattr(Snapshot, part) for part in rule.needs)


@every_rule
def test_a_rule_that_needs_a_part_is_not_checked_without_it(rule: Rule) -> None:
    if not rule.needs:
        return
    blind = Bundle(NOW_NS, missing=("nftables and iptables-nft: not permitted",))
    found = diagnose(Snapshot(blind), only=[rule.id])
    assert [one.rule for one in found.not_checked] == [rule.id]
    assert found.not_checked[0].part in rule.needs
    assert found.findings == ()


def test_rules_that_read_rulesets_are_not_checked_where_none_could_be_read() -> None:
    snapshot = Box(tcp("ESTABLISHED", 3)).snapshot
    missing = ("nftables and iptables-nft: nft is needed, and is not installed",)
    blind = replace(snapshot, bundle=replace(snapshot.bundle, missing=missing))
    parts = {one.rule: one.part for one in diagnose(blind).not_checked}
    assert parts["R12"] == "ruleset"
    assert "R12" in diagnose(snapshot).checked


def test_the_worst_comes_first_and_only_what_was_asked_for_is_asked() -> None:
    box = Box(tcp("SYN_SENT", 3), measured={"limit": 4, "rose": {"early_drop": 1}})
    (first, second) = diagnose(box.snapshot, only=["R01", "R06"]).findings
    assert (first.rule, second.rule) == ("R06", "R01")
    assert (first.severity, second.severity) == (Severity.HIGH, Severity.WARNING)
    assert diagnose(box.snapshot, only=["R01"]).checked == ("R01",)


def test_a_box_in_order_gives_nothing() -> None:
    box = Box(tcp("ESTABLISHED", 3))
    assert diagnose(box.snapshot).findings == ()


def test_every_threshold_has_its_reason() -> None:
    source = (ROOT / "src/natscope/views/doctor/thresholds.py").read_text()
    for field in fields(Thresholds):
        assert re.search(rf'^    {field.name}: .*\n    """R\d\d', source, re.MULTILINE)


def test_what_is_known_of_a_counter_leads_to_rules_there_are() -> None:
    named = {rule for one in counters.BY_NAME.values() for rule in one.rules}
    assert named <= BY_ID.keys()
    assert counters.explained("ipREVERSEpathfilter")
    assert not counters.explained("nothing")


def test_an_old_bundle_tells_what_its_files_of_proc_say() -> None:
    files = {"net/netstat": "TcpExt: A IPReversePathFilter\nTcpExt: 1 7\n"}
    snapshot = Snapshot.of(Bundle(NOW_NS, counters=files), None)
    assert snapshot.counters == {"TcpExt.A": 1, "TcpExt.IPReversePathFilter": 7}
    assert snapshot.measured.rose is None


def test_what_was_not_read_twice_is_not_what_was_not_read() -> None:
    """An ordinary user waits for the second reading, and may read no counter."""
    for interval_ms, part in ((0, "rose"), (1000, "stats")):
        snapshot = Snapshot(Bundle(NOW_NS), Measured(interval_ms=interval_ms))
        (lacking,) = diagnose(snapshot, only=["R06"]).not_checked
        assert lacking.part == part


def test_what_is_read_of_a_box_stays_read_when_its_flows_are_judged() -> None:
    snapshot = Box().snapshot
    rules = snapshot.ruleset
    made = by_shape(snapshot.flows, snapshot.nat_rules, snapshot.bundle)
    judged = snapshot.judged(made, is_exact=True)
    assert (judged.attribution, judged.is_exact) == (made, True)
    assert judged.ruleset is rules
    assert snapshot.made is None


def test_a_part_that_was_read_and_is_empty_is_not_missing() -> None:
    snapshot = Snapshot(Bundle(NOW_NS), Measured(rose={}, log=()))
    assert snapshot.rose == {}
    assert snapshot.log == ()


def test_the_index_of_the_pages_tells_every_rule_and_its_title() -> None:
    text = (ROOT / "docs/reference/findings/index.md").read_text()
    rows = [
        f"| [{one.id}]({page(one).rpartition('/')[2]}) | {one.title} |" for one in RULES
    ]
    assert [line for line in text.splitlines() if line.startswith("| [R")] == rows
