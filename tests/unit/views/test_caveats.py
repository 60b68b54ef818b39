"""What is said beside an answer, because a rehearsal cannot know it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope.model.journey import Departure, Hook, Verdict
from natscope.views.caveats import caveats
from unit.views.sightings import ASKED, SYN, rule, seen


@dataclass(frozen=True)
class Telling:
    """A rule as its tool writes it, and what must be known of it."""

    id: str
    text: str
    said: str


TELLING = [
    Telling("numgen", "dnat to numgen random mod 2 map { … }", "at random"),
    Telling("kube-proxy", "-m statistic --mode random --probability 0.5", "at random"),
    Telling("in turn", "dnat to numgen inc mod 2 map { … }", "in turn"),
    Telling("every third", "-m statistic --mode nth --every 3 --packet 0", "in turn"),
    Telling("recent", "-m recent --name ssh --update", "-m recent"),
    Telling("a limit", "limit rate 5/second accept", "unspent"),
]


@pytest.mark.parametrize("case", TELLING, ids=lambda case: case.id)
def test_a_rule_whose_answer_may_differ_is_told(case: Telling) -> None:
    visit = rule(case.text, Hook.FORWARD, Verdict.ACCEPT)
    assert any(case.said in note for note in caveats(seen(visit)))


def test_what_a_bridge_passes_on_is_not_routed() -> None:
    near = replace(SYN, dst=ip_address("10.0.0.3"))
    question = replace(ASKED, packet=near)
    asked = seen(question=question, departures=(Departure("lan", near),))
    assert not any("bridge" in note for note in caveats(asked))
    (note,) = caveats(replace(asked, is_bridge=True))
    assert note.startswith("both ends are behind the bridge lan: ")
