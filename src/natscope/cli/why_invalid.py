"""``natscope why-invalid [FILTER]``: why conntrack calls packets INVALID."""

from __future__ import annotations

import argparse
import json
import math
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, output, packetfeed, stopping
from natscope.cli.diagnostics import ExitCode

if TYPE_CHECKING:
    from natscope.trace.invalids import Complaints
    from natscope.views.invalid import Invalid

EPILOG = """\
examples:
  natscope why-invalid                          for 30 seconds, whatever the flow
  natscope why-invalid --for 5m host 10.0.0.5
  natscope why-invalid --netns gw --count 1 dst port 443
  natscope why-invalid --json > report.json
The kernel logs each packet with its reason while this runs: it sets
net.netfilter.nf_conntrack_log_invalid and net.netfilter.nf_log.2 and .10, and puts
them back.  Rules that drop ct state invalid drop as before.
exit code 1: no packet was complained of; 4: some found no room in the log.
"""
WAIT_S = 0.2
"""So often a quiet log is left to look at signals and the clock."""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope why-invalid``."""
    return packetfeed.parser(
        "why-invalid", "Why conntrack calls packets INVALID.", EPILOG, count=None
    )


def run(argv: list[str]) -> int:
    """Show what conntrack complains of, until told to stop."""
    options = inputs.parse(parser(), argv)
    length = packetfeed.length_s(options)
    wanted = inputs.filter_of(options.words)
    with ExitStack() as stack:
        # the settings must be put back: every end is an end in order
        stop = stack.enter_context(stopping.heeded(closed_pipe=True))
        from natscope.trace.invalids import Complaints

        complaints = stack.enter_context(Complaints(options.netns, wanted))
        screen = _Screen(options, complaints)
        if not options.quiet:
            diagnostics.note(f"natscope: listening for {options.length}")
        until = time.monotonic() + length
        try:
            while not (stop or screen.is_full):
                left = until - time.monotonic()
                if left <= 0:
                    break
                screen.show(min(WAIT_S, left))
            return screen.end()
        except BrokenPipeError:
            return ExitCode.DONE  # nobody reads on


class _Screen:
    """Writes packets in the format asked for, and sums them up."""

    def __init__(self, options: argparse.Namespace, complaints: Complaints) -> None:
        self._options = options
        self._complaints = complaints
        self._limit = options.count or math.inf
        self._shown: list[Invalid] = []

    @property
    def is_full(self) -> bool:
        """As many as were asked for."""
        return len(self._shown) >= self._limit

    def show(self, timeout: float) -> None:
        """Wait for packets, and show them."""
        from natscope.render import invalid as rendered
        from natscope.views.invalid import Invalid, complaint, is_conntracks

        for logged, packet, entry, iif in self._complaints.read(timeout):
            if self.is_full or not is_conntracks(logged.prefix):
                continue
            time_ns = logged.time_ns or time.time_ns()
            one = Invalid(complaint(logged.prefix), packet, entry, iif, time_ns)
            self._shown.append(one)
            if self._options.ndjson:
                output.write(json.dumps(rendered.document(one)).encode() + b"\n")
            elif not self._options.json:
                told = rendered.lines(one, _moment(time_ns, utc=self._options.utc))
                output.write("".join(f"{line}\n" for line in told).encode())

    def end(self) -> int:
        """The summary; the exit code."""
        from natscope.render import invalid as rendered
        from natscope.views.invalid import by_peer, by_reason

        lost = self._complaints.lost
        silent = self._silent()
        if self._options.json:
            document = {
                "schema": rendered.SCHEMA,
                "lost": lost,
                "silent": silent,
                "reasons": {r.key: count for r, count in by_reason(self._shown)},
                "peers": dict(by_peer(self._shown)),
                "packets": [rendered.document(one) for one in self._shown],
            }
            output.write(json.dumps(document, indent=2).encode() + b"\n")
        elif not self._options.ndjson:
            told = "".join(f"{s}\n" for s in rendered.summary(self._shown, silent))
            if told:
                output.write(f"\n{told}".encode())
        return self._told(lost, silent)

    def _silent(self) -> int:
        """INVALID packets without a message: counted, and none of a filter's."""
        if self._options.words or self.is_full or self._complaints.lost:
            return 0
        logged = sum(one.complaint.reason.is_invalid for one in self._shown)
        return max(0, self._complaints.invalid() - logged)

    def _told(self, lost: int, silent: int) -> int:
        if lost:
            diagnostics.complain(f"{lost} packets found no room in the log")
            return ExitCode.PARTLY
        if self._shown or silent:
            return ExitCode.DONE
        if not self._options.quiet:
            diagnostics.note(
                "natscope: no packet was INVALID, or none was looked at: conntrack "
                "works only where a rule asks for it (ct state, NAT)"
            )
        return ExitCode.NOTHING


def _moment(time_ns: int, *, utc: bool) -> str:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(time_ns // 10**9, UTC if utc else None)
    return f"{moment:%H:%M:%S}.{time_ns // 10**6 % 1000:03}"
