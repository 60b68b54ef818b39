"""A file of whole frames: synced, set aside, never half written."""

from __future__ import annotations

import errno
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from natscope.sinks.recordingfile import (
    RecordingFile,
    forget_oldest,
    set_aside,
)
from natscope.sources.recordingfiles import is_being_written, older

NOON = 1_795_262_400 * 10**9  # 2026-11-21 12:00:00 UTC


@pytest.fixture
def small_disk() -> Iterator[int]:
    """A limit that ends a write in the middle, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a test run in parallel with others shares the limit: keep it roomy
    size = 1 << 20
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("sync_s", [None, 0, 0.001], ids=["never", "always", "often"])
def test_what_is_appended_is_in_the_file(tmp_path: Path, sync_s: float | None) -> None:
    path = tmp_path / "r"
    with RecordingFile(path, sync_s=sync_s) as file:
        for number in range(50):
            file.append(b"%04d" % number)
        file.close()
    assert path.read_bytes() == b"".join(b"%04d" % n for n in range(50))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_frame_that_does_not_fit_is_taken_back(
    tmp_path: Path, small_disk: int
) -> None:
    path = tmp_path / "r"
    with RecordingFile(path) as file:
        file.append(b"a" * (small_disk - 10))
        with pytest.raises(OSError, match="too large") as caught:
            file.append(b"b" * 20)
        assert caught.value.errno == errno.EFBIG
        assert path.stat().st_size == small_disk - 10
        file.append(b"c" * 10)
        file.close()
    assert path.read_bytes().endswith(b"a" + b"c" * 10)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        RecordingFile(tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == b"mine"


def test_a_file_is_being_written_until_it_is_closed(tmp_path: Path) -> None:
    with RecordingFile(tmp_path / "r") as file:
        assert is_being_written(tmp_path / "r")
        file.close()
        assert not is_being_written(tmp_path / "r")


def test_files_set_aside_in_one_second_all_stay_and_keep_their_order(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r[1]*"  # what glob(7) would take for a pattern
    for number in range(12):
        path.write_text(str(number))
        set_aside(path, NOON + number)
    path.write_text("later")
    set_aside(path, NOON + 10**9)
    assert [one.read_text() for one in older(path)] == [*map(str, range(12)), "later"]
    assert older(path)[1].name == "r[1]*.20261121T120000Z.1"


def test_the_oldest_are_forgotten_and_other_files_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r"
    for number in range(5):
        path.write_text(str(number))
        set_aside(path, NOON + number * 10**9)
    others = [tmp_path / name for name in ("r.txt", "r.20261121T120000Z.gz", "rr")]
    for other in others:
        other.write_text("")
    gone = forget_oldest(path, 2)
    assert [one.name for one in gone] == [f"r.20261121T12000{n}Z" for n in range(3)]
    assert [one.read_text() for one in older(path)] == ["3", "4"]
    assert all(other.exists() for other in others)
    assert forget_oldest(path, 2) == []
