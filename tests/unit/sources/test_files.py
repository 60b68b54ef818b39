"""Saved listings as files: compressed, broken, missing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pytest

import natscope
from natscope.errors import NatscopeError, ParseError
from natscope.sources.files import KEPT_PROBLEMS, LONGEST_LINE, Listing
from natscope.sources.proc import ProcTable
from unit.codec.test_text import SAVE, TCP, XML

TEXT = f"{TCP}\n{SAVE.replace('40080', '40081')}\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_listing_may_be_compressed(tmp_path: Path, pack: object) -> None:
    file = tmp_path / "saved"
    file.write_bytes(pack(TEXT.encode()))  # type: ignore[operator]
    listing = natscope.read(str(file))
    assert len(listing.table()) == 2
    assert len(list(listing.flows("dst port 80"))) == 2
    assert len(listing.table("dst port 81")) == 0


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(TEXT.encode()),
        io.StringIO(TEXT),
        io.BytesIO(gzip.compress(TEXT.encode())),
    ],
    ids=["binary", "text", "compressed"],
)
def test_an_open_file_is_read_and_left_open(file: io.BytesIO | io.StringIO) -> None:
    listing = Listing(file)
    assert (len(listing.table()), listing.problem_count) == (2, 0)
    assert not file.closed


def test_marks_and_line_ends_of_other_systems_are_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    listing = natscope.read(str(file))
    assert (len(listing.table()), listing.problems) == (2, [])


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_bytes(b"x" * (3 * LONGEST_LINE) + b"\n" + TEXT.encode())
    listing = natscope.read(str(file))
    assert (len(listing.table()), listing.problems[0].line) == (2, 1)
    assert len(listing.problems[0].reason) < 200


def test_a_reading_left_early_does_not_spoil_the_next(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_text(f"{TCP}\nbad\n" * 9000 + XML[:99])
    listing = natscope.read(str(file))
    next(listing.flows())
    assert sum(map(len, listing.chunks())) == 9000
    assert listing.problem_count == 9001


def test_a_repeated_entry_is_one_flow_and_a_repeated_event_two(tmp_path: Path) -> None:
    for prefix, rows in (("", 1), (" [UPDATE] ", 2)):
        file = tmp_path / "saved"
        file.write_text(f"{prefix}{TCP}\n" * 2)
        assert len(natscope.read(str(file)).table()) == rows


def test_bad_lines_are_noted_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_text(TEXT + "bad\n" * 150)
    listing = natscope.read(str(file))
    assert len(listing.table()) == 2
    assert (listing.problem_count, len(listing.problems)) == (150, KEPT_PROBLEMS)
    assert listing.problems[0].line == 3
    with pytest.raises(ParseError, match="line 3"):
        natscope.read(str(file), strict=True).table()


def test_what_a_listing_lacks_is_said(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_text(TCP + "\n")
    listing = natscope.read(str(file))
    listing.table()
    assert "ids (-o id)" in listing.lacks
    assert not any("bytes" in word for word in listing.lacks)
    file.write_text(SAVE + "\n")
    listing.table()
    assert listing.lacks[0].startswith("marks, labels, helpers, ids")
    file.write_text(XML + "\n")
    listing.table()
    assert "ICMP types and ids" in listing.lacks
    assert not any(word.startswith("ids") for word in listing.lacks)


def test_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.touch()
    assert len(natscope.read(str(file)).table()) == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(range(256)) * 10, "no listing"),
        (b"\xff\xfe\x00garbage\n", "no listing"),
        (gzip.compress(TEXT.encode())[:-12], "broken compression"),
        (b"\x1f\x8bgarbage", "broken compression"),
        (b"\xfd7zXZ\x00garbage", "broken compression"),
    ],
)
def test_what_is_no_listing_is_refused_in_words(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "saved"
    file.write_bytes(content)
    with pytest.raises(NatscopeError, match=reason):
        natscope.read(str(file)).table()


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(NatscopeError, match=path.name):
            natscope.read(str(path)).table()


def test_a_kernel_without_the_proc_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(natscope.MissingTool) as caught:
        ProcTable(tmp_path / "nf_conntrack").table()
    assert "CONFIG_NF_CONNTRACK_PROCFS" in (caught.value.hint or "")


def test_a_table_of_a_later_version_is_its_own_error(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_text('{"natscope":"save","version":2}\n')
    with pytest.raises(NatscopeError, match="line 1: saved in version 2") as raised:
        natscope.read(str(file)).table()
    assert "no listing" not in str(raised.value)
