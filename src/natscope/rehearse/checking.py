"""Cases put to a twin, each with a clean table.

Most are told by what leaves the box alone.  Where that is not enough, or is not what
was expected, the packets are sent once more and traced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.model.cases import Case, Step
from natscope.model.journey import Sightings
from natscope.model.packet import Question, answer
from natscope.rehearse.twin import Twin
from natscope.sources.closing import Closing

if TYPE_CHECKING:
    from natscope.model.bundle import Bundle
    from natscope.model.tuples import Address

Settled = Callable[[Case, Sequence[Sightings]], bool]
"""Whether packets that were not traced are surely as the case expects."""
_CPU = 36
"""Where proc_pid_stat(5) has the number of the CPU, after the name of the program."""
_QUEUES = re.compile(r"\bqueue\b|NFQUEUE")
_REMEMBERS = re.compile(
    r"\blimit (rate|name)\b|\bquota\b|\b(add|update|delete) @|\bnumgen inc\b|"
    r"-m (limit|hashlimit|quota|recent)\b|--mode nth\b|-j SET\b"
)
"""What a packet spends or leaves in a ruleset, beside entries."""
_QUOTED = re.compile(r'"[^"]*"')
_LOGS = re.compile(
    r"\blog\b(?!.*\b(accept|drop|reject|jump|goto|return|queue|set)\b)|-j (LOG|NFLOG)\b"
)
"""A rule that logs and decides nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """A case's packets, as they were seen.

    ``seen`` is one a step, then the reply; shorter, where nothing left that could be
    answered.
    """

    seen: tuple[Sightings, ...]
    is_traced: bool


class Checker(Closing):
    """Runs cases on a twin of its own, for as long as it is open.

    Args:
        bundle: what the box is.
        settled: tells which packets need no trace; None: all are traced.

    Raises:
        NamespaceError: this user may have no namespaces.
        MissingTool: ip(8), nft(8) or what loads a ruleset is not installed.
        NatscopeError: a ruleset cannot be loaded.
    """

    def __init__(self, bundle: Bundle, settled: Settled | None) -> None:
        self._bundle, self._settled = bundle, settled
        self._origins: dict[tuple[Address, Address], str | None] = {}
        self._cpus = os.sched_getaffinity(0)
        # packets wait in the backlog of one CPU: there alone they keep their order
        _stay_on({_cpu()} & self._cpus)
        try:
            self._open()
        except BaseException:
            _stay_on(self._cpus)
            raise
        texts = [_QUOTED.sub("", rule.text) for rule in self.twin.rules]
        if any(_QUEUES.search(text) for text in texts):
            self._settled = None  # what is queued leaves no more than what is dropped
        self.remembers = any(
            _REMEMBERS.search(text) and not _LOGS.search(text) for text in texts
        )
        """Rules have limits, quotas or sets that packets change: each case gets a
        twin of its own."""

    def _open(self) -> None:
        self.twin = Twin(self._bundle)
        self._made = self.twin.made()
        self._is_new = True

    def close(self) -> None:
        """End the twin."""
        _stay_on(self._cpus)
        self._end()

    def _end(self) -> None:
        self._made.close()
        self.twin.close()

    def run(self, case: Case) -> Run:
        """Put a case's packets in, in order.

        Raises:
            NatscopeError: the box has no such interface, or no route says which.
        """
        if self._settled is not None and not case.expectation.needs_trace:
            seen = self._sent(case, traced=False)
            if self._settled(case, seen):
                return Run(seen, is_traced=False)
        return Run(self._sent(case, traced=True), is_traced=True)

    def _sent(self, case: Case, *, traced: bool) -> tuple[Sightings, ...]:
        if self.remembers and not self._is_new:
            self._end()
            self._open()
        self._is_new = False
        send = self.twin.send if traced else self.twin.send_untraced
        steps = case.steps
        if case.expectation.reply is not None:
            steps = (*steps, Step(None))
        seen: list[Sightings] = []
        try:
            for step in steps:
                asked = self._asked(step, seen[-1] if seen else None)
                if asked is None:
                    break
                seen.append(send(asked))
        finally:
            self._made.forget()
        return tuple(seen)

    def _asked(self, step: Step, last: Sightings | None) -> Question | None:
        """What is sent; None: there is nothing to answer."""
        question = step.question
        if question is None:
            left = None if last is None else last.departure
            if left is None:
                return None
            return Question(answer(left.packet), left.interface)
        if step.is_placed:
            return question
        ends = question.packet.src, question.packet.dst
        if ends not in self._origins:
            self._origins[ends] = self.twin.origin(question.packet)
        return replace(question, iif=self._origins[ends])


def _stay_on(cpus: set[int]) -> None:
    with suppress(OSError):  # a container may forbid it; the order is then all but sure
        os.sched_setaffinity(0, cpus)


def _cpu() -> int:
    """The CPU this thread runs on."""
    told = Path("/proc/thread-self/stat").read_text()
    return int(told.rpartition(")")[2].split()[_CPU])
