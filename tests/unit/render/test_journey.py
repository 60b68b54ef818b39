"""A packet's way, as a person reads it."""

from __future__ import annotations

from natscope.codec.text import question
from natscope.model.journey import (
    Chain,
    Hook,
    Journey,
    Outcome,
    Phase,
    Rule,
    Stage,
    Verdict,
    Visit,
)
from natscope.render import journey as rendered

STRANGE = 'tcp dport 80 drop comment "\x1b[2J\udce9\nFORWARDED"'
CHAIN = Chain("ip", "filter", "\x1b]0;input\a", "filter", Hook.INPUT, 0)
VISIT = Visit(CHAIN, CHAIN, Verdict.DROP, Rule("ip", "filter", CHAIN.name, STRANGE))
JOURNEY = Journey(
    outcome=Outcome.DROPPED,
    phases=(Phase(Stage.FILTER, "drop", (VISIT,)),),
    why=f"dropped by a rule of ip filter {CHAIN.name}: {STRANGE}",
    question=question.parse("tcp 192.0.2.1 to 192.0.2.2:80 in wan"),
)


def test_a_strangers_rule_cannot_command_a_terminal() -> None:
    for shown in (
        rendered.text(JOURNEY),
        rendered.difference(JOURNEY, JOURNEY),
    ):
        assert all(line.isprintable() for line in shown.splitlines())
        assert r"\x1b[2J\udce9\nFORWARDED" in shown
        assert not any(line.startswith("FORWARDED") for line in shown.splitlines())


def test_a_program_gets_the_rule_as_it_is() -> None:
    (phase,) = rendered.document(JOURNEY)["phases"]
    assert phase["visits"][0]["rule"] == STRANGE
