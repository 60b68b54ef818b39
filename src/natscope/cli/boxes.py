"""Which box a rehearsal is about: this one, one in a bundle, or one in files."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs
from natscope.cli.diagnostics import UsageError
from natscope.errors import DecodeError, NatscopeError
from natscope.sources import whole

if TYPE_CHECKING:
    from natscope.model.bundle import Bundle, Link, Route, Ruleset
    from natscope.model.ipversion import Family
    from natscope.rehearse.twin import Twin
    from natscope.sources.base import Source

_FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the choice of a box, also of one in files."""
    inputs.add_box_options(group)
    group.add_argument(
        "--rules",
        metavar="FILE",
        help="these rules in place of the box's: of nft, or of iptables-save",
    )
    group.add_argument(
        "--ip",
        metavar="FILE",
        action="append",
        help="these interfaces and routes: what ip -j -d addr and ip -j -d route show "
        "table all print",
    )


def bundle(options: argparse.Namespace) -> Bundle:
    """The box the options mean.

    Raises:
        UsageError: they contradict each other.
        NatscopeError: a file cannot be read, or is not what it should be.
    """
    if options.bundle is not None and (options.ip or options.netns):
        raise UsageError("--bundle has a box of its own: leave --ip and --netns out")
    if options.ip and options.netns:
        raise UsageError("choose one of --ip and --netns")
    if options.bundle is not None:
        from natscope.sources.bundle import load

        found = load(options.bundle)
    elif options.ip:
        found = _of_files(options.ip)
    else:
        from natscope.sources.bundle import collect

        found = collect(options.netns)
    if options.rules is not None:
        return replace(found, rulesets=rulesets(options.rules))
    _see_that_rules_are_there(found)
    return found


def _see_that_rules_are_there(bundle: Bundle) -> None:
    """Say what of a box was not read; without its rules there is no answer.

    Raises:
        NatscopeError: its rules were not.
    """
    from natscope.sources.bundle import RULES

    for words in bundle.missing:
        if words.startswith(RULES):
            raise NatscopeError(
                f"the rules of the box were not read: {words}",
                hint="ask as root; or of what root collects with natscope bundle FILE",
            )
        diagnostics.note(f"natscope: not read: {words}")


def rulesets(path: str) -> tuple[Ruleset, ...]:
    """Rules from a file: of nft, or what iptables-save printed.

    Raises:
        NatscopeError: it cannot be read.
    """
    from natscope.codec.text import loaders
    from natscope.sources import rulefile

    if path == "-":
        return loaders.read(whole.read(path).decode(errors="surrogateescape"))
    return loaders.read(rulefile.read(Path(path)))


def _of_files(paths: list[str]) -> Bundle:
    from natscope import __version__
    from natscope.codec import ipjson
    from natscope.model.bundle import Bundle

    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    for path in paths:
        text = whole.read(path).decode(errors="surrogateescape")
        try:
            if '"ifname"' in text:
                links += ipjson.parse_links(text)
            else:
                routes += _routes(text)
        except (DecodeError, ValueError, RecursionError) as error:
            raise NatscopeError(
                f"{path}: is no JSON of ip(8): {error}",
                hint="ip -j -d addr and ip -j -d route show table all print such files",
            ) from error
    return Bundle(
        made_ns=time.time_ns(),
        natscope=__version__,
        links=links,
        routes=routes,
        sysctls=_FORWARDING,
    )


def _routes(text: str) -> tuple[Route, ...]:
    """What ``ip -j route`` printed; with ``table all`` it tells both families."""
    from natscope.codec import ipjson

    told = json.loads(text)
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise ValueError("a list of routes was expected")
    found: dict[Family, list[object]] = {"inet": [], "inet6": []}
    for one in told:
        ends = (one.get(name) for name in ("dst", "gateway", "prefsrc"))
        is_v6 = any(":" in str(end) for end in ends)
        found["inet6" if is_v6 else "inet"].append(one)
    return tuple(
        route
        for family, objects in found.items()
        for route in ipjson.parse_routes(json.dumps(objects), family)
    )


@contextmanager
def flows(
    bundle: Bundle, *, is_live: bool, netns: str | None = None
) -> Iterator[Source | None]:
    """The flows a box has open: a bundle's, or the kernel's; None: not known.

    Args:
        bundle: the box.
        is_live: it was read from this machine.
        netns: of which namespace.
    """
    if bundle.flows is not None:
        from natscope.sources.bundleflows import BundleFlows

        yield BundleFlows(bundle)
    elif is_live:
        from natscope.sources.kernel import Kernel

        with Kernel(netns, wire=diagnostics.wire()) as kernel:
            yield kernel
    else:
        yield None


def is_live(options: argparse.Namespace) -> bool:
    """Whether the options mean a box of this machine, not of files."""
    return options.bundle is None and not options.ip


@contextmanager
def known_flows(options: argparse.Namespace, bundle: Bundle) -> Iterator[Source]:
    """The flows of the box the options mean.

    Raises:
        NatscopeError: it is of files, and they have none.
    """
    with flows(bundle, is_live=is_live(options), netns=options.netns) as source:
        if source is None:
            from natscope.sources.bundleflows import BundleFlows

            source = BundleFlows(bundle, options.bundle or "a box of --ip")
        yield source


def tell_missing(twin: Twin) -> None:
    """Say what of the box is not in its twin."""
    for words in twin.missing:
        diagnostics.note(f"natscope: not in the twin: {words}")


def put_flows(options: argparse.Namespace, bundle: Bundle, twin: Twin) -> None:
    """With --flows, have the twin know the flows the box has open.

    Raises:
        NatscopeError: the bundle has none, or the table cannot be read.
    """
    if not options.flows:
        return
    with known_flows(options, bundle) as source:
        table = source.table()
    refused = twin.insert(table)
    if refused:
        diagnostics.note(f"natscope: {refused} of {len(table)} flows were not taken")
