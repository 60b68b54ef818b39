"""What natscope record and its readers refuse and tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from natscope.cli import eventfeed, record, save
from natscope.cli.diagnostics import UsageError
from natscope.codec.recorded import Header, encode_header
from natscope.codec.recording import MAGIC, FrameKind, Packer


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-"], "needs a file"),
        (["r", "--keep", "3"], "--keep is for files that are set aside"),
        (["r", "--keep", "-1", "--rotate-every", "1h"], "from 0 up"),
        (["r", "--count", "0"], "from 1 up"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_means_nothing_is_refused(
    words: list[str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        record.run(words)


def test_a_recording_is_not_overwritten_by_save(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(MAGIC)
    with pytest.raises(UsageError, match="is a recording"):
        save.run([str(path)])
    assert path.read_bytes() == MAGIC


def test_problems_beyond_the_tenth_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packer = Packer()
    head = packer.frame(FrameKind.HEADER, encode_header(Header()), time_ns=1)
    bad = [packer.frame(FrameKind.EVENTS, b"\1\0\0\0" * 9, time_ns=2)] * 12
    path = tmp_path / "r"
    path.write_bytes(b"".join([head, *bad]))
    with eventfeed.recording(str(path), None, None) as feed:
        while not feed.ended:
            feed.read(0)
    assert feed.problem_count == 12
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 11
    assert told[-1] == "natscope: 2 more problems like these"
