"""Command lines of trace and why-invalid that are refused before anything is done."""

from __future__ import annotations

import pytest

from natscope.cli import main
from natscope.cli.diagnostics import ExitCode

REFUSED = [
    (("trace", "--count", "0"), "--count takes a number from 1 up"),
    (("trace", "--for", "soon"), "'soon' is no time"),
    (("trace", "--method", "guess"), "--method"),
    (("trace", "--json", "--ndjson"), "not allowed with"),
    (("trace", "inside"), "inside"),
    (("why-invalid", "--count", "0"), "--count takes a number from 1 up"),
    (("why-invalid", "--json", "--ndjson"), "not allowed with"),
    (("why-invalid", "what"), "what"),
]


@pytest.mark.parametrize(
    ("words", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED]
)
def test_a_command_line_that_makes_no_sense_is_refused(
    words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == ExitCode.USAGE
    captured = capfd.readouterr()
    assert captured.out == ""
    assert said in captured.err
