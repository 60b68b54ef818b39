"""``natscope trace [FILTER]``: what the box does with packets, as it happens."""

from __future__ import annotations

import argparse
import shlex
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, packetfeed, stopping

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.trace.positions import Positions
    from natscope.trace.rules import Rules

EPILOG = """\
examples:
  natscope trace inside 10.0.0.5                   its packets, both ways, 10 of them
  natscope trace tcp and dst port 8080             of a port forward, before and after
  natscope trace --method nft host 203.0.113.9     with the rules that matched
  natscope trace --count 100 --for 2m icmp
  natscope trace --ndjson host 10.0.0.5 > packets
bpf: programs at the hooks show what each step made of a packet, and the kernel's
reason for a drop; no rule is touched.  nft: a table of natscope's own has the packets
traced, and the rules that matched are named; it is removed at the end.  Rules of
iptables-nft are shown as iptables writes them.
exit code 1: no packet passed; 4: some steps were lost.
"""
COUNT = 10
WAIT_S = 0.02
"""So often a quiet trace is left to look at signals and the clock."""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope trace``."""
    made = packetfeed.parser(
        "trace", "What the box does with packets, as it happens.", EPILOG, count=COUNT
    )
    made.add_argument(
        "--method",
        choices=("nft", "bpf"),
        help="how to watch (default: bpf where this kernel and user can, else nft)",
    )
    made.add_argument(
        "--no-events", action="store_true", help="not the events of the flows"
    )
    return made


def run(argv: list[str]) -> int:
    """Show packets until there are enough."""
    options = inputs.parse(parser(), argv)
    length = packetfeed.length_s(options)
    wanted = inputs.filter_of(options.words)
    with ExitStack() as stack:
        # the table must go: every end is an end in order
        stop = stack.enter_context(stopping.heeded(closed_pipe=True))
        from natscope.cli.tracescreen import FlowEvents, Screen

        events = None
        if not options.no_events:
            events = stack.enter_context(FlowEvents(options, wanted))
        watching = _watching(options, wanted)
        stack.callback(watching.close)
        screen = Screen(options, watching, events)
        until = time.monotonic() + length
        try:
            while not (stop or watching.is_done or time.monotonic() >= until):
                watching.wait(WAIT_S)
                screen.show()
            screen.show(all=True)
        except BrokenPipeError:
            return screen.end(is_stopped=False, is_read=False)
        return screen.end(is_stopped=not watching.is_done)


def _watching(options: argparse.Namespace, wanted: Filter | None) -> Positions | Rules:
    """What shows packets, by the method asked for or the one there is."""
    if options.method is not None:
        return _by(options.method, options, wanted)
    from natscope.trace.bpf import loader

    why = loader.available()
    method = "bpf" if why is None else "nft"
    watching = _by(method, options, wanted)
    if not options.quiet:
        diagnostics.note(f"natscope: watching by {method}: {why or _hint(options)}")
    return watching


def _by(
    method: str, options: argparse.Namespace, wanted: Filter | None
) -> Positions | Rules:
    if method == "bpf":
        from natscope.trace.positions import Positions

        return Positions(options.netns, wanted, packets=options.count)
    from natscope.trace.rules import Rules

    rules = Rules(options.netns, wanted, packets=options.count)
    for note in rules.notes:
        diagnostics.note(f"natscope: {note}")
    return rules


def _hint(options: argparse.Namespace) -> str:
    """How to see the rules, ready to be typed."""
    netns = ["--netns", options.netns] if options.netns else []
    words = ["natscope", "trace", "--method", "nft", *netns, *options.words]
    return f"no rule is touched or named; {shlex.join(words)} names those that match"
