"""Where the events of ``natscope watch`` come from: the kernel or a recording."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, moments
from natscope.cli.diagnostics import UsageError
from natscope.sources import sysctls
from natscope.sources.kernel import Kernel
from natscope.sources.namespaces import AllNamespaces
from natscope.sources.programs import NoPrograms, Programs
from natscope.sources.recording import Recording
from natscope.sources.recordingfiles import is_recording
from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.event import EventKind
    from natscope.model.evidence import Evidence
    from natscope.sources.events import EventStream
    from natscope.sources.live import LiveTable
    from natscope.sources.together import Together
    from natscope.table.events import Events

_TOLD_PROBLEMS = 10
"""Of a recording that is damaged; the others are counted."""


class Feed:
    """Batches of events, one after the other.

    Args:
        following: whose events, as they come.
        netns: the network namespace they are of.
    """

    ended = False
    """Nothing more will come."""
    played = False
    """It is of the past."""
    problem_count = 0
    """How much could not be read; told at the end."""

    def __init__(
        self, following: LiveTable | EventStream | Together, netns: str | None
    ) -> None:
        self._following = following
        self.netns = netns

    def fileno(self) -> int:
        """The descriptor to wait on, of the kernel's events."""
        return self._following.fileno()

    def read(self, timeout: float) -> Events | None:
        """The next batch; None when there was nothing within ``timeout`` seconds."""
        return self._following.read(timeout)

    @property
    def is_behind(self) -> bool:
        """Whether events were lost that a dump has not made good yet."""
        return not getattr(self._following, "true", True)

    def repair(self) -> None:
        """Have what no event told be told now, were it not the time for a dump yet.

        Raises:
            KernelError: the dump was refused or broke off.
        """
        from natscope.sources.live import LiveTable

        if isinstance(self._following, LiveTable):
            self._following.settle()

    def begun(self) -> str:
        """What is watched, in words; from now on every event is shown."""
        count = getattr(self._following, "__len__", None)
        if count is None:
            return "watching"
        flows = count()
        return f"watching; {flows:,} {'flow is' if flows == 1 else 'flows are'} there"

    def table(self) -> FlowTable:
        """The flows that are open now, as far as they are known."""
        table = getattr(self._following, "table", FlowTable.empty)
        flows: FlowTable = table()
        return flows

    def programs(self) -> Programs:
        """Names of the programs that make changes."""
        return Programs(self.netns)

    def evidence(self) -> Evidence:
        """The box."""
        return self._following.evidence()


class Played(Feed):
    """The events of a recording.

    Args:
        source: the recording.
        speed: how many times as fast as it was; None is all at once.
        wanted: which flows.
    """

    played = True
    is_behind = False

    def __init__(
        self, source: Recording, speed: float | None, wanted: Filter | None
    ) -> None:
        self._source = source
        self._speed = speed
        self._batches = source.events(wanted)
        self._next = next(self._batches, None)
        self.ended = self._next is None
        self._offset_s: float | None = None
        self.netns = None

    def read(self, timeout: float) -> Events | None:
        """The next batch, if it is its time within ``timeout`` seconds."""
        batch = self._next
        if batch is None:
            return None
        if self._speed is not None:
            early = self._due_s(batch, self._speed) - time.monotonic()
            time.sleep(max(0.0, min(early, timeout)))
            if early > timeout:
                return None
        self._next = next(self._batches, None)
        self.ended = self._next is None
        return batch

    def _due_s(self, batch: Events, speed: float) -> float:
        """When to show a batch, on the monotonic clock."""
        recorded = batch.received_ns / 1e9 / speed
        if self._offset_s is None:
            self._offset_s = time.monotonic() - recorded
        return recorded + self._offset_s

    def begun(self) -> str:
        """What is played, in words."""
        return f"playing {self._source.name}"

    def table(self) -> FlowTable:
        """Nothing: a recording's events tell all that was known of their flows."""
        return FlowTable.empty()

    def programs(self) -> Programs:
        """None: the processes of today are not those of the recording."""
        return NoPrograms()

    def evidence(self) -> Evidence:
        """The box, as the recorder found it."""
        header = self._source.header
        if header is None:
            return self._source.evidence()
        return header.evidence(time.time_ns())

    def tell_problems(self) -> None:
        """Say what of the recording could not be read."""
        self.problem_count = self._source.problem_count
        for problem in self._source.problems[:_TOLD_PROBLEMS]:
            diagnostics.complain(str(problem))
        more = self.problem_count - _TOLD_PROBLEMS
        if more > 0:
            diagnostics.complain(f"{more} more problem{'s' * (more != 1)} like these")


@contextmanager
def recording(
    path: str, speed: float | None, wanted: Filter | None
) -> Iterator[Played]:
    """The events of a recording; at the end, what of it could not be read is told.

    Raises:
        UsageError: the file is no recording.
    """
    if not is_recording(path):
        raise UsageError(
            f"{path} is no recording, and other files hold no events",
            hint=f"natscope list {path} shows a saved listing; natscope record makes "
            "a recording",
        )
    played = Played(Recording(path), speed, wanted)
    yield played
    played.tell_problems()


@contextmanager
def kernel(
    options: argparse.Namespace,
    wanted: Filter | None,
    kinds: Collection[EventKind],
) -> Iterator[Feed]:
    """The kernel's events, as the options ask for them.

    Raises:
        UsageError: an option for recordings.
        KernelError: not permitted.
    """
    if options.speed is not None:
        raise UsageError("--speed is for recordings: natscope watch FILE --speed 10")
    if options.all_netns and (options.netns or options.ensure_events):
        raise UsageError("--all-netns goes with neither --netns nor --ensure-events")
    buffer = options.buffer and moments.size_bytes(options.buffer, "--buffer")
    with ExitStack() as stack:
        if options.ensure_events:
            stack.enter_context(sysctls.ensured_events(options.netns))
        box: Kernel | AllNamespaces
        if options.all_netns:
            box = stack.enter_context(AllNamespaces(wire=diagnostics.wire()))
            for problem in box.problems:
                diagnostics.complain(str(problem))
        else:
            box = stack.enter_context(Kernel(options.netns, wire=diagnostics.wire()))
            if not options.ensure_events:
                _tell_what_is_hidden(box, repairs=not options.no_repair)
        following: LiveTable | EventStream | Together
        if options.no_repair:
            following = box.events(
                wanted, kinds=kinds, reliable=options.reliable, buffer=buffer
            )
        else:
            following = box.live(wanted, reliable=options.reliable, buffer=buffer)
        stack.callback(following.close)
        yield Feed(following, options.netns)


def _tell_what_is_hidden(box: Kernel, *, repairs: bool) -> None:
    """Say which flows will tell nothing, unless a dump finds what ends in silence."""
    value = box.sysctl(sysctls.EVENTS)
    hidden = sysctls.hidden_events(value)
    if hidden and not (repairs and value == sysctls.AUTOMATIC):
        diagnostics.note(f"natscope: {hidden}")
        diagnostics.note(f"  {sysctls.ENSURE_EVENTS_HINT}")
