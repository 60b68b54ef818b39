"""``natscope rules``: the NAT rules, and the flows that are there by each."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, formats, inputs, output
from natscope.cli.diagnostics import ExitCode

if TYPE_CHECKING:
    from natscope.cli.attributing import Box
    from natscope.model.bundle import Bundle
    from natscope.table.flowtable import FlowTable
    from natscope.views.rules import RuleUses

EPILOG = """\
examples:
  natscope rules                    NAT rules in the order packets meet them
  natscope rules --all              also the jumps, returns and accepts between them
  natscope rules --bundle gw1.json.gz   of another box, with its flows if it has them
  natscope list --rule              the rule behind each translation
FLOWS are open now; HITS and BYTES are of the rule's own counter, where it has one: it
counts the first packet of a flow.  - is not known, ~ not certain.
"""
_COLUMNS = (
    *("family", "table", "chain", "handle", "number", "tool", "kind", "flows"),
    *("uncertain_flows", "hits", "bytes", "unused", "example", "text"),
)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "rules", "The NAT rules, and the flows that are there by each.", EPILOG
    )
    inputs.add_box_options(made)
    made.add_argument(
        "-a", "--all", action="store_true", help="all rules of the chains NAT passes"
    )
    formats.add_format_options(made)
    return made


def run(argv: list[str]) -> int:
    """Count, and tell."""
    options = inputs.parse(parser(), argv)
    inputs.see_one_box(options)
    from natscope.cli import attributing

    if options.bundle is None:
        # the flows first: else one made by a rule just loaded would seem stale
        table = _flows(options, None)
        box = attributing.box(options.netns, None)
    else:
        box = attributing.box(None, options.bundle)
        table = _flows(options, box.bundle)
    _write(options, _uses(box, table))
    return ExitCode.DONE


def _uses(box: Box, table: FlowTable | None) -> RuleUses:
    from natscope.cli.attributing import attributing
    from natscope.views.rules import uses

    rules = box.rules
    if table is None or not rules:
        return uses(rules, None)
    with attributing(box) as attributor:
        flows = (table, attributor.attribute(table))
    return uses(rules, flows)


def _flows(options: argparse.Namespace, bundle: Bundle | None) -> FlowTable | None:
    """The translated flows of a bundle, or of a box of this machine."""
    from natscope.model.evidence import Evidence
    from natscope.table.nat import translations

    if bundle is None:
        from natscope.sources.kernel import Kernel

        with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
            table = kernel.table()
    else:
        from natscope.cli import boxes

        with boxes.flows(bundle, is_live=False) as source:
            if source is None:
                diagnostics.note(
                    f"{options.bundle} has no flows; natscope bundle --flows collects "
                    "them"
                )
                return None
            table = source.table()
    return table.mask(translations(table, Evidence()).kind != 0)


def _write(options: argparse.Namespace, found: RuleUses) -> None:
    from natscope.render import rules as rendered
    from natscope.views.rules import document, record, shown_rules

    rows = shown_rules(found, everything=options.all)
    records = [record(use) for use in rows]
    if formats.write_rows(options, document(found, rows), records, _COLUMNS):
        return
    if not rows:
        diagnostics.note("no rule translates here")
    else:
        text = rendered.text(found, rows, heading=not options.no_headers)
        output.write(text.encode())
    if found.stale:
        diagnostics.note(
            f"{found.stale} of {found.flows} translated flows are there by no rule of "
            "today: natscope list --rule tells which"
        )
    if found.unknown:
        diagnostics.note(f"of {found.unknown} flows the rule is not known")
