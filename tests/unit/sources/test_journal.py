"""Where files are written: whole or not at all, and never in a stranger's place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from natscope.sources import journal


def failing() -> Iterator[bytes]:
    yield b"half"
    raise KeyboardInterrupt


def test_a_file_is_written_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    journal.write(path, [b"one", b"two"])
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    path.write_bytes(b"before")
    path.chmod(0o644)
    with pytest.raises(KeyboardInterrupt):
        journal.write(path, failing())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    journal.write(path, [b"after"])
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    for content in (b"one", b"two"):
        journal.write(link, [content])
        assert link.is_symlink()
        assert real.read_bytes() == content


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        journal.write(pipe, [b"one", b"two"])
        assert reader.communicate(timeout=10)[0] == b"onetwo"
    assert journal.is_stream(pipe)


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "x", tmp_path):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            journal.write(path, [b""])
        assert caught.value.filename == str(path)


def test_old_undo_files_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = []
    for _ in range(journal.KEPT + 2):
        made.append(journal.new_path("delete"))
        made[-1].touch()
    assert journal.listed() == made[2:]
    journal.mark_undone(made[-1])
    assert journal.latest() == made[-2]
