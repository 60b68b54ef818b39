"""Saved listings: files, compressed files and standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from natscope.codec.text.listing import XML, Reader
from natscope.errors import NatscopeError, ParseError
from natscope.model.evidence import Evidence
from natscope.sources.base import Pieces, understood

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.table.flowtable import FlowTable

KEPT_PROBLEMS = 100
"""Problems kept in full; beyond them only their number is."""

_MAGIC: dict[bytes, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda plain: gzip.GzipFile(fileobj=plain),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_WHAT_IS_TOLD = {
    "id": "ids (-o id)",
    "orig_bytes": "bytes and packets (nf_conntrack_acct)",
    "delta_time": "ages (nf_conntrack_timestamp)",
    "label_names": "labels (-o labels)",
}


class Listing(Pieces):
    """What ``conntrack -L`` (any ``-o``), ``-E`` or /proc printed.

    Args:
        path: a file, plain or compressed by gzip, bzip2 or xz; ``-`` is stdin.
        strict: raise the first ParseError instead of noting it.

    After reading, ``format`` names what it was, ``problems`` the lines that
    could not be read, ``problem_count`` how many.
    """

    def __init__(self, path: str | Path, *, strict: bool = False) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self._path = None if str(path) == "-" else Path(path)
        self._strict = strict
        self._reader = Reader(self.name, self._problem)
        self._flows = 0
        self.problems: list[ParseError] = []
        self.problem_count = 0

    @property
    def format(self) -> str | None:
        """The format of the first flow read."""
        return self._reader.format

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the flows read so far did not tell."""
        seen = self._reader.seen
        missing = [word for name, word in _WHAT_IS_TOLD.items() if name not in seen]
        if self.format == XML:
            missing.append("ICMP types and ids")
        return (*missing, "status bits beside replied, assured and offload")

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The flows a filter keeps, in pieces of some thousand rows.

        Raises:
            NatscopeError: the file cannot be read, or is no listing at all.
            ParseError: a line cannot be read, and ``strict`` was asked for.
        """
        wanted = understood(filter)
        evidence = self.evidence()
        self.problems, self.problem_count, self._flows = [], 0, 0
        with self._lines() as lines:
            for chunk in self._reader.tables(lines):
                self._flows += len(chunk)
                kept = chunk
                if wanted is not None:
                    kept = chunk.mask(wanted.mask(chunk, evidence))
                if len(kept):
                    yield kept
        if self.problem_count and not self._flows:
            raise NatscopeError(
                f"{self.name} is no listing natscope knows: {self.problems[0]}",
                hint="it reads what conntrack -L (plain, extended, xml, save), "
                "conntrack -E and /proc/net/nf_conntrack print",
            )

    def evidence(self) -> Evidence:
        """Nothing: a text tells neither the time nor the box."""
        return Evidence()

    def _problem(self, error: ParseError) -> None:
        if self._strict:
            raise error
        self.problem_count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(error)

    @contextmanager
    def _lines(self) -> Iterator[IO[str]]:
        """The text of the file; bytes that are no UTF-8 are shown as such."""
        try:
            with self._binary() as raw:
                buffered = cast("IO[bytes]", raw)
                yield io.TextIOWrapper(
                    buffered, encoding="utf-8", errors="backslashreplace", newline="\n"
                )
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise NatscopeError(f"{self.name}: broken compression: {error}") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise NatscopeError(f"{self.name}: {reason}") from error

    @contextmanager
    def _binary(self) -> Iterator[io.BufferedIOBase]:
        if self._path is None:
            yield cast("io.BufferedIOBase", sys.stdin.buffer)
            return
        with self._path.open("rb") as plain:
            head = plain.peek(8)[:8]
            for magic, opener in _MAGIC.items():
                if head.startswith(magic):
                    with opener(plain) as unpacked:
                        yield unpacked
                    return
            yield plain
