"""Names and numbers for ``netstat-nat``: hosts, services, protocols, networks."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.cli.diagnostics import UsageError
from natscope.errors import NatscopeError

if TYPE_CHECKING:
    from natscope.render.netstat import Names
    from natscope.views.netstat import Lines, Network, Networks

PROTOCOLS_FILE = Path("/etc/protocols")
SERVICES_FILE = Path("/etc/services")

TRACKED = {uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6, *uapi.PORT_PROTOCOLS}
TRACKED |= {uapi.IPPROTO_GRE}
"""Protocols the kernel names in its listing; the others are protocols(5)'s."""


class UnknownHost(NatscopeError):
    """A name that no address belongs to."""


def protocol_names(path: Path = PROTOCOLS_FILE) -> list[str]:
    """The name of each of the 256 protocol numbers; the number where none is."""
    names = [str(number) for number in range(256)]
    for name, number, *_ in reversed(_entries(path)):
        if number.isdigit() and int(number) < len(names):
            names[int(number)] = name
    for tracked in TRACKED:
        names[tracked] = uapi.protocol_name(tracked)
    return names


def protocol_numbers(given: list[str], path: Path = PROTOCOLS_FILE) -> frozenset[int]:
    """The numbers of protocols given by name, in any case, or by number.

    Raises:
        UsageError: no such protocol.
    """
    known = {
        alias.lower(): int(number)
        for name, number, *aliases in _entries(path)
        for alias in (name, *aliases)
        if number.isdigit() and int(number) < 256
    }
    known |= {str(number): number for number in range(256)}
    known |= {n: known.get(n, number) for n, number in uapi.PROTOCOL_NUMBERS.items()}
    for name in given:
        if name.lower() not in known:
            hint = f"a name of {path}, or a number from 0 to 255"
            raise UsageError(f"no protocol {name!r}", hint=hint)
    return frozenset(known[name.lower()] for name in given)


def networks(given: list[str]) -> Networks:
    """The networks and hosts given, names by all of their addresses.

    Raises:
        UnknownHost: neither an address nor a name that resolves.
    """
    return tuple(network for word in given for network in _networks(word))


def _networks(word: str) -> list[Network]:
    try:
        return [ip_network(word.removeprefix("[").removesuffix("]"), strict=False)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(word, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnknownHost(f"Unknown host: {word}") from error
    return [ip_network(str(address[0]).partition("%")[0]) for *_, address in found]


def names_of(found: Lines, *, gateway: bool) -> Names:
    """Names of the hosts and services shown, as far as they come in time."""
    from natscope.render.netstat import Names
    from natscope.sources.names import Resolver
    from natscope.views import netstat

    shown = netstat.addresses(found, gateway=gateway)
    known = Resolver().names(shown.values())
    hosts = {key: known[text] for key, text in shown.items() if text in known}
    wanted = set(netstat.services(found, gateway=gateway))
    every = services()
    return Names(hosts, {pair: every[pair] for pair in wanted & every.keys()})


def services(path: Path = SERVICES_FILE) -> dict[tuple[int, int], str]:
    """services(5) by protocol number and port; the first of equals."""
    found: dict[tuple[int, int], str] = {}
    for name, service, *_ in _entries(path):
        port, _, protocol = service.partition("/")
        number = uapi.PROTOCOL_NUMBERS.get(protocol)
        if number is not None and port.isdigit():
            found.setdefault((number, int(port)), name)
    return found


def _entries(path: Path) -> list[list[str]]:
    """Lines of two words and more, comments left out; none without the file."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return []
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words for words in lines if len(words) >= 2]
