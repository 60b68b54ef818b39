"""``natscope stale``: the flows that contradict the box, and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natscope.cli import changing, diagnostics, formats, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError
from natscope.errors import NatscopeError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from natscope.codec.text.natrules import NatRule
    from natscope.filter import Filter
    from natscope.model.bundle import Bundle
    from natscope.model.evidence import Evidence
    from natscope.rehearse.twin import Twin
    from natscope.sources.kernel import Kernel
    from natscope.table.attribution import Attribution
    from natscope.table.flowtable import FlowTable
    from natscope.views.stale import Stale

MOST_ASKED = 400
"""Packets sent: less than a second's work."""
EPILOG = """\
examples:
  natscope stale                      flows the box would not make so today
  natscope stale udp and dst port 53  of these flows alone
  natscope stale --delete --dry-run   what would be deleted
  natscope stale --delete             delete them, with an undo
  natscope stale gw1.json.gz          of another box (natscope bundle --flows)
The rules, addresses and routes of now are asked what they would make of each flow: by
a rehearsal in a private namespace, or where there can be none by the text of the rules
alone.  ~ marks what is not certain: it is deleted with --uncertain alone.
exit code: 0 none is stale, 1 some are, 3 the box cannot be read, 4 not all of it
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "stale", "Flows that contradict the box: each with the reason.", EPILOG
    )
    made.add_argument(
        "words",
        nargs="*",
        metavar="[BUNDLE] FILTER",
        help="a box in a file, as --bundle, then which flows to judge",
    )
    where = made.add_argument_group("which box")
    inputs.add_box_options(where)
    how = made.add_argument_group("how to judge")
    how.add_argument(
        "--by-shape", action="store_true", help="by the rules' text alone: no rehearsal"
    )
    how.add_argument(
        "--packets",
        type=int,
        metavar="N",
        help="packets to send in the rehearsal at most (default: 400, less than "
        "a second's work); what is not asked about is judged by the rules' text",
    )
    made.add_argument(
        "-a", "--all", action="store_true", help="every flow, not some of each kind"
    )
    made.add_argument(
        "--delete", action="store_true", help="delete the stale flows, with an undo"
    )
    made.add_argument(
        "--uncertain", action="store_true", help="with --delete: also those marked ~"
    )
    formats.add_format_options(made)
    changing.add_options(made, beside=True)
    return made


def run(argv: list[str]) -> int:
    """Judge, and tell or delete."""
    options = inputs.parse(parser(), argv)
    file, words = inputs.file_before(options.words)
    if file is not None:
        if options.bundle is not None:
            raise UsageError(f"choose one of --bundle and {file}")
        options.bundle = file
    _check(options)
    wanted = inputs.filter_of(words)
    if options.bundle is not None:
        return _tell(options, _judged(options, *_in_bundle(options, wanted)))
    from natscope.sources.bundle import collect
    from natscope.sources.kernel import Kernel

    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        # the flows first: else one made by a rule just loaded would seem stale
        table, evidence = kernel.table(wanted), kernel.evidence()
        box = collect(options.netns)
        for lack in box.missing:
            diagnostics.note(f"not read: {lack}")
        found = _judged(options, box, table, evidence)
        if options.delete:
            return _delete(options, kernel, found)
        return _tell(options, found)


def _check(options: argparse.Namespace) -> None:
    inputs.see_one_box(options)
    if options.bundle is not None and options.delete:
        raise UsageError("--delete is for this box, not for one in a bundle")
    if options.packets is not None and options.packets < 0:
        raise UsageError("--packets takes a number from 0 up")
    if options.delete:
        if options.ndjson or options.csv or options.tsv:
            raise UsageError("--delete tells its outcome as text or with --json")
        return
    for name in ("uncertain", "dry_run", "yes", "undo_file", "no_undo"):
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} goes with --delete")


@dataclass(frozen=True, slots=True)
class _Found:
    """The flows that were judged, and which are stale."""

    table: FlowTable
    evidence: Evidence
    stale: Stale
    is_whole: bool
    """All of the box could be read."""


def _in_bundle(
    options: argparse.Namespace, wanted: Filter | None
) -> tuple[Bundle, FlowTable, Evidence]:
    from natscope.model.evidence import Evidence
    from natscope.sources.bundle import load
    from natscope.sources.bundleflows import BundleFlows

    box = load(options.bundle)
    evidence = Evidence(now_ns=box.made_ns)
    table = BundleFlows(box, options.bundle).table()
    if wanted is not None:
        table = table.mask(wanted.mask(table, evidence))
    return box, table, evidence


def _judged(
    options: argparse.Namespace, box: Bundle, table: FlowTable, evidence: Evidence
) -> _Found:
    from natscope.codec.text.natrules import nat_rules
    from natscope.rehearse.attribution.shapes import by_shape
    from natscope.views.stale import stale, too_young

    young = too_young(table, evidence)
    table = table.mask(~young)
    is_wanted = len(table) > 0 and not options.by_shape
    with _twin_aside(box, is_wanted=is_wanted) as building:
        rules = nat_rules(box)
        made = by_shape(table, rules, box)
    if building is not None:
        made = _rehearsed(options, building, rules, table, made)
    found = stale(table, made, box, rules, int(young.sum()))
    return _Found(table, evidence, found, box.is_whole)


@contextmanager
def _twin_aside(box: Bundle, *, is_wanted: bool) -> Iterator[Future[Twin] | None]:
    """Build a twin, which waits for other programs, beside what else is done."""
    if not is_wanted:
        yield None
        return
    from concurrent.futures import ThreadPoolExecutor

    from natscope.rehearse.twin import Twin

    with ThreadPoolExecutor(1) as aside:
        yield aside.submit(Twin, box)


def _rehearsed(
    options: argparse.Namespace,
    building: Future[Twin],
    rules: list[NatRule],
    table: FlowTable,
    shape: Attribution,
) -> Attribution:
    """By the kernel; where there can be no twin, as it was."""
    from natscope.cli import boxes
    from natscope.rehearse.attribution.attributor import Attributor

    most = MOST_ASKED if options.packets is None else options.packets
    try:
        with building.result() as twin:
            boxes.tell_missing(twin)
            return Attributor(twin, rules, most=most).attribute(table, shape)
    except NatscopeError as error:
        diagnostics.note(f"no rehearsal, judged by the rules' shape: {error}")
        return shape


def _delete(options: argparse.Namespace, kernel: Kernel, found: _Found) -> int:
    from natscope.actions import expected, plan

    with changing.planning():
        rows = found.stale.rows(uncertain=options.uncertain)
        if doubtful := found.stale.count() - len(rows):
            diagnostics.note(
                f"{doubtful} that are not certain are left: --uncertain takes them "
                "too, --packets N asks about more"
            )
        table = found.table.take(rows)
        going = expected.of_masters(kernel.expectations(), table) if len(rows) else ()
        planned = plan.Plan(plan.DELETE, table, kernel, expectations=going)
    code = changing.carry_out(options, planned, ask=True)
    nothing_stale = code == ExitCode.NOTHING and not found.stale.groups
    return ExitCode.DONE if nothing_stale else code


def _tell(options: argparse.Namespace, found: _Found) -> int:
    from natscope.views.stalerecords import COLUMNS, document, records, summary

    if formats.for_programs(options):
        rows = list(records(found.stale, found.table, found.evidence))
        formats.write_rows(options, document(found.stale, rows), rows, COLUMNS)
    else:
        from natscope.render.stale import text

        shown = text(found.stale, found.table, found.evidence, everything=options.all)
        output.write(shown.encode())
    for line in summary(found.stale):
        diagnostics.note(line)
    if found.stale.groups:
        return ExitCode.NOTHING
    return ExitCode.DONE if found.is_whole else ExitCode.PARTLY
