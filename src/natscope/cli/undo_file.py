"""Undo files: what takes a change back, written before it and told true after it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natscope.cli.diagnostics import UsageError
from natscope.errors import NatscopeError

if TYPE_CHECKING:
    from natscope.actions.changes import Outcome
    from natscope.actions.plan import Plan
    from natscope.actions.undo import Undo
    from natscope.sources.kernel import Kernel


class UndoFile:
    """The undo file of one change.

    A regular file is there before the change and put right after it.  What is no
    regular file is written once: before a change that takes something away,
    after an insert.

    Args:
        options: those of ``changing.add_options``.
        action: what is about to be done, for the file's name.

    Raises:
        UsageError: options that contradict each other.
        NatscopeError: there is no place for it; then nothing should be changed.
    """

    def __init__(self, options: argparse.Namespace, action: str) -> None:
        if options.no_undo and options.undo_file:
            raise UsageError("choose --undo-file or --no-undo")
        self._path: Path | None = None
        self._written = False
        if options.no_undo:
            return
        from natscope.sources import journal

        if options.undo_file:
            self._path = Path(options.undo_file)
        else:
            with _or_nothing():
                self._path = journal.new_path(action)
        self._stream = journal.is_stream(self._path)

    def before(self, plan: Plan) -> None:
        """Write down what takes the whole plan back.

        Raises:
            NatscopeError: it cannot be written; then nothing should be changed.
        """
        from natscope.actions import undo

        if self._path is None or (self._stream and plan.action == "insert"):
            return
        with _or_nothing():
            self._write(self._path, undo.before(plan), plan.kernel)

    def after(self, plan: Plan, outcome: Outcome) -> Path | None:
        """Write down what was done; if that is nothing, there is no file.

        Raises:
            OSError: it cannot be written; what ``before`` wrote is still there.
        """
        if not (outcome.done or outcome.expectations):
            self._drop()
            return None
        if plan.action == "insert" or outcome.undone():
            return self._put_right(plan, outcome)
        return self._path

    def broken_off(self, plan: Plan, outcome: Outcome) -> Path | None:
        """The same after an error: what was left undone is not known of all."""
        if not outcome.begun:
            self._drop()
            return None
        if plan.action == "insert":
            return self._put_right(plan, outcome)
        return self._path

    def _drop(self) -> None:
        if self._path is not None and not self._stream:
            self._path.unlink(missing_ok=True)

    def _put_right(self, plan: Plan, outcome: Outcome) -> Path | None:
        from natscope.actions import undo

        if self._path is not None and not (self._stream and self._written):
            self._write(self._path, undo.after(plan, outcome), plan.kernel)
        return self._path

    def _write(self, path: Path, undo: Undo, kernel: Kernel) -> None:
        from natscope.sources import journal

        journal.write(path, text(undo, kernel.netns, kernel.identity()))
        self._written = True


@contextmanager
def _or_nothing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NatscopeError(
            f"no undo file: {error.filename}: {error.strerror}",
            hint="nothing was changed; --undo-file names another place, --no-undo "
            "does without",
        ) from error


def text(undo: Undo, netns: str | None, namespace: tuple[int, int]) -> Iterator[bytes]:
    """The text of an undo file: a saved table that says what it undoes.

    Args:
        undo: what.
        netns: the namespace as it was named, None for the own one.
        namespace: its device and inode.
    """
    from natscope.codec.text.expectation import to_json
    from natscope.render import saved

    flows = len(undo.table) + len(undo.replaced)
    told: dict[str, Any] = {
        "action": undo.action,
        "namespace": list(namespace),
        "columns": list(undo.columns),
        "mark_mask": undo.mark_mask,
        "labels_mask": undo.labels_mask,
        "replaced": len(undo.replaced),
    }
    yield saved.header(time_ns=time.time_ns(), netns=netns, flows=flows, undo=told)
    for table in (undo.table, undo.replaced):
        for start in range(0, len(table), saved.ROWS_AT_ONCE):
            yield saved.flows(table.take(slice(start, start + saved.ROWS_AT_ONCE)))
    for one in undo.expectations:
        yield saved.expectation(to_json(one))
    yield saved.end(flows=flows, expectations=len(undo.expectations))


def read(path: Path) -> tuple[Undo, str | None, tuple[int, int] | None]:
    """What a file undoes, and the name and identity of its namespace.

    Raises:
        UsageError: it is no undo file.
        NatscopeError: it cannot be read, or not whole.
    """
    from natscope.actions.undo import Undo
    from natscope.codec.text.cells import Unreadable
    from natscope.codec.text.expectation import from_json
    from natscope.sources.files import Listing

    listing = Listing(path, strict=True)
    table = listing.table()
    header = listing.header
    if header is None or not header.undo:
        raise UsageError(
            f"{path} is no undo file",
            hint="natscope restore puts the flows of a saved table back",
        )
    told = header.undo
    first = len(table) - _whole(path, told, "replaced", len(table))
    try:
        expectations = [from_json(one) for one, _ in listing.expectations]
    except Unreadable as error:
        raise _wrong(path, str(error)) from error
    undo = Undo(
        _action(path, told),
        table.take(slice(0, first)),
        table.take(slice(first, None)),
        _columns(path, told),
        _mask(path, told, "mark_mask", 32),
        _mask(path, told, "labels_mask", 128),
        tuple(expectations),
    )
    return undo, header.netns, _namespace(path, told)


def _action(path: Path, told: Mapping[str, Any]) -> str:
    found = told.get("action")
    if found not in ("delete", "update", "insert", "flush"):
        raise _wrong(path, f"action {found!r:.60}")
    return str(found)


def _columns(path: Path, told: Mapping[str, Any]) -> tuple[str, ...]:
    from natscope.codec.requests import SETTABLE

    found = told.get("columns", [])
    if not isinstance(found, list) or any(name not in SETTABLE for name in found):
        raise _wrong(path, f"columns {found!r:.60}")
    return tuple(found)


def _whole(path: Path, told: Mapping[str, Any], name: str, most: int) -> int:
    found = told.get(name, 0)
    if type(found) is not int or not 0 <= found <= most:
        raise _wrong(path, f"{name} {found!r:.60}")
    return found


def _mask(path: Path, told: Mapping[str, Any], name: str, bits: int) -> int | None:
    if told.get(name) is None:
        return None
    return _whole(path, told, name, (1 << bits) - 1)


def _namespace(path: Path, told: Mapping[str, Any]) -> tuple[int, int] | None:
    found = told.get("namespace")
    if found is None:
        return None
    if not isinstance(found, list) or [type(part) for part in found] != [int, int]:
        raise _wrong(path, f"namespace {found!r:.60}")
    return found[0], found[1]


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} is no undo file natscope wrote: {what}")
