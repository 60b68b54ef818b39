"""A file, or standard input, read at once."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from natscope.cli import main
from natscope.errors import NatscopeError
from natscope.sources import whole


def test_a_file_and_standard_input_are_read_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some").write_bytes(b"\0one")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"two\xff")))
    assert [whole.read(tmp_path / "some"), whole.read("-")] == [b"\0one", b"two\xff"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        with pytest.raises(NatscopeError, match=f"{path}: .*{reason}"):
            whole.read(path)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["explain", "--bundle", "-", "tcp 10.0.0.1 to 9.9.9.9:53"], 3),
        (["explain", "--rules", "-", "--ip", "-", "tcp 10.0.0.1 to 9.9.9.9:53"], 3),
        (["bundle", "--show", "-"], 3),
        (["check", "-"], 2),
    ],
    ids=lambda case: case if isinstance(case, int) else case[0],
)
def test_standard_input_that_is_closed_is_said(
    words: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(words) == code
    assert "standard input is closed" in capsys.readouterr().err
