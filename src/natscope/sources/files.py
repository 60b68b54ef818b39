"""Saved listings: files, compressed files and standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from natscope.codec.recording import MAGIC as RECORDING
from natscope.codec.text import listing
from natscope.errors import NatscopeError, ParseError
from natscope.model.evidence import Evidence
from natscope.sources import whole
from natscope.sources.base import Pieces, understood
from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from natscope.codec.text.ndjson import Header
    from natscope.filter import Filter

KEPT_PROBLEMS = 100
"""Problems kept in full; beyond them only their number is."""
LONGEST_LINE = 1 << 20
"""Bytes of a line that are kept; no flow comes near it, a disk image does."""

_BLOCK = 1 << 18
_BOM = "\ufeff"
_MAGIC: dict[bytes, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda plain: gzip.GzipFile(fileobj=plain),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_COLUMNS = {
    "id": "ids (-o id)",
    "orig_bytes": "bytes and packets (nf_conntrack_acct)",
    "delta_time": "ages (nf_conntrack_timestamp)",
    "start_ns": "exact start times (-o ktimestamp)",
    "label_names": "labels (-o labels)",
}
"""Columns a listing may hold, and how it comes to."""
_NEVER_SAVED = "marks, labels, helpers, ids, bytes and packets, times"
_NEVER_TOLD = ("status bits beside replied, assured and offload",)
_EVENTS = (listing.EVENTS, listing.SAVE_EVENTS, listing.XML_EVENTS)


class Listing(Pieces):
    """What ``conntrack -L`` (any ``-o``), ``-E`` or /proc printed.

    Args:
        source: the path of a file, plain or compressed by gzip, bzip2 or xz,
            ``-`` for stdin, or an open file.
        strict: raise the first ParseError instead of noting it.

    After reading, ``format`` names what it was, ``problems`` the lines that
    could not be read, ``problem_count`` how many.  Of what natscope saved there
    are also the ``header`` and the ``expectations``: the object of each, as
    ``codec.text.expectation`` reads it, and its line.
    """

    def __init__(
        self, source: str | Path | IO[bytes] | IO[str], *, strict: bool = False
    ) -> None:
        self._source = source
        self.name = _name(source)
        self._strict = strict
        self._reader = self._new_reader()
        self.problems: list[ParseError] = []
        self.problem_count = 0
        self.expectations: list[tuple[Mapping[str, Any], int]] = []

    def _new_reader(self) -> listing.Reader:
        def keep(told: Mapping[str, Any], line: int) -> None:
            self.expectations.append((told, line))

        return listing.Reader(self.name, self._problem, expectation=keep)

    @property
    def header(self) -> Header | None:
        """The first line of what natscope saved; None before it is read."""
        return self._reader.header

    @property
    def format(self) -> str | None:
        """What printed the first flow; None before it is read."""
        return self._reader.format

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the flows read so far did not tell."""
        if self.format in (listing.SAVED, listing.JSON_LINES):
            return ()  # they tell all that was known
        if self.format in (listing.SAVE, listing.SAVE_EVENTS):
            return (_NEVER_SAVED, *_NEVER_TOLD)
        seen = self._reader.seen
        missing = [word for name, word in _COLUMNS.items() if name not in seen]
        if self.format in (listing.XML, listing.XML_EVENTS):
            missing.append("ICMP types and ids")
        return (*missing, *_NEVER_TOLD)

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The flows a filter keeps, in pieces of some thousand rows.

        Raises:
            NatscopeError: the file cannot be read, or is no listing at all.
            ParseError: a line cannot be read, and ``strict`` was asked for.
        """
        wanted = understood(filter)
        evidence = self.evidence()
        self._reader = self._new_reader()
        self.problems, self.problem_count, self.expectations = [], 0, []
        flows = 0
        with self._lines() as lines:
            for chunk in self._reader.tables(lines):
                flows += len(chunk)
                kept = chunk
                if wanted is not None:
                    kept = chunk.mask(wanted.mask(chunk, evidence))
                if len(kept):
                    yield kept
        if self.problem_count and not flows and self.header is None:
            first = self.problems[0]
            if self._reader.begun:
                raise NatscopeError(
                    str(first), hint="the natscope that saved it reads it"
                )
            raise NatscopeError(
                f"{self.name} is no listing natscope knows: "
                f"line {first.line}: {first.reason}",
                hint="it reads what natscope save, conntrack -L (plain, extended, "
                "xml, save), conntrack -E and /proc/net/nf_conntrack print",
            )

    def table(self, filter: Filter | str | None = None) -> FlowTable:
        """The flows a filter keeps as one table, an entry that repeats only once.

        Events repeat on purpose: of them every line is kept.
        """
        table = FlowTable.concat(list(self.chunks(filter)))
        return table if self.format in _EVENTS else table.dedupe()

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
    def _lines(self) -> Iterator[Iterable[str]]:
        """The text of the source, unpacked."""
        try:
            if isinstance(self._source, io.TextIOBase):
                yield self._source
                return
            with self._opened() as plain, _unpacked(plain) as content:
                yield _split(content)
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise NatscopeError(f"{self.name}: broken compression: {error}") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise NatscopeError(f"{self.name}: {reason}") from error

    @contextmanager
    def _opened(self) -> Iterator[io.BufferedReader]:
        if isinstance(self._source, str | Path):
            if str(self._source) == "-":
                yield cast("io.BufferedReader", whole.stdin())
                return
            with Path(self._source).open("rb") as file:
                yield file
            return
        raw = cast("io.RawIOBase", self._source)
        buffered = cast("io.BufferedReader", io.BufferedReader(raw))
        try:
            yield buffered
        finally:
            buffered.detach()  # the file is the caller's, and stays open


def _name(source: str | Path | IO[bytes] | IO[str]) -> str:
    if isinstance(source, str | Path):
        return "standard input" if str(source) == "-" else str(source)
    return str(getattr(source, "name", "listing"))


@contextmanager
def _unpacked(plain: io.BufferedReader) -> Iterator[io.BufferedIOBase]:
    head = plain.peek(8)[:8]
    if head.startswith(RECORDING):
        raise NatscopeError(
            "this is a recording, not a listing",
            hint="name its file: natscope list FILE, or "
            "natscope.sources.recording.Recording(FILE)",
        )
    for magic, opener in _MAGIC.items():
        if head.startswith(magic):
            with opener(plain) as content:
                yield content
            return
    yield plain


def _split(content: io.BufferedIOBase) -> Iterator[str]:
    """The lines of a file; bytes that are no UTF-8 are shown as such.

    Of a line longer than LONGEST_LINE a part is left out, so that a file
    without newlines does not fill the memory.
    """
    pending = b""
    while block := content.read1(_BLOCK):
        lines, newline, pending = (pending + block).rpartition(b"\n")
        if newline:
            yield from _decoded(lines).split("\n")
        pending = pending[:LONGEST_LINE]
    if pending:
        yield _decoded(pending)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace").removeprefix(_BOM)
