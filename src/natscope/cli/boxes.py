"""Which box a rehearsal is about: this one, one in a bundle, or one in files."""

from __future__ import annotations

import argparse
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics
from natscope.cli.diagnostics import UsageError
from natscope.errors import DecodeError, NatscopeError

if TYPE_CHECKING:
    from natscope.model.bundle import Bundle, Family, Link, Route, Ruleset
    from natscope.rehearse.twin import Twin

_FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}
_SAVED_V6 = re.compile(
    r"icmpv6|icmp6|ip6tables|(?<![\w:])[0-9a-f]{1,4}::?[0-9a-f:]*[/ ]"
)


def bundle(options: argparse.Namespace) -> Bundle:
    """The box the options mean.

    Raises:
        UsageError: they contradict each other.
        NatscopeError: a file cannot be read, or is not what it should be.
    """
    if options.bundle is not None and (options.ip or options.netns):
        raise UsageError("--bundle has a box of its own: leave --ip and --netns out")
    if options.bundle is not None:
        found = read(options.bundle)
    elif options.ip:
        found = _of_files(options.ip)
    else:
        found = _live(options)
    if options.rules is not None:
        found = replace(found, rulesets=rulesets(options.rules))
    return found


def read(path: str) -> Bundle:
    """A bundle from its file.

    Raises:
        NatscopeError: it cannot be read, or is none.
    """
    from natscope.codec import bundle

    try:
        return bundle.decode(_bytes(path))
    except DecodeError as error:
        raise NatscopeError(
            f"{path}: {error}", hint="natscope bundle FILE writes bundles"
        ) from error


def rulesets(path: str) -> tuple[Ruleset, ...]:
    """Rules from a file: of nft, or what iptables-save printed.

    Raises:
        NatscopeError: it cannot be read.
    """
    from natscope.model.bundle import Ruleset

    text = _bytes(path).decode(errors="surrogateescape")
    if not re.search(r"^\*\w+\s*$", text, re.MULTILINE):
        return (Ruleset("nft", text),)
    if _SAVED_V6.search(text):
        return (Ruleset("ip6tables-nft", text),)
    return (Ruleset("iptables-nft", text),)


def _live(options: argparse.Namespace) -> Bundle:
    from natscope.sources.bundle import collect

    found = collect(options.netns)
    if options.rules is not None:
        return found
    for words in found.missing:
        diagnostics.note(f"natscope: not read: {words}")
    return found


def _of_files(paths: list[str]) -> Bundle:
    from natscope import __version__
    from natscope.codec import ipjson
    from natscope.model.bundle import Bundle

    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    for path in paths:
        text = _bytes(path).decode(errors="surrogateescape")
        try:
            if '"ifname"' in text:
                links += ipjson.parse_links(text)
            else:
                routes += _routes(text)
        except (DecodeError, ValueError, AttributeError) as error:
            raise NatscopeError(
                f"{path}: {error}",
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


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NatscopeError(f"{path}: {error.strerror or error}") from error


def put_flows(options: argparse.Namespace, bundle: Bundle, twin: Twin) -> None:
    """With --flows, have the twin know the flows the box has open.

    Raises:
        NatscopeError: the bundle has none, or the table cannot be read.
    """
    if not options.flows:
        return
    if options.bundle is None:
        from natscope.sources.kernel import Kernel

        with Kernel(options.netns) as kernel:
            table = kernel.table()
    else:
        from natscope.sources.files import Listing

        if bundle.flows is None:
            raise NatscopeError(
                f"{options.bundle} has no flows", hint="natscope bundle --flows FILE"
            )
        table = Listing(io.StringIO("\n".join(bundle.flows))).table()
    refused = twin.insert(table)
    if refused:
        diagnostics.note(f"natscope: {refused} of {len(table)} flows were not taken")
