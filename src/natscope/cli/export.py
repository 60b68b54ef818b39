"""``natscope export FORMAT [FILTER]``."""

from __future__ import annotations

import argparse
import math
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, moments, stopping
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from natscope.cli.eventfeed import Feed
    from natscope.cli.exports import Export, ObjectLines, Text
    from natscope.cli.stopping import Stop
    from natscope.sinks.collector import Destination


FORMATS = ("ipfix", "syslog", "ndjson")
EPILOG = """\
examples:
  natscope export ipfix --to collector:4739           every flow, over TCP
  natscope export ipfix --to 192.0.2.9:4739 --udp --nat-events-only
  natscope export ipfix --to [2001:db8::9]:4739 --bindings nat
  natscope export syslog --to loghost:601 --tcp       NAT sessions, RFC 5424
  natscope export ndjson --to /var/log/nat.ndjson     one object an event
Ends with Ctrl-C, SIGTERM, --for or --count: what waits is sent, and told of.
"""
_OF_IPFIX = {
    "domain": 0,
    "instance": 0,
    "mtu": 1400,
    "template_every": "60s",
    "dialect": "rfc8158",
    "bindings": False,
    "sessions_only": False,
    "nat_events_only": False,
}
"""Options of IPFIX alone, and what they are by default."""
_TCP_MESSAGE = 16 << 10
_HEADERS = 48
"""Octets of IPv6 and UDP headers, which a message leaves room for."""
_WAIT_S = 0.25
_LAST_S = 2.0
"""How long events that wait are still taken at the end: there may be no last one."""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope export``."""
    made = inputs.command_parser(
        "export", "Send every event to a collector or a log.", EPILOG
    )
    made.add_argument("format", choices=FORMATS, help="what is sent")
    made.add_argument("words", nargs="*", metavar="FILTER", help="which flows")
    _add_destination(made.add_argument_group("where to"))
    _add_ipfix(made.add_argument_group("ipfix"))
    made.add_argument(
        "--cee", action="store_true", help="syslog: a JSON object in every line"
    )
    _add_events(made.add_argument_group("events"))
    made.set_defaults(speed=None, all_netns=False)  # of watch alone
    return made


def _add_destination(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--to",
        metavar="HOST:PORT|FILE",
        help="the collector; of ndjson a file (default for lines: standard output)",
    )
    way = group.add_mutually_exclusive_group()
    way.add_argument("--tcp", action="store_true", help="over TCP (ipfix: default)")
    way.add_argument("--udp", action="store_true", help="over UDP (syslog: default)")
    group.add_argument(
        "--queue",
        default="64M",
        metavar="SIZE",
        help="what may wait for a collector that is away (default: 64M)",
    )


def _add_ipfix(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--domain", type=int, metavar="N", help="observation domain (default: 0)"
    )
    group.add_argument(
        "--instance", type=int, metavar="N", help="natInstanceID (default: 0)"
    )
    group.add_argument(
        "--mtu", type=int, metavar="N", help="UDP: what the path carries (1400)"
    )
    group.add_argument(
        "--template-every", metavar="TIME", help="UDP: templates again (60s)"
    )
    group.add_argument(
        "--dialect",
        choices=("rfc8158", "cisco"),
        help="cisco: natEvent 1 and 2, counters 231, 232, 298, 299",
    )
    group.add_argument(
        "--bindings",
        action="store_true",
        default=None,
        help="bindings of inside to public ports (natEvent 8, 9), not sessions",
    )
    group.add_argument(
        "--sessions-only",
        action="store_true",
        default=None,
        help="one record a flow, at its end",
    )
    group.add_argument(
        "--nat-events-only",
        action="store_true",
        default=None,
        help="no records of flows without a translation",
    )


def _add_events(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--for", dest="length", metavar="TIME", help="end after 30s, 10m, 1h30m …"
    )
    group.add_argument(
        "--count", type=int, metavar="N", help="end after N records or lines, or more"
    )
    inputs.add_event_options(group, repairs=True)


def run(argv: list[str]) -> int:
    """Export until told to stop."""
    options = inputs.parse(parser(), argv)
    _complete(options)
    until = math.inf
    if options.length is not None:
        until = time.monotonic() + moments.seconds(options.length, "--for")
    wanted = inputs.filter_of(options.words)
    from natscope.cli import eventfeed
    from natscope.model.event import EventKind

    kinds = set(EventKind)
    if options.format != "ndjson" and not options.cee:
        kinds.remove(EventKind.UPDATE)
    with (
        stopping.heeded(closed_pipe=True) as stop,
        eventfeed.kernel(options, wanted, kinds) as feed,
    ):
        _tell_what_is_off(options)
        export = _export(options, feed, stop)
        diagnostics.note("natscope: listening")
        try:
            while not stop and time.monotonic() < until:
                _step(feed, export, until)
                if options.count is not None and export.told >= options.count:
                    break
            else:
                _take_the_rest(feed, export)
        except BrokenPipeError:
            return ExitCode.DONE  # whoever read standard output has gone
        finally:
            finished = export.finish()
        diagnostics.note(f"natscope: {finished}, {export.lost} events lost")
    return ExitCode.DONE


def _tell_what_is_off(options: argparse.Namespace) -> None:
    """Say what a collector will miss because the kernel does not count it."""
    from natscope.sources.kernel import Kernel

    with Kernel(options.netns) as kernel:
        if not kernel.sysctl("nf_conntrack_acct"):
            diagnostics.note(
                "natscope: nf_conntrack_acct is 0: no bytes and packets are told"
            )
        if not kernel.sysctl("nf_conntrack_timestamp"):
            diagnostics.note(
                "natscope: nf_conntrack_timestamp is 0: ends are told when the "
                "kernel finds them, up to a minute late"
            )


def _step(feed: Feed, export: Export, until: float) -> None:
    """Wait a moment for anything, and deal with all of it."""
    poll = select.poll()
    poll.register(feed.fileno(), select.POLLIN)
    due = export.watch(poll)
    left = max(0.0, until - time.monotonic())
    poll.poll(1000 * min(_WAIT_S, left, math.inf if due is None else due))
    while (batch := feed.read(0)) is not None:
        export.take(batch)
        export.tick()
        if time.monotonic() >= until:
            break
    export.tick()


def _take_the_rest(feed: Feed, export: Export) -> None:
    """Deal with what had happened before the end was asked for, heard of or lost."""
    _take_what_waits(feed, export)
    feed.repair()  # which may take longer than events are waited for
    _take_what_waits(feed, export)


def _take_what_waits(feed: Feed, export: Export) -> None:
    until = time.monotonic() + _LAST_S
    while time.monotonic() < until and (batch := feed.read(0)) is not None:
        export.take(batch)


def _complete(options: argparse.Namespace) -> None:
    """Fill in what was not said, and refuse what does not go together.

    Raises:
        UsageError: an option of another format, or none where one is needed.
    """
    for name, default in _OF_IPFIX.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
        elif options.format != "ipfix":
            raise UsageError(f"--{name.replace('_', '-')} is of ipfix alone")
    if options.cee and options.format != "syslog":
        raise UsageError("--cee is of syslog alone")
    if options.format == "ndjson" and (options.tcp or options.udp):
        raise UsageError("ndjson goes to a file or to standard output")
    if options.format == "ipfix" and options.to is None:
        raise UsageError("where to? natscope export ipfix needs --to HOST:PORT")
    if options.bindings and options.sessions_only:
        raise UsageError("--bindings are no sessions: choose one")
    if options.count is not None and options.count < 1:
        raise UsageError("--count takes a number from 1 up")
    for name, most in (("domain", 1 << 32), ("instance", 1 << 32)):
        if not 0 <= getattr(options, name) < most:
            raise UsageError(f"--{name} takes a number from 0 to {most - 1}")
    if not 560 <= options.mtu <= 65_535:
        raise UsageError("--mtu takes a number from 560 to 65535")
    options.queue = moments.size_bytes(options.queue, "--queue")
    options.template_every = moments.seconds(options.template_every, "--template-every")
    if options.format != "ndjson" and options.to is not None:
        options.to = _destination(options.to)


def _destination(text: str) -> Destination:
    """``host:4739``, ``192.0.2.9:4739``, ``[2001:db8::9]:4739``.

    Raises:
        UsageError: it is none.
    """
    from natscope.sinks.collector import Destination

    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"--to {text}: an IPv6 address stands in brackets")
    if not (host and colon and port.isascii() and port.isdigit()):
        raise UsageError(f"--to {text}: HOST:PORT was needed")
    if not 0 < int(port) < 1 << 16:
        raise UsageError(f"--to {text}: no such port")
    return Destination(host, int(port))


def _export(options: argparse.Namespace, feed: Feed, stop: Stop) -> Export:
    from natscope.cli import exports

    if options.format == "ipfix":
        return _ipfix(options, feed)
    if options.format == "ndjson":
        file = None
        if options.to not in (None, "-"):
            from natscope.sinks.appended import AppendedFile

            file = AppendedFile(Path(options.to))
        objects = _objects(feed)
        return exports.LinesToFile(file, objects.text, stop)
    cee = None
    if options.cee:
        cee = _objects(feed)
    lines = exports.SyslogLines(cee)
    if options.to is None:
        return exports.LinesToFile(None, lines.text, stop)
    return _syslog(options, lines.text)


def _objects(feed: Feed) -> ObjectLines:
    from natscope.cli.exports import ObjectLines

    return ObjectLines(feed.evidence(), feed.table(), feed.programs())


def _ipfix(options: argparse.Namespace, feed: Feed) -> Export:
    from natscope.cli.exports import IpfixExport
    from natscope.render.ipfix.messages import Packer, Session
    from natscope.render.ipfix.records import Wanted
    from natscope.sinks.tcp import TcpCollector
    from natscope.sinks.udp import UdpCollector
    from natscope.table.bindings import Bindings

    limit = options.mtu - _HEADERS if options.udp else _TCP_MESSAGE
    again_ns = round(options.template_every * 1e9) if options.udp else None
    session = Session(options.domain, limit, again_ns)
    kind = UdpCollector if options.udp else TcpCollector
    collector = kind(options.to, session, _tell, options.queue)
    wanted = Wanted(
        domain=options.domain,
        instance=options.instance,
        cisco=options.dialect == "cisco",
        created=not options.sessions_only,
        untranslated=not options.nat_events_only,
    )
    bindings = Bindings(feed.table()) if options.bindings else None
    return IpfixExport(collector, session, Packer(limit), wanted, bindings)


def _syslog(options: argparse.Namespace, text: Text) -> Export:
    from natscope.cli.exports import LinesToCollector
    from natscope.render.syslog_frames import Counted, Datagrams
    from natscope.sinks.tcp import TcpCollector
    from natscope.sinks.udp import UdpCollector

    to, queue = options.to, options.queue
    if options.tcp:
        return LinesToCollector(TcpCollector(to, Counted(), _tell, queue), text)
    return LinesToCollector(UdpCollector(to, Datagrams(), _tell, queue), text)


def _tell(line: str) -> None:
    diagnostics.note(f"natscope: {line}")
