"""What a watch tells: raised once, cleared when it stays away."""

from __future__ import annotations

from natscope.model.finding import Finding, Severity
from natscope.views.doctor.raised import Change, Raised


def finding(severity: Severity = Severity.WARNING, about: str = "a") -> Finding:
    return Finding("R03", severity, "ports", about=about)


def told(changes: tuple[Change, ...]) -> list[tuple[str, str | None]]:
    return [(change.what, change.finding.about) for change in changes]


def test_a_finding_is_raised_once() -> None:
    raised = Raised()
    assert told(raised.look([finding()], ["R03"])) == [("raise", "a")]
    assert raised.look([finding()], ["R03"]) == ()


def test_a_finding_is_cleared_when_it_stays_away() -> None:
    raised = Raised()
    raised.look([finding()], ["R03"])
    assert raised.look([], ["R03"]) == ()
    assert told(raised.look([], ["R03"])) == [("clear", "a")]
    assert raised.standing == ()


def test_a_finding_that_comes_back_at_once_was_never_gone() -> None:
    raised = Raised()
    for found in ([finding()], [], [finding()], [], [finding()]):
        changes = raised.look(found, ["R03"])
    assert changes == ()
    assert len(raised.standing) == 1


def test_a_rule_that_could_not_be_asked_clears_nothing() -> None:
    raised = Raised()
    raised.look([finding()], ["R03"])
    for _ in range(5):
        assert raised.look([], []) == ()


def test_what_grows_worse_or_better_is_said() -> None:
    raised = Raised()
    raised.look([finding()], ["R03"])
    assert told(raised.look([finding(Severity.HIGH)], ["R03"])) == [("worse", "a")]
    assert raised.look([finding(Severity.INFO)], ["R03"]) == ()
    assert told(raised.look([finding(Severity.INFO)], ["R03"])) == [("better", "a")]


def test_what_is_at_the_next_threshold_does_not_flap() -> None:
    raised = Raised()
    raised.look([finding(Severity.HIGH)], ["R03"])
    for severity in (Severity.WARNING, Severity.HIGH) * 3:
        assert raised.look([finding(severity)], ["R03"]) == ()
    assert [one.severity for one in raised.standing] == [Severity.HIGH]


def test_what_grows_less_and_goes_is_cleared() -> None:
    raised = Raised()
    raised.look([finding(Severity.HIGH)], ["R03"])
    assert raised.look([finding()], ["R03"]) == ()
    assert told(raised.look([], ["R03"])) == [("clear", "a")]
    assert told(raised.look([finding()], ["R03"])) == [("raise", "a")]


def test_findings_about_different_things_are_apart() -> None:
    raised = Raised()
    raised.look([finding(about="a"), finding(about="b")], ["R03"])
    raised.look([finding(about="b")], ["R03"])
    assert told(raised.look([finding(about="b")], ["R03"])) == [("clear", "a")]
