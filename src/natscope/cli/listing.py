"""``natscope list``: the NAT view."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, formats, inputs, output
from natscope.cli.diagnostics import UsageError
from natscope.views.query import (
    BINDING_FIELDS,
    CSV_FIELDS,
    IOS_FIELDS,
    RULE_FIELDS,
    Query,
)

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.sources.base import Source
    from natscope.table.attribution import Attribute

EPILOG = """\
examples:
  natscope list                                  every translation of this box
  natscope list src net 10.0.0.0/8 and dst port 443,8443 and not assured
  natscope list public 203.0.113.7:41234         who has this public port
  natscope list --all --sort -bytes --limit 20   the largest flows, NAT or not
  natscope list --group-by inside_address        flows and bytes of each host
  natscope list --bindings                       inside to public, with counts
  natscope list --rule                           the rule behind each translation
  conntrack -L | natscope list -                 a saved listing, any format
  natscope list gw.nsrec --at 14:03              a recording, as it was then
kinds (column NAT): s source, d destination, h hairpin, r redirect to the box,
  p port only, sd both.  More: natscope help kinds, natscope help filter
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope list``."""
    made = inputs.command_parser(
        "list", "Every translation: inside, public, outside.", EPILOG
    )
    inputs.add_source_options(made)
    _add_selection(made.add_argument_group("what to show"))
    _add_rules(made.add_argument_group("which rule"))
    formats.add_format_options(made)
    return made


def _add_rules(rules: argparse._ArgumentGroup) -> None:
    rules.add_argument(
        "--rule",
        action="store_true",
        help="the NAT rules behind each translation, asked of a twin of the box",
    )
    rules.add_argument(
        "--bundle",
        metavar="FILE",
        help="with --rule: the box the flows are of (natscope bundle)",
    )


def _add_selection(what: argparse._ArgumentGroup) -> None:
    what.add_argument(
        "-a", "--all", action="store_true", help="also flows that are not translated"
    )
    what.add_argument(
        "-c", "--columns", metavar="NAME[,…]", help="these columns (help columns)"
    )
    what.add_argument("-w", "--wide", action="store_true", help="all that fits a flow")
    what.add_argument(
        "-s", "--sort", metavar="NAME[,…]", help="order by columns; -NAME turns it"
    )
    what.add_argument("-l", "--limit", type=int, metavar="N", help="at most N lines")
    what.add_argument(
        "-g", "--group-by", metavar="NAME[,…]", help="count flows and bytes by columns"
    )
    what.add_argument(
        "--bindings",
        action="store_true",
        help="each inside address and port with its public one, and flow counts",
    )
    what.add_argument(
        "--layout", choices=("nat", "ios"), default="nat", help="ios: the four columns"
    )
    what.add_argument(
        "--names", action="store_true", help="host and service names, where they come"
    )
    what.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=2.0,
        metavar="SECONDS",
        help="again and again, with rates",
    )


def run(argv: list[str]) -> int:
    """List the flows the command line asks for."""
    options = inputs.parse(parser(), list(_sort_joined(argv)))
    query = _query(options)
    file, words = inputs.split_words(options)
    wanted = inputs.filter_of(words)
    _check_rules(options, query, file)
    if options.watch is not None:
        from natscope.cli.repeat import repeat

        repeat(options, query, wanted, file)
    with inputs.opened(options, file) as source:
        if query.rules:
            _show_rules(source, query, options, wanted)
        else:
            show(source, query, options, wanted)
        return inputs.report(source)


def _show_rules(
    source: Source, query: Query, options: argparse.Namespace, wanted: Filter | None
) -> None:
    """The same, with a twin that tells which rules made the flows."""
    from natscope.cli import attributing

    box = attributing.box(options.netns, options.bundle)
    with attributing.attributing(box) as attributor:
        show(source, query, options, wanted, attributor.attribute)


def _check_rules(options: argparse.Namespace, query: Query, file: str | None) -> None:
    if not query.rules:
        if options.bundle is not None:
            raise UsageError("--bundle goes with --rule")
        return
    if options.all_netns or options.watch is not None:
        raise UsageError("--rule goes with neither --all-netns nor --watch")
    if file is not None and options.bundle is None:
        raise UsageError(
            "--rule asks this box, and the flows are of a file",
            hint="name the box they are of: --bundle FILE (natscope bundle)",
        )
    if options.bundle is not None and file is None:
        raise UsageError("--bundle goes with a file of flows, or natscope rules")


def _sort_joined(argv: list[str]) -> Iterator[str]:
    """``--sort -bytes`` as one word, or argparse takes ``-bytes`` for an option."""
    words = iter(argv)
    for word in words:
        following = next(words, None) if word in ("-s", "--sort") else None
        yield word if following is None else f"--sort={following}"


def show(
    source: Source,
    query: Query,
    options: argparse.Namespace,
    wanted: Filter | None,
    attribute: Attribute | None = None,
) -> int:
    """Write one listing; the number of rows shown."""
    # the kernel begins its dump before NumPy and what needs it are loaded
    pieces = source.pieces(wanted)
    first = next(pieces, None)
    from natscope.views.listing import listing

    begun = iter(()) if first is None else chain([first], pieces)
    writer = formats.writer(options, rows="groups" if query.group else "flows")
    names = formats.Names(options)
    rows = 0
    for page in listing(begun, query, attribute):
        names.resolve(writer, page)
        output.write(writer.write(page))
        rows += page.rows
    output.write(writer.end())
    if rows == 0 and output.is_terminal():
        _explain_nothing(source, query, wanted)
    return rows


def _explain_nothing(source: Source, query: Query, wanted: Filter | None) -> None:
    """An empty screen leaves people guessing; say why it is empty."""
    count = getattr(source, "count", None)
    if count is None:
        return
    entries, _ = count()
    if entries == 0:
        diagnostics.note(
            "no flows: nothing is tracked here (conntrack starts with the first "
            "rule that needs it), or this is not the namespace that translates"
        )
    elif not query.untranslated:
        diagnostics.note(f"no translated flow among {entries}; --all shows the others")
    elif wanted is not None:
        diagnostics.note(f"none of {entries} flows matches")


def _query(options: argparse.Namespace) -> Query:
    if options.limit is not None and options.limit < 0:
        raise UsageError("--limit takes a number from 0 up")
    columns = _names(options.columns)
    group = _names(options.group_by) or ()
    counting = bool(group) or options.bindings
    if counting and (columns or options.layout == "ios"):
        raise UsageError("choose columns, or counting with --group-by or --bindings")
    if options.layout == "ios":
        columns = columns or IOS_FIELDS
    if options.bindings:
        group = group or BINDING_FIELDS
    if columns is None and (options.csv or options.tsv):
        columns = (*CSV_FIELDS, *RULE_FIELDS) if options.rule else CSV_FIELDS
    sort = _names(options.sort) or ()
    named = {
        name.lstrip("-").replace("-", "_") for name in (*sort, *group, *(columns or ()))
    }
    return Query(
        columns=columns,
        untranslated=options.all,
        everything=columns is None and (options.json or options.ndjson),
        sort=sort,
        limit=options.limit,
        group=group,
        wide=options.wide,
        rules=options.rule or not named.isdisjoint(RULE_FIELDS),
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError("no column is named; natscope help columns lists them")
    return names
