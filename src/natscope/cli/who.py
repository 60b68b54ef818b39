"""``natscope who``: the host behind a public address and port."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, formats, inputs, moments, output
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.tuples import Address
    from natscope.sources.base import Source
    from natscope.views.who import Answer, Host

EPILOG = """\
examples:
  natscope who 203.0.113.7:41234         the inside host that has this port now
  natscope who 203.0.113.7:41234/udp     of one protocol
  natscope who '[2001:db8::7]:443'       behind a port forward
  natscope who 203.0.113.7               everyone behind the address
  natscope who 203.0.113.7:41234 saved.txt   in a saved listing
  natscope who 203.0.113.7:41234 --at 14:03 gw.nsrec   in that minute, by a recording
  natscope who 203.0.113.7:41234 --at 14:03:33 --within 1m gw.nsrec   or around it
exit code 1: nobody is.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope who``."""
    made = inputs.command_parser(
        "who", "Who is behind a public address and port.", EPILOG
    )
    made.add_argument("public", metavar="PUBLIC[:PORT][/PROTO]")
    inputs.add_source_options(made)
    made.add_argument(
        "--within",
        metavar="TIME",
        help="with --at, look so long before and after as well: 10s, 1m",
    )
    formats.add_format_options(made)
    return made


def run(argv: list[str]) -> int:
    """Answer one question."""
    options = inputs.parse(parser(), argv)
    file, words = inputs.split_words(options)
    asked = _question(options.public)
    wanted = inputs.filter_of([*asked, "and", "(", *words, ")"] if words else asked)
    if options.within is not None and options.at is None:
        raise UsageError("--within goes with --at")
    with _opened(options, file) as source:
        found = _answers(source, wanted)
        code = inputs.report(source)
        then = _when(options, source)
    _write(options, found, then)
    return code if found or code else ExitCode.NOTHING


@contextmanager
def _opened(options: argparse.Namespace, file: str | None) -> Iterator[Source]:
    """The source; of a recording, all that was there in the time meant by --at."""
    from natscope.sources.recordingfiles import is_recording

    alone = not (options.netns or options.all_netns or options.proc)
    if file is None or options.at is None or not alone or not is_recording(file):
        with inputs.opened(options, file) as source:
            yield source
        return
    from natscope.sources.recording import Recording

    first, last = moments.span_ns(options.at, time.time_ns())
    if options.within is not None:
        around = int(moments.seconds(options.within, "--within") * 1e9)
        first, last = first - around, last + around
    yield Recording(file, at_ns=first, until_ns=last)


def _when(options: argparse.Namespace, source: Source) -> str:
    """The time that was asked about, in words."""
    if options.at is not None:
        return "then"
    now_ns = getattr(source, "now_ns", None)
    if now_ns is None:
        return "now"
    moment = datetime.fromtimestamp(now_ns // 10**9).astimezone()
    return f"at its end ({moment:%Y-%m-%d %H:%M:%S%z})"


def _question(public: str) -> list[str]:
    """The filter a question means."""
    endpoint, slash, proto = public.rpartition("/")
    if not slash:
        endpoint, proto = public, ""
    if not endpoint or (slash and not proto):
        raise UsageError("whose public address? natscope who PUBLIC[:PORT][/PROTO]")
    if proto.isdigit() and "]:" not in endpoint and endpoint.count(":") != 1:
        return ["public", "net", public]
    words = ["public", endpoint]
    return [*words, "and", "proto", proto] if proto else words


def _answers(source: Source, wanted: Filter | None) -> list[Answer]:
    from natscope.views.who import answers, name_hosts

    found = answers(source.pieces(wanted))
    neighbours = getattr(source, "neighbours", None)
    if found and neighbours is not None:
        macs = {n.address: n.mac for n in neighbours()}
        name_hosts(found, _hosts({a.host.address for a in found}, macs))
    return found


def _hosts(addresses: set[Address], macs: dict[Address, str]) -> dict[Address, Host]:
    """What neighbours, DHCP leases and reverse DNS say of these addresses."""
    from natscope.sources.names import Resolver, leases
    from natscope.views.who import Host

    names = leases()
    names |= Resolver().names(str(a) for a in addresses if str(a) not in names)
    return {a: Host(macs.get(a), names.get(str(a))) for a in addresses}


_COLUMNS = (
    *("proto", "kind", "netns", "host", "public", "outside", "flows", "since_ns"),
    *("until_ns",),
    *("mac", "name", "orig_bytes", "reply_bytes"),
)


def _write(options: argparse.Namespace, found: list[Answer], then: str) -> None:
    from natscope.views.who import record, sentences

    rows = [record(answer) for answer in found]
    document = {"schema": "natscope.who/1", "public": options.public, "answers": rows}
    if formats.write_rows(options, document, rows, _COLUMNS):
        return
    if not found:
        diagnostics.note(f"nobody is behind {options.public} {then}")
    lines = [line for answer in found for line in sentences(answer)]
    output.write("".join(f"{line}\n" for line in lines).encode())
