"""``natscope timeouts``: the timeouts in force, what they mean, and what they hold."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, formats, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError
from natscope.errors import KernelError, NatscopeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from natscope.table.flowtable import FlowTable
    from natscope.views.timeouts import Timeouts

EPILOG = """\
examples:
  natscope timeouts                 all, with the flows each holds and what it means
  natscope timeouts --below         those shorter than an RFC asks for
  natscope timeouts --brief tcp     of one protocol, a line each
  natscope timeouts --bundle gw1.json.gz   of another box
* is not what the kernel begins with.  RFC is the least an RFC asks of a NAT, in
seconds; it is advice for a gateway in front of strangers, a box of your own may do with
less.  A rule may give flows another timeout (nft: ct timeout set).
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "timeouts", "The timeouts in force, what they mean, and what they hold.", EPILOG
    )
    made.add_argument(
        "protocols", nargs="*", metavar="PROTOCOL", help="tcp, udp, icmp, sctp, gre …"
    )
    inputs.add_box_options(made)
    made.add_argument(
        "--below", action="store_true", help="those shorter than an RFC asks for"
    )
    made.add_argument("--brief", action="store_true", help="without the meanings")
    formats.add_format_options(made)
    return made


def run(argv: list[str]) -> int:
    """Tell them."""
    options = inputs.parse(parser(), argv)
    inputs.see_one_box(options)
    from natscope.views.timeouts import protocol, timeouts

    values, table = _of_bundle(options) if options.bundle else _live(options)
    if not values:
        raise NatscopeError(
            "there are no timeouts to read: connection tracking is not loaded",
            hint="modprobe nf_conntrack, or any rule that uses connection tracking",
        )
    known = {protocol(name) for name in values}
    for word in options.protocols:
        if word not in known:
            raise UsageError(
                f"no timeout of {word!r}", hint=f"one of: {', '.join(sorted(known))}"
            )
    _write(options, timeouts(values, table))
    return ExitCode.DONE


def _live(
    options: argparse.Namespace,
) -> tuple[Mapping[str, int], FlowTable | None]:
    from natscope.sources.kernel import Kernel

    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        values = kernel.evidence().timeouts
        try:
            return values, kernel.table()
        except KernelError as error:
            diagnostics.complain(f"flows are not known: {error}", error.hint)
            return values, None


def _of_bundle(
    options: argparse.Namespace,
) -> tuple[Mapping[str, int], FlowTable | None]:
    from natscope.cli import boxes
    from natscope.sources.bundle import load

    box = load(options.bundle)
    with boxes.flows(box, is_live=False) as source:
        return box.evidence.timeouts, None if source is None else source.table()


def _write(options: argparse.Namespace, found: Timeouts) -> None:
    from natscope.render import timeouts as rendered
    from natscope.views import timeouts as view

    shown = list(found.found)
    if options.protocols:
        shown = [one for one in shown if view.protocol(one.name) in options.protocols]
    if options.below:
        shown = view.deviating(shown)
    records = [view.record(one) for one in shown]
    if formats.write_rows(options, view.document(found, shown), records, view.COLUMNS):
        return
    lines = rendered.text(
        shown, heading=not options.no_headers, meanings=not options.brief
    )
    if not shown:
        diagnostics.note("no timeout is shorter than an RFC asks for")
    output.write("".join(f"{line}\n" for line in lines if shown).encode())
    if found.overlong:
        diagnostics.note(
            f"{found.overlong} of {found.flows} flows have more time left than their "
            "timeout: it was longer when their last packet came, or a rule or program "
            "set it"
        )
