"""``natscope save [FILE] [FILTER]``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from natscope.cli import diagnostics, inputs, output, stopping
from natscope.cli.diagnostics import ExitCode, UsageError

EPILOG = """\
examples:
  natscope save /root/flows.jsonl           the whole table, expectations too
  natscope save - tcp and snat | ssh gw2 natscope restore -
JSON lines: all the kernel tells of each flow.  natscope list reads such a file,
natscope restore puts it back.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope save``."""
    made = inputs.command_parser("save", "Save the table, losing nothing.", EPILOG)
    made.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="- is standard output"
    )
    made.add_argument("words", nargs="*", metavar="FILTER", help="which flows")
    inputs.add_netns_option(made)
    return made


def run(argv: list[str]) -> int:
    """Save the table."""
    options = inputs.parse(parser(), argv)
    saving = _Saving(options)
    _write(options, saving)
    diagnostics.note(saving.summary())
    return ExitCode.DONE if saving.flows else ExitCode.NOTHING


def _write(options: argparse.Namespace, saving: _Saving) -> None:
    from natscope.sources import journal

    path = None if options.file == "-" else Path(options.file)
    whole = path is not None and not journal.is_stream(path)
    try:
        if path is None:
            for piece in saving.pieces():
                output.write(piece)
        elif whole:
            _refuse_recording(options.file)
            # an OSError names the file: guarded() says it
            with stopping.heeded() as stop:
                journal.write(path, _until(stop, saving.pieces()))
        else:
            journal.write(path, saving.pieces())
    except KeyboardInterrupt:
        written = "nothing was written" if whole else "what was written is not whole"
        diagnostics.note(f"interrupted: {written}")
        raise


def _refuse_recording(file: str) -> None:
    from natscope.sources.recordingfiles import is_recording

    if is_recording(file):
        raise UsageError(
            f"{file} is a recording, which save would overwrite",
            hint="name another file",
        )


def _until(stop: stopping.Stop, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, broken off where a signal asks for the end.

    So SIGTERM and SIGHUP leave no half file beside the one that is written.
    """
    for piece in pieces:
        if stop:
            raise KeyboardInterrupt
        yield piece


class _Saving:
    """Reads the table and counts what it writes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._filter = inputs.filter_of(options.words)
        self.flows = 0
        self.expectations = 0

    def pieces(self) -> Iterator[bytes]:
        """The text of the file, as it is read."""
        from natscope.render import saved
        from natscope.sources.kernel import Kernel

        with Kernel(self._options.netns, wire=diagnostics.wire()) as kernel:
            yield saved.header(time_ns=time.time_ns(), netns=kernel.netns)
            for chunk in kernel.chunks(self._filter):
                self.flows += len(chunk)
                yield saved.flows(chunk)
            if self._filter is None:
                from natscope.codec.text.expectation import to_json

                for one in kernel.expectations():
                    self.expectations += 1
                    yield saved.expectation(to_json(one))
            yield saved.end(flows=self.flows, expectations=self.expectations)

    def summary(self) -> str:
        """What was saved, in words."""
        told = f"saved {self.flows} flow{'s' * (self.flows != 1)}"
        if self.expectations:
            told += f" and {self.expectations} expectations"
        return told
