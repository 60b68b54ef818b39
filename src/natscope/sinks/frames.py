"""A recording file while it is written: frames, numbered and counted."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from natscope.codec.recorded import Header, Totals, encode_header, encode_totals
from natscope.codec.recording import FrameKind, Packer, time_message
from natscope.sinks.recordingfile import RecordingFile


class FrameFile:
    """A new recording, begun with its header.

    Args:
        path: of a file that does not exist.
        header: what it begins with.
        sync_s: see RecordingFile.

    Raises:
        OSError: it cannot be made or written.
    """

    def __init__(self, path: Path, header: Header, *, sync_s: float | None) -> None:
        self.header = header
        self.totals = Totals(reason="", events=0, lost=0, flows=0)
        self._packer = Packer()
        self.file = RecordingFile(path, sync_s=sync_s)
        self.begun = time.monotonic()
        try:
            head = encode_header(header)
            self.write(FrameKind.HEADER, head, time_ns=header.start_ns, compress=False)
        except BaseException:
            self.file.release()
            path.unlink()
            raise

    @property
    def size(self) -> int:
        """Bytes of whole frames."""
        return self.file.size

    def write(
        self,
        kind: FrameKind,
        payload: bytes = b"",
        *,
        time_ns: int,
        lost: int = 0,
        count: int = 0,
        compress: bool = True,
    ) -> None:
        """Append a frame; see ``Packer.frame``.

        Raises:
            OSError: as RecordingFile.append; the frame is not in the file then.
        """
        frame = self._packer.frame(
            kind, payload, time_ns=time_ns, lost=lost, count=count, compress=compress
        )
        try:
            self.file.append(frame)
        except OSError:
            self._packer.take_back()
            raise
        totals = self.totals
        self.totals = replace(
            totals,
            events=totals.events + count * (kind == FrameKind.EVENTS),
            flows=totals.flows + count * (kind == FrameKind.DUMP),
            lost=totals.lost + lost,
        )

    def close(self, reason: str) -> None:
        """Write why it ends, and close it.

        Raises:
            OSError: as RecordingFile.append; the file is closed all the same.
        """
        try:
            told = encode_totals(replace(self.totals, reason=reason))
            self.write(FrameKind.END, told, time_ns=time.time_ns(), compress=False)
            self.file.close()
        finally:
            self.file.release()


class Filling:
    """The payload of the EVENTS frame that comes next."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.events = 0
        self.since = 0.0
        self.received_ns = 0

    def add(self, messages: list[memoryview], received_ns: int) -> None:
        """Copy messages that were received at one moment."""
        if not self.events:
            self.since = time.monotonic()
        if received_ns != self.received_ns:
            self.pieces.append(time_message(received_ns))
            self.received_ns = received_ns
        self.pieces.append(b"".join(messages))
        self.size += len(self.pieces[-1])
        self.events += len(messages)
