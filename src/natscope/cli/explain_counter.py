"""``natscope explain-counter NAME``: what a counter tells."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, output
from natscope.cli.diagnostics import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscope.views.doctor.counters import Explained

_WIDTH = 84

EPILOG = """\
examples:
  natscope explain-counter insert_failed
  natscope explain-counter TcpExtIPReversePathFilter    as nstat names it
  natscope explain-counter node_nf_conntrack_stat_drop  as node_exporter does
  natscope explain-counter netfilter.conntrack_errors   a chart of netdata
  natscope explain-counter                              all that can be explained
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "explain-counter", "What a counter tells, and the findings it feeds.", EPILOG
    )
    made.add_argument("name", nargs="?", metavar="NAME", help="of a counter")
    made.add_argument("--json", action="store_true", help="as JSON")
    return made


def run(argv: list[str]) -> int:
    """Explain one, or name all."""
    options = parser().parse_args(argv)
    from natscope.views.doctor.counters import BY_NAME, explained, nearest

    if options.name is None:
        found = tuple(BY_NAME.values())
    else:
        found = explained(options.name)
        if not found:
            near = nearest(options.name)
            hint = f"did you mean {near}?" if near else None
            diagnostics.complain(f"no counter {options.name!r} is known", hint)
            return ExitCode.NOTHING
    if options.json:
        rows = [
            {
                "name": one.name,
                "where": one.where,
                "meaning": one.meaning,
                "rules": list(one.rules),
            }
            for one in found
        ]
        document = {"schema": "natscope.counters/1", "counters": rows}
        output.write(json.dumps(document, indent=2).encode() + b"\n")
        return ExitCode.DONE
    for one in found:
        output.write("".join(f"{line}\n" for line in _lines(one)).encode())
    return ExitCode.DONE


def _lines(one: Explained) -> Iterator[str]:
    from natscope.views.doctor.diagnosis import BY_ID

    yield one.name
    yield from textwrap.wrap(
        one.meaning, _WIDTH, initial_indent="  ", subsequent_indent="  "
    )
    yield f"  shown by   {one.where}"
    if one.rules:
        yield f"  findings   natscope doctor --only {','.join(one.rules)}"
    for rule in one.rules:
        yield f"             {rule}  {BY_ID[rule].title}"
