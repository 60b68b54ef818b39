"""A log file that grows, and that may be moved away."""

from __future__ import annotations

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
