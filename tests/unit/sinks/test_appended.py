"""A log file that grows, and that may be moved away."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from natscope.sinks.appended import AppendedFile


def test_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    log = AppendedFile(path)
    log.write(b"new\n")
    log.close()
    assert path.read_bytes() == b"old\nnew\n"


@pytest.mark.parametrize("how", ["moved away", "removed"])
def test_a_file_that_is_gone_is_begun_again(tmp_path: Path, how: str) -> None:
    path, away = tmp_path / "log", tmp_path / "log.1"
    log = AppendedFile(path)
    log.write(b"before\n")
    log.follow()
    if how == "removed":
        path.unlink()
    else:
        path.rename(away)
    log.follow()
    log.write(b"after\n")
    log.close()
    assert path.read_bytes() == b"after\n"
    assert how == "removed" or away.read_bytes() == b"before\n"


def test_a_full_disk_is_not_swallowed() -> None:
    log = AppendedFile(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        log.write(b"anything\n")
    log.close()


@contextmanager
def room_for(octets: int) -> Iterator[None]:
    """No file grows beyond so many octets, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    log = AppendedFile(path)
    with room_for(10), pytest.raises(OSError, match="File too large") as full:
        log.write(b"one\ntwo\nthree\n")
    assert full.value.filename == str(path)
    assert path.read_bytes() == b"old\none\n"
    log.write(b"two\n")
    log.close()
    assert path.read_bytes() == b"old\none\ntwo\n"


def test_after_half_a_line_that_was_left_a_new_one_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'old\n{"ha')
    log = AppendedFile(path)
    log.write(b"new\n")
    log.close()
    assert path.read_bytes() == b'old\n{"ha\nnew\n'


def test_an_old_file_is_kept_where_no_new_one_can_be_had(tmp_path: Path) -> None:
    path, away = tmp_path / "log", tmp_path / "log.1"
    log = AppendedFile(path)
    path.rename(away)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        log.follow()
    log.write(b"still\n")
    path.rmdir()
    log.follow()
    log.write(b"new\n")
    log.close()
    assert (away.read_bytes(), path.read_bytes()) == (b"still\n", b"new\n")
