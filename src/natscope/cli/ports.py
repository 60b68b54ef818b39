"""``natscope ports``: source ports in use, and how near they are to running out."""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from natscope.cli import diagnostics, formats, inputs, moments, output
from natscope.cli.diagnostics import UsageError
from natscope.cli.repeat import HOME_AND_CLEAR, LONGEST_S, SHORTEST_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from natscope.cli import attributing
    from natscope.filter import Filter
    from natscope.model.bundle import Bundle
    from natscope.sources.base import Source
    from natscope.views.pools import HostUse, Pool, PortUse
    from natscope.views.portalarms import Alarms, Change, PortLimits
    from natscope.views.portrecords import Reading

SHOWN = 10
MOST_BUSY = 0.25
"""Of the time, that reading again and again may take: 200,000 flows take a second."""
RULES_BUSY = 0.05
"""Of the time, that reading the rules again may take: a few rules take 50 ms."""
EPILOG = """\
examples:
  natscope ports                          each public address; the busiest destinations
  natscope ports --interval 10s           growth, and the time until ports run out
  natscope ports --watch 5s               alarms raised and cleared, and the peak
  natscope ports dst host 198.51.100.9    what goes to one server
  natscope ports --per-host 1000          hosts with more ports than that
  natscope ports inside 10.0.0.5          destinations one host has ports of
  natscope ports gw1.json.gz              of another box (natscope bundle --flows)
  natscope ports saved.txt --bundle gw1.json.gz   a listing, with the rules of its box
A filter chooses which destinations are shown; their ports are counted whole.  TAKEN are
the ports no new flow can get; LOSS is the chance that a new flow which needs a port
finds none.
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "ports", "Source ports in use, and how near they are to running out.", EPILOG
    )
    inputs.add_source_options(made)
    made.add_argument(
        "--bundle",
        metavar="FILE",
        help="the box: its rules, and its flows without FILE",
    )
    when = made.add_argument_group("over time")
    when.add_argument(
        "-i", "--interval", metavar="TIME", help="read twice, so long apart: growth"
    )
    when.add_argument(
        "-w", "--watch", metavar="TIME", help="read again and again, with alarms"
    )
    _add_what(made)
    formats.add_format_options(made)
    return made


def _add_what(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("what to tell")
    how.add_argument(
        "-l",
        "--limit",
        type=int,
        default=SHOWN,
        metavar="N",
        help=f"destinations shown (default {SHOWN})",
    )
    how.add_argument(
        "--per-host",
        type=int,
        metavar="N",
        help="name inside hosts with more than N ports of a public address",
    )
    how.add_argument(
        "--raise",
        dest="warning",
        type=float,
        default=70.0,
        metavar="PERCENT",
        help="warn from here on (default 70)",
    )
    how.add_argument(
        "--clear",
        type=float,
        metavar="PERCENT",
        help="of an alarm (default: 5 below --raise)",
    )


def run(argv: list[str]) -> int:
    """Count, and tell."""
    options = inputs.parse(parser(), argv)
    file, words = inputs.split_words(options)
    from natscope.sources.bundle import load
    from natscope.sources.bundleflows import BundleFlows, is_bundle

    if file is not None and options.bundle is None and is_bundle(file):
        options.bundle, file = file, None  # its rules are beside its flows
    _check(options, file)
    wanted = inputs.filter_of(words)
    box = None if options.bundle is None else load(options.bundle)
    if box is not None and file is None:
        flows = BundleFlows(box, options.bundle)
        return _once(options, flows, wanted, _Makings(box, is_live=False))
    with inputs.opened(options, file) as source:
        makings = _Makings(box, is_live=file is None, netns=options.netns)
        if options.watch is not None:
            _watch(options, source, wanted, makings)
        return _once(options, source, wanted, makings)


def _check(options: argparse.Namespace, file: str | None) -> None:
    if options.all_netns:
        raise UsageError("ports are of one namespace: name it with --netns")
    if options.bundle is not None and (options.netns is not None or options.proc):
        raise UsageError("choose one of --bundle, --netns and --proc")
    is_live = file is None and options.bundle is None
    for name in ("interval", "watch"):
        text = getattr(options, name)
        if text is not None and not is_live:
            raise UsageError(f"--{name} needs the live table, not a file")
        if text is not None:
            seconds = moments.seconds(text, f"--{name}")
            if not SHORTEST_S <= seconds <= LONGEST_S:
                raise UsageError(f"--{name} takes {SHORTEST_S} to {LONGEST_S} seconds")
            setattr(options, name, seconds)
    if options.interval is not None and options.watch is not None:
        raise UsageError("choose one of --interval and --watch")
    if options.limit < 0:
        raise UsageError("--limit takes a number from 0 up")
    if options.per_host is not None and options.per_host < 0:
        raise UsageError("--per-host takes a number from 0 up")
    if options.clear is None:
        options.clear = max(options.warning - 5, 0)
    if not 0 <= options.clear <= options.warning <= 100:
        raise UsageError("--raise and --clear take per cent, --clear not above --raise")


class _Makings:
    """What decides about ports beside the flows: the rules, and the kernel.

    Of a listing without a bundle neither is known.
    """

    def __init__(
        self, box: Bundle | None, *, is_live: bool, netns: str | None = None
    ) -> None:
        from natscope.cli import attributing
        from natscope.views.portranges import PortRanges, ranges_of
        from natscope.views.portsearch import evicts

        self._netns, self._due = netns, 0.0
        self.ranges = PortRanges()
        release = os.uname().release if is_live else None
        if box is not None:
            self.ranges, release = ranges_of(box), box.kernel
        elif is_live:
            self._read(partial(attributing.box, netns, None))
        else:
            diagnostics.note(
                "the rules and the kernel are not known: the kernel's own port ranges "
                "are taken, and closing flows keep theirs (--bundle FILE tells both)"
            )
        self.evicts = evicts(release)

    def refresh(self) -> None:
        """The rules and addresses of the live box as they are now, if it is time."""
        from natscope.cli import attributing

        if time.monotonic() >= self._due:
            self._read(partial(attributing.live, self._netns))

    def _read(self, read: Callable[[], attributing.Box]) -> None:
        from natscope.views.portranges import ranges_of

        begun = time.monotonic()
        box = read()
        self.ranges = ranges_of(box.bundle, box.rules)
        now = time.monotonic()
        self._due = now + (now - begun) / RULES_BUSY


class _Readings:
    """Readings of one source, the one before kept for the growth."""

    def __init__(
        self,
        options: argparse.Namespace,
        source: Source,
        wanted: Filter | None,
        makings: _Makings,
    ) -> None:
        self._options, self._source, self._wanted = options, source, wanted
        self._makings = makings
        self._before: tuple[PortUse, float] | None = None
        self._stats: dict[int, Mapping[str, int]] | None = None
        self.use: PortUse
        self.seconds: float | None = None
        """Since the reading before; None: this is the first."""
        self.rose: Mapping[str, int] | None = None
        """By how much conntrack's counters rose since."""

    def read(self, alarms: Alarms | None = None) -> list[Reading]:
        """The destinations to be shown."""
        from natscope.views.portalarms import trend
        from natscope.views.portrecords import Reading
        from natscope.views.ports import port_use

        before = self._before
        table, now = self._source.table(), time.monotonic()
        makings = self._makings
        self.use = port_use(table, makings.ranges, evicts=makings.evicts)
        self.seconds = None if before is None else now - before[1]
        self._before = (self.use, now)
        self._count()
        shown = None
        if self._wanted is not None:
            shown = self._wanted.mask(table, self._source.evidence())
        limits = limits_of(self._options)
        return [
            Reading(
                of,
                limits.severity(of),
                None if before is None else trend(before[0], of, self.seconds or 1.0),
                None if alarms is None else alarms.peak(of),
            )
            for of in self.use.busiest(self._options.limit, shown=shown)
        ]

    def _count(self) -> None:
        from natscope.sources.kernel import Kernel
        from natscope.views.counters import changes

        if not isinstance(self._source, Kernel):
            return
        now = {cpu.cpu: cpu.counters for cpu in self._source.cpu_stats()}
        self.rose = None if self._stats is None else changes(now, self._stats)
        self._stats = dict(now)


def limits_of(options: argparse.Namespace) -> PortLimits:
    """The limits the options set."""
    from natscope.views.portalarms import PortLimits

    warning = options.warning / 100
    known = PortLimits()
    return PortLimits(
        warning=warning,
        high=max(known.high, warning),
        critical=max(known.critical, warning),
        clear=(options.warning - options.clear) / 100,
    )


def _once(
    options: argparse.Namespace,
    source: Source,
    wanted: Filter | None,
    makings: _Makings,
) -> int:
    readings = _Readings(options, source, wanted, makings)
    found = readings.read()
    if options.interval is not None:
        time.sleep(options.interval)
        found = readings.read()
    _write(options, readings, found)
    return inputs.report(source)


def _watch(
    options: argparse.Namespace,
    source: Source,
    wanted: Filter | None,
    makings: _Makings,
) -> NoReturn:
    from natscope.views.portalarms import Alarms

    readings = _Readings(options, source, wanted, makings)
    alarms = Alarms(limits_of(options))
    late = False
    while True:
        begun = time.monotonic()
        makings.refresh()
        found = readings.read(alarms)
        _write(options, readings, found, alarms.update(readings.use))
        if options.csv or options.tsv:
            options.no_headers = True  # one heading for all readings
        took = time.monotonic() - begun
        rest = pause(options.watch, took)
        if rest > options.watch and not late:
            late = True
            diagnostics.note(
                f"a reading takes {took:.1f} s: the next comes {rest:.1f} s after it, "
                f"for reading is to take no more than {MOST_BUSY:.0%} of the time"
            )
        time.sleep(rest)


def pause(every: float, took: float) -> float:
    """How long to rest: readings come on time, but may not eat a CPU.

    Args:
        every: seconds from one reading to the next, as asked for.
        took: seconds of the last.
    """
    return max(every, took / MOST_BUSY) - took


def _write(
    options: argparse.Namespace,
    readings: _Readings,
    found: list[Reading],
    changes: list[Change] | None = None,
) -> None:
    from natscope.render import ports as rendered
    from natscope.views.portrecords import COLUMNS, document, row

    use, watched = readings.use, changes is not None
    stamp = {"time_ns": time.time_ns()} if watched else {}
    whole = document(
        [pool for pool in use.pools if pool.flows],
        found,
        evicts=use.evicts,
        rose=readings.rose,
        seconds=readings.seconds,
        changes=changes,
        over=_over(options, use),
    )
    rows = [stamp | row(one) for one in found]
    if formats.write_rows(options, whole | stamp, rows, (*stamp, *COLUMNS)):
        for line in rendered.changes(changes or []):
            diagnostics.note(line)
        return
    raised = {one.key for one in changes or [] if one.severity is not None}
    rest = [one for one in found if one.of.key not in raised]
    lines = _lines(options, readings, found, rendered.troubles(rest))
    if changes is not None:
        lines = [f"{time.strftime('%H:%M:%S')}", *lines, *rendered.changes(changes)]
    text = "".join(f"{line}\n" for line in lines).encode()
    clears = watched and output.is_terminal()
    output.write(HOME_AND_CLEAR + text if clears else text)


def _over(
    options: argparse.Namespace, use: PortUse
) -> list[tuple[Pool, HostUse]] | None:
    """Inside hosts above what --per-host grants; None: nothing was asked."""
    if options.per_host is None:
        return None
    return use.hosts_over(options.per_host, options.limit)


def _lines(
    options: argparse.Namespace,
    readings: _Readings,
    found: list[Reading],
    troubles: list[str],
) -> list[str]:
    """For people: pools, destinations, and what is wrong."""
    from natscope.render import ports as rendered

    heading = not options.no_headers
    pools = [pool for pool in readings.use.pools if pool.flows]
    if not pools:
        return ["no flow has its source port out of a range"]
    lines = rendered.pools(pools, heading=heading)
    if found:
        lines += ["", *rendered.destinations(found, heading=heading)]
    if troubles:
        lines += ["", *troubles]
    if over := _over(options, readings.use):
        lines += ["", *rendered.over(over, options.per_host)]
    if readings.rose is not None and readings.seconds is not None:
        worst = max((one.severity for one in found if one.severity), default=None)
        lines += ["", rendered.counted(readings.rose, readings.seconds, worst)]
    return lines
