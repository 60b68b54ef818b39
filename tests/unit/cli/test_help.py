"""Help by topic and by command, and options that must be spelled out."""

from __future__ import annotations

import signal

import pytest

from natscope.cli import COMMANDS, main
from natscope.cli.help import TOPICS
from natscope.views.doctor.diagnosis import RULES
from natscope.views.doctor.rule import Rule


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "help"])
def test_help_on_a_command_is_what_the_command_says(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = main(["help", name]), capfd.readouterr()
    told = main([name, "--help"]), capfd.readouterr()
    assert asked == told
    assert "usage" in asked[1].out.lower()


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_its_help(
    topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", topic]) == 0
    assert len(capfd.readouterr().out.splitlines()) > 3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_finding_has_its_page(
    rule: Rule, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", rule.id.lower()]) == 0
    assert capfd.readouterr().out.startswith(f"# {rule.id}: ")


def test_help_on_a_finding_there_is_not_says_where_they_are(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["help", "R99"]) == 2
    assert "natscope doctor --list" in capfd.readouterr().err


def test_help_on_nothing_there_is_names_what_there_is(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["help", "rainbows"]) == 2
    said = capfd.readouterr().err
    assert "no help on 'rainbows'" in said
    assert "a command, or one of: filter, " in said


@pytest.mark.parametrize(
    ("words", "short"),
    [
        ("count --all", "--all"),
        # what follows would be refused too, before the kernel is asked
        ("watch --life --count 0", "--life"),
        ("export ndjson --ens --count 0", "--ens"),
    ],
)
def test_an_option_that_is_not_spelled_out_is_refused(
    words: str, short: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert f"unrecognized arguments: {short}" in capfd.readouterr().err
