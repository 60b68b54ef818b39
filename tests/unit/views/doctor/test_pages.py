"""The pages of the findings: what they name exists, and what counts is named."""

from __future__ import annotations

import re
import shlex

import pytest

from natscope.filter.parser import parse_tree
from natscope.render.findings import page
from natscope.views.doctor.diagnosis import BY_ID, RULES
from natscope.views.doctor.rule import Rule
from unit.sourcetree import ROOT

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
REASON = re.compile(r'^    (\w+): .*\n    """(R\d\d)', re.MULTILINE)
THRESHOLDS = REASON.findall(
    (ROOT / "src/natscope/views/doctor/thresholds.py").read_text()
)
COMMAND = re.compile(
    r"^# natscope (?:list|count|delete) (.+?)(?:  +#.*)?$", re.MULTILINE
)
INLINE = re.compile(r"`natscope (?:list|count|delete) ([^`]+)`")


@pytest.mark.parametrize(("name", "rule"), THRESHOLDS)
def test_a_threshold_stands_on_the_page_of_its_rule(name: str, rule: str) -> None:
    assert f"`{name}`" in (ROOT / page(BY_ID[rule])).read_text()


@every_rule
def test_the_filters_a_page_tells_to_type_are_filters(rule: Rule) -> None:
    text = (ROOT / page(rule)).read_text()
    for words in (*COMMAND.findall(text), *INLINE.findall(text)):
        typed = shlex.split(words)
        options = [at for at, word in enumerate(typed) if word.startswith("--")]
        written = " ".join(typed[: options[0]] if options else typed)
        if written:
            parse_tree(written)
