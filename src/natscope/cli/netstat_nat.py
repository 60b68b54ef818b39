"""``natscope netstat-nat``: netstat-nat 1.4.10, command for command.

``docs/netstat-nat-differences.md`` lists what is different on purpose.  The
options are read here and not by argparse: they are getopt(3)'s, bundled
(``-nN``, ``-pudp``), and nothing else about them should differ.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, output
from natscope.cli.diagnostics import UsageError
from natscope.errors import NatscopeError

if TYPE_CHECKING:
    from natscope.model.evidence import Evidence, Interface
    from natscope.render.netstat import Layout
    from natscope.sources.base import Source
    from natscope.views.netstat import Lines, Networks, Question, Rows, Show

FAILED, UNKNOWN_HOST = 1, 255
"""Exit codes of 1.4.10; 0 is all else, nothing found included."""
LOCAL_ADDRESSES = "NETSTAT_NAT_LOCAL_ADDRS"
"""Environment: the addresses that count as the box's own, for ``-L`` and ``-R``."""
STOCK_VERSION = "1.4.10"
LINES_AT_ONCE = 8192
"""So that a piece of text under construction fits the cache."""

USAGE = """\
usage: netstat-nat [options] [FILE]
  -h                display this help
  -n                don't resolve host/portnames
  -p <protocol>     display connections by protocol: name or number
  -s <source>       display connections by source: host or network
  -d <destination>  display connections by destination: host or network
  -g <gateway>      display connections by NAT box address: host or network
  -S                display SNAT connections
  -D                display DNAT connections (default: SNAT & DNAT)
  -L                display only connections to or from the NAT box itself
  -R                display only connections routed through the NAT box
  -x                wide columns: 40 characters for an address
  -X[width]         columns as wide as an IPv6 address and port, or as given
  -r <key>          sort: src, dst, src-port, dst-port, state, gate, gate-port
  -o                strip output header
  -N, -G            display NAT box connection information
  -v                print version
  --netns <which>   another network namespace: name, process id or path
-p, -s, -d and -g take lists (tcp,udp) and may be given again.  FILE is a saved
listing (/proc/net/nf_conntrack, conntrack -L in any format), - is stdin.
"""


@dataclass(slots=True)
class Options:
    """The command line, understood."""

    flags: set[str] = field(default_factory=set)
    lists: dict[str, list[str]] = field(default_factory=dict)
    sort: str = "src"
    width: int | None = None
    netns: str | None = None
    file: str | None = None


def main() -> None:
    """Be the program ``netstat-nat``."""
    sys.exit(diagnostics.guarded(lambda: run(sys.argv[1:])))


def run(argv: list[str]) -> int:
    """List as netstat-nat does; its exit code."""
    try:
        options = parse(argv)
    except UsageError as error:
        diagnostics.complain(str(error), error.hint)
        return FAILED
    if options.flags & {"h", "?"}:
        output.write(USAGE.encode())
        return 0
    if "v" in options.flags:
        from natscope import __version__

        version = f"Version {STOCK_VERSION} (natscope {__version__})\n"
        output.write(version.encode())
        return 0
    from natscope.cli.netstat_names import UnknownHost

    try:
        return _list(options)
    except UnknownHost as error:
        diagnostics.note(str(error))
        return UNKNOWN_HOST
    except NatscopeError as error:
        diagnostics.complain(str(error), error.hint)
        return FAILED
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        diagnostics.complain(f"{what}{error.strerror or error}")
        return FAILED


ALONE = "hnSDLRxoNGv?"
WITH_VALUE = "psdgr"
LISTS = "psdg"
LONG = {"help": "h", "version": "v"}


def parse(argv: list[str]) -> Options:
    """Read the command line as getopt(3) does, options after FILE included.

    Raises:
        UsageError: an unknown option or sort key, or a value too few.
    """
    options, words = Options(), list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            for rest in words:
                _take_file(options, rest)
            break
        if word.startswith("--"):
            _take_long(options, word[2:], words)
        elif word.startswith("-") and word != "-":
            _take_bundle(options, word[1:], words)
        else:
            _take_file(options, word)
    if options.file is not None and options.netns is not None:
        raise UsageError("choose one of FILE and --netns")
    if options.lists.get("g") and options.flags & {"L", "R"}:
        raise UsageError("-g means translated connections: not with -L or -R")
    return options


def _take_bundle(options: Options, letters: str, words: list[str]) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in ALONE:
            options.flags.add(letter)
        elif letter == "X":
            options.width, letters = _width(letters), ""
        elif letter in WITH_VALUE:
            _take_value(options, letter, letters or _next(f"-{letter}", words))
            return
        else:
            raise UsageError(f"no option -{letter}", hint="netstat-nat -h lists them")


def _take_value(options: Options, letter: str, value: str) -> None:
    if letter in LISTS:
        given = [part.strip() for part in value.split(",") if part.strip()]
        if not given:
            raise UsageError(f"-{letter} needs a value")
        options.lists.setdefault(letter, []).extend(given)
        return
    from natscope.views.netstat_order import SORT_KEYS

    if value not in SORT_KEYS:
        raise UsageError(f"cannot sort by {value!r}", hint=f"by {', '.join(SORT_KEYS)}")
    options.sort = value


def _width(text: str) -> int:
    from natscope.render.netstat import IPV6_WIDTH

    if not text:
        return IPV6_WIDTH
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 1000:
        raise UsageError(f"-X{text}: a width is a number from 1 to 1000")
    return int(text)


def _take_long(options: Options, word: str, words: list[str]) -> None:
    name, equals, value = word.partition("=")
    if name in LONG and not equals:
        options.flags.add(LONG[name])
    elif name == "netns":
        options.netns = value if equals else _next("--netns", words)
    else:
        raise UsageError(f"no option --{word}", hint="netstat-nat -h lists them")


def _next(option: str, words: list[str]) -> str:
    if not words:
        raise UsageError(f"{option} needs a value", hint="netstat-nat -h lists them")
    return words.pop(0)


def _take_file(options: Options, word: str) -> None:
    if options.file is not None:
        raise UsageError(f"one file at a time: {options.file!r} and {word!r}")
    options.file = word


def _list(options: Options) -> int:
    from natscope.cli import netstat_names as names
    from natscope.views import netstat_order

    question = _question(options)
    with _opened(options) as source:
        found = _found(source, question)
        code = inputs.report(source)
    protocols = names.protocol_names()
    layout = _layout(options, protocols)
    if "n" not in options.flags:
        layout = replace(
            layout, names=names.names_of(found, gateway=layout.gateway is not None)
        )
    rows = netstat_order.order(found, options.sort, protocols)
    _write(found, rows, layout, heading="o" not in options.flags)
    return code


def _found(source: Source, question: Question) -> Lines:
    from natscope.views.netstat import concat, lines

    evidence = _evidence(source, question)
    return concat([lines(chunk, evidence, question) for chunk in source.chunks()])


def _evidence(source: Source, question: Question) -> Evidence:
    """What the source knows, and whose addresses are local.

    A saved listing does not say: as in netstat-nat-ng it is taken for one of
    this box, unless the environment tells the addresses.
    """
    from natscope.views.netstat import Show

    evidence: Evidence = source.evidence()
    if not question.show & (Show.LOCAL | Show.ROUTED):
        return evidence
    own = os.environ.get(LOCAL_ADDRESSES)
    if own is not None:
        return replace(evidence, addresses=_interfaces(own))
    if evidence.addresses:
        return evidence
    from natscope.sources.box import read_addresses

    return replace(evidence, addresses=read_addresses())


def _interfaces(text: str) -> tuple[Interface, ...]:
    from ipaddress import ip_interface

    try:
        return tuple(ip_interface(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise UsageError(f"{LOCAL_ADDRESSES}: {error}") from error


def _write(found: Lines, rows: Rows, layout: Layout, *, heading: bool) -> None:
    from natscope.render import netstat

    if heading:
        output.write(netstat.heading(layout))
    for start in range(0, len(rows), LINES_AT_ONCE):
        ordered = found.take(rows[start : start + LINES_AT_ONCE])
        output.write(netstat.text(ordered, layout))


def _opened(options: Options) -> AbstractContextManager[Source]:
    if options.file is not None:
        from natscope.sources import read

        return nullcontext(read(options.file))
    from natscope.sources.kernel import Kernel

    return Kernel(options.netns, wire=diagnostics.wire())


def _question(options: Options) -> Question:
    from natscope.cli import netstat_names as names
    from natscope.views.netstat import Question

    def networks(letter: str) -> Networks | None:
        return (
            names.networks(options.lists[letter]) if letter in options.lists else None
        )

    protocols = options.lists.get("p")
    return Question(
        show=_show(options),
        protocols=None if protocols is None else names.protocol_numbers(protocols),
        sources=networks("s"),
        destinations=networks("d"),
        gateways=networks("g"),
    )


def _show(options: Options) -> Show:
    """What 1.4.10 does with two of them: -R, then -L; -S and -D add up here."""
    from natscope.views.netstat import Show

    if "R" in options.flags:
        return Show.ROUTED
    if "L" in options.flags:
        return Show.LOCAL
    both = options.flags & {"S", "D"}
    if len(both) == 1:
        return Show.SOURCE if "S" in both else Show.DESTINATION
    return Show.NAT


def _layout(options: Options, protocols: list[str]) -> Layout:
    from natscope.render.netstat import EXTENDED_WIDTH, WIDTH, Layout

    untranslated = bool(options.flags & {"L", "R"})
    gateway = None
    if not untranslated and options.flags & {"N", "G"}:
        gateway = "Gateway Address" if "G" in options.flags else "NAT-host Address"
    width = EXTENDED_WIDTH if "x" in options.flags else WIDTH
    return Layout(
        width=width if options.width is None else options.width,
        gateway=gateway,
        source="Source Address" if untranslated else "NATed Address",
        protocols=protocols,
    )
