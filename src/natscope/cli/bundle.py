"""``natscope bundle FILE``: a box in one file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError
from natscope.errors import NatscopeError

if TYPE_CHECKING:
    from natscope.model.bundle import Bundle
    from natscope.table.flowtable import FlowTable

EPILOG = """\
examples:
  natscope bundle gw1.json.gz               all that decides about packets
  natscope bundle gw1.json.gz --flows       and the flows: natscope list gw1.json.gz
  natscope bundle gw1.json.gz --doctor      all that natscope doctor looks at
  natscope bundle ticket.json --redact      public addresses replaced
  natscope bundle --show gw1.json.gz        what a bundle holds
  ssh gw1 natscope bundle - | natscope bundle --show -
Links, addresses, routes, rules, neighbours, settings and rulesets of nft, iptables
and ipset; what could not be read is told, and named in the file.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope bundle``."""
    made = inputs.command_parser(
        "bundle", "Collect in one file all that decides about packets.", EPILOG
    )
    made.add_argument(
        "file", metavar="FILE", help="gzipped if named .gz; - is standard output"
    )
    inputs.add_netns_option(made)
    made.add_argument("--flows", action="store_true", help="the flows as well")
    made.add_argument(
        "--doctor",
        action="store_true",
        help="the flows, and counters read twice: for natscope doctor --bundle",
    )
    made.add_argument(
        "-i", "--interval", metavar="TIME", help="between the two (default 5s)"
    )
    made.add_argument(
        "--redact",
        action="store_true",
        help="replace public addresses, MAC addresses, the host name and comments",
    )
    made.add_argument(
        "--show", action="store_true", help="tell what is in FILE instead"
    )
    made.add_argument("--json", action="store_true", help="with --show: as JSON")
    return made


def run(argv: list[str]) -> int:
    """Write a bundle, or tell what one holds."""
    options = inputs.parse(parser(), argv)
    if options.show:
        return _show(options)
    if options.json:
        raise UsageError("--json goes with --show: a bundle is JSON already")
    if options.netns == "":
        raise UsageError("--netns needs a name, a process id or a path")
    if options.interval is not None and not options.doctor:
        raise UsageError("--interval goes with --doctor")
    bundle = _collected(options)
    _write(options.file, bundle)
    diagnostics.note(_told(bundle))
    measured = bundle.measured.missing if bundle.measured is not None else ()
    missing = bundle.missing + measured
    for one in missing:
        diagnostics.note(f"missing: {one}")
    return ExitCode.PARTLY if missing else ExitCode.DONE


def _show(options: argparse.Namespace) -> int:
    reads = (options.netns, options.interval)
    if any(reads) or options.flows or options.doctor or options.redact:
        raise UsageError("--show reads a file: it takes no option but --json")
    from natscope.render.bundle import summary_json, summary_text
    from natscope.sources.bundle import load

    bundle = load(options.file)
    if options.json:
        output.write(summary_json(bundle))
    else:
        output.write(summary_text(bundle).encode())
    return ExitCode.DONE


def _collected(options: argparse.Namespace) -> Bundle:
    from natscope import __version__
    from natscope.sources.bundle import collect

    if options.doctor:
        bundle = replace(_measured(options), natscope=__version__)
    else:
        bundle = replace(collect(options.netns), natscope=__version__)
        if options.flows:
            bundle = _with_flows(bundle, options.netns)
    if options.redact:
        import secrets

        from natscope.views.redaction import redacted

        # the key is thrown away: nobody can ask it for the addresses
        bundle = redacted(bundle, secrets.token_bytes(32))
    return bundle


def _measured(options: argparse.Namespace) -> Bundle:
    """All that a diagnosis looks at."""
    from natscope.cli.doctor import interval_s
    from natscope.sources.snapshot import collect

    bundle, table = collect(options.netns, interval_s(options))
    return bundle if table is None else _holding(bundle, table)


def _with_flows(bundle: Bundle, netns: str | None) -> Bundle:
    from natscope.sources.kernel import Kernel

    try:
        with Kernel(netns, wire=diagnostics.wire()) as kernel:
            table = kernel.table()
    except NatscopeError as error:
        return replace(bundle, missing=(*bundle.missing, f"flows: {error}"))
    return _holding(bundle, table)


def _holding(bundle: Bundle, table: FlowTable) -> Bundle:
    from natscope.codec import flowcolumns

    return replace(bundle, flows=flowcolumns.pack(table))


def _write(file: str, bundle: Bundle) -> None:
    from natscope.codec.bundle import encode

    if file == "-":
        output.write(encode(bundle))
        return
    from natscope.sources import journal

    # mode 0600, whole or not at all; an OSError names the file: guarded() says it
    data = encode(bundle, compressed=file.endswith(".gz"))
    journal.write(Path(file), [data])


def _told(bundle: Bundle) -> str:
    """What was collected, in words."""
    numbers = {
        "link": len(bundle.links),
        "route": len(bundle.routes),
        "ip rule": len(bundle.rules),
        "setting": len(bundle.sysctls),
        "ruleset": len(bundle.rulesets),
    }
    if bundle.flows is not None:
        numbers["flow"] = bundle.flows.count
    parts = (
        f"{number} {noun}{'s' * (number != 1)}" for noun, number in numbers.items()
    )
    return f"collected {', '.join(parts)}"
