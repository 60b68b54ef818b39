"""Collect a bundle from a live box, with the programs every box has.

Each part is optional: what is not installed or not permitted is named in
``missing``.  Nothing is changed: no module is loaded, no table made for the asking.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from natscope.codec import ipjson
from natscope.codec.bundle import decode
from natscope.codec.text import loaders
from natscope.errors import DecodeError, NatscopeError
from natscope.model.bundle import (
    Bundle,
    Ruleset,
    Tool,
)
from natscope.model.ipversion import Family
from natscope.sources import tools, whole
from natscope.sources.netns import open_namespace

_SYSCTLS = Path("/proc/sys")
_PROC = Path("/proc/thread-self")
_IP = ("ip", "-N", "-j")
_ALL_ROUTES = ("route", "show", "table", "all")
_CHOSEN = (
    "net/ipv4/ip_forward",
    "net/ipv4/ip_forward_use_pmtu",
    "net/ipv4/ip_default_ttl",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/ip_early_demux",
    "net/ipv4/fwmark_reflect",
    "net/ipv4/tcp_fwmark_accept",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/fib_multipath_hash_fields",
    "net/ipv4/vs/conn_reuse_mode",
    "net/ipv4/vs/conntrack",
    "net/ipv6/fwmark_reflect",
    "net/ipv6/ip_nonlocal_bind",
    "net/ipv6/fib_multipath_hash_policy",
    "net/ipv6/fib_multipath_hash_fields",
    # of the host: what is lost before or after a packet is decided about
    "net/core/netdev_max_backlog",
    "net/core/rmem_max",
)
"""Settings that decide about a packet, beside those of an interface."""
_WHOLE = (
    ("net/ipv4", "icmp_*"),
    ("net/ipv6/icmp", "*"),
    ("net/netfilter", "nf_conntrack_*"),
    ("net/netfilter", "nf_hooks_lwtunnel"),
    ("net/netfilter/nf_log", "*"),
    ("net/bridge", "bridge-nf-*"),
)
"""Directories, and the names of which all are read."""
_OF_INTERFACES = {
    "net/ipv4/conf": (
        "forwarding",
        "rp_filter",
        "accept_local",
        "route_localnet",
        "src_valid_mark",
        "accept_source_route",
        "log_martians",
        "proxy_arp",
        "arp_ignore",
        "arp_filter",
        "bc_forwarding",
        "send_redirects",
        "ignore_routes_with_linkdown",
    ),
    "net/ipv6/conf": (
        "forwarding",
        "force_forwarding",  # from Linux 6.17 on, also where all/forwarding is 0
        "disable_ipv6",
        "accept_ra",
        "accept_source_route",
        "proxy_ndp",
        "ignore_routes_with_linkdown",
    ),
}
_COUNTERS = ("net/snmp", "net/snmp6", "net/netstat", "net/stat/nf_conntrack")
_IP_FAMILIES: dict[int, Family] = {4: "inet", 6: "inet6"}
_LEGACY: dict[str, tuple[str, Tool]] = {
    "net/ip_tables_names": ("iptables", "iptables-legacy"),
    "net/ip6_tables_names": ("ip6tables", "ip6tables-legacy"),
}
_XFRM = "6"
"""NETLINK_XFRM: the kernel has a socket of its own for it."""
_IPSET_MODULE = Path("/sys/module/ip_set")
"""ipset(8) would load it; without it there is no set."""

RULES = "nftables and iptables-nft"
"""What ``missing`` begins with where the rules could not be read."""

Part = TypeVar("Part", covariant=True)


class _ParseOf(Protocol[Part]):
    """Reads what ip(8) prints of one family."""

    def __call__(self, text: str, family: Family) -> tuple[Part, ...]: ...


def collect(netns: str | None = None) -> Bundle:
    """What a network namespace is, as far as packets notice.

    Flows are not collected: ``sources.kernel.Kernel`` reads them.

    Args:
        netns: name, process id or path; None is the calling thread's.

    Raises:
        NamespaceError: no such namespace, or not permitted.
    """
    if netns is None:
        return _Collector().bundle()
    with open_namespace(netns) as namespace, namespace.enter():
        return _Collector().bundle()


def load(path: str | Path) -> Bundle:
    """The bundle a file holds; ``-`` is stdin.

    Raises:
        NatscopeError: it cannot be read, or holds none; the message says which member
            is wrong.
    """
    data = whole.read(path)
    try:
        return decode(data)
    except DecodeError as error:
        raise NatscopeError(
            f"{path}: {error}", hint="natscope bundle FILE writes bundles"
        ) from error


@dataclass
class _Collector:
    """Reads part by part, and keeps what could not be read."""

    missing: list[str] = field(default_factory=list)

    def bundle(self) -> Bundle:
        """All of it."""
        box = os.uname()
        links = self._ip("addresses", ("-d", "addr"), ipjson.parse_links)
        rules = self._rulesets()
        self._miss_policies()
        return Bundle(
            made_ns=time.time_ns(),
            hostname=box.nodename,
            kernel=box.release,
            tools=_versions(rules),
            links=links,
            routes=self._of_both(
                ("route", "show", "table", "all"), ipjson.parse_routes
            ),
            rules=self._of_both(("rule",), ipjson.parse_rules),
            neighbours=self._ip("neighbours", ("neigh",), ipjson.parse_neighbours),
            sysctls=dict(_settings()),
            rulesets=tuple(rules),
            counters=dict(_texts(_PROC, _COUNTERS)),
            missing=tuple(self.missing),
        )

    def _of_both(
        self,
        words: tuple[str, ...],
        parse: _ParseOf[Part],
    ) -> tuple[Part, ...]:
        """A part that ip(8) tells of each family apart."""
        found: tuple[Part, ...] = ()
        for number, family in _IP_FAMILIES.items():
            what = f"IPv{number} {words[0]}s"
            parsed = partial(parse, family=family)
            found += self._ip(what, (f"-{number}", "-d", *words), parsed)
        return found

    def _ip(
        self,
        what: str,
        words: tuple[str, ...],
        parse: Callable[[str], tuple[Part, ...]],
    ) -> tuple[Part, ...]:
        text = self._told(what, (*_IP, *words))
        try:
            return () if text is None else parse(text)
        except DecodeError as error:
            self._miss(what, error)
            return ()

    def _rulesets(self) -> list[Ruleset]:
        """Sets first, for rules name them; then tables in the order of the kernel."""
        return [*self._ipsets(), *self._legacy(), *self._tables()]

    def _tables(self) -> list[Ruleset]:
        try:
            listed, warnings = tools.told(("nft", "-y", "-a", "list", "ruleset"))
        except NatscopeError as error:
            self._miss(RULES, error)
            return []
        found = loaders.split_tables(listed, warnings)
        saved = {}
        for table in filter(loaders.needs_iptables, found):
            program = "iptables" if table.family == "ip" else "ip6tables"
            what = f"table {table.family} {table.name}, made by iptables-nft"
            text = self._told(what, (f"{program}-nft-save", "-c", "-t", table.name))
            if text is not None:
                saved[table.key] = loaders.undated(text)
        arranged, lost = loaders.arranged(found, saved)
        self.missing += lost
        return arranged

    def _legacy(self) -> list[Ruleset]:
        found = []
        for path, (program, tool) in _LEGACY.items():
            for table in self._legacy_tables(path):
                what = f"table {table} of {tool}"
                words = (f"{program}-legacy-save", "-c", "-t", table)
                text = self._told(what, words)
                if text is not None:
                    found.append(Ruleset(tool, loaders.undated(text)))
        return found

    def _legacy_tables(self, path: str) -> list[str]:
        """Those that exist: to ask for another would make it."""
        try:
            return (_PROC / path).read_text().split()
        except FileNotFoundError:
            return []  # iptables-legacy is not in this kernel, or was never used
        except OSError as error:
            self._miss(f"/proc/{path}", error)
            return []

    def _ipsets(self) -> list[Ruleset]:
        if not _IPSET_MODULE.exists() or tools.find("ipset") is None:
            return []
        text = self._told("ipsets", ("ipset", "save"))
        return [Ruleset("ipset", text)] if text else []

    def _miss_policies(self) -> None:
        """Say that IPsec decides too, if it does: no bundle holds its policies."""
        try:
            sockets = (_PROC / "net/netlink").read_text().splitlines()[1:]
            if _XFRM not in {line.split()[1] for line in sockets}:
                return  # to ask would load the module
            found = tools.run(("ip", "xfrm", "policy"))
        except (OSError, NatscopeError):
            return  # not permitted: the rulesets are missing then, which is said
        count = sum(line.startswith("src ") for line in found.splitlines())
        if count:
            self.missing.append(f"IPsec policies (ip xfrm policy): {count}")

    def _told(self, what: str, words: tuple[str, ...]) -> str | None:
        """What a program prints; None, and a word about it, where it cannot."""
        try:
            return tools.told(words)[0]
        except NatscopeError as error:
            self._miss(what, error)
            return None

    def _miss(self, what: str, error: Exception) -> None:
        said = error.strerror if isinstance(error, OSError) else None
        why = "; ".join((said or str(error)).splitlines())
        hint = getattr(error, "hint", None)
        self.missing.append(f"{what}: {why}" + (f" ({hint})" if hint else ""))


def _settings() -> Iterator[tuple[str, str]]:
    """The sysctls that decide about a packet, of the thread's namespace."""
    yield from _texts(_SYSCTLS, _CHOSEN)
    for directory, pattern in _WHOLE:
        found = sorted(path.name for path in (_SYSCTLS / directory).glob(pattern))
        yield from _texts(_SYSCTLS, (f"{directory}/{name}" for name in found))
    for directory, chosen in _OF_INTERFACES.items():
        try:
            names = sorted(path.name for path in (_SYSCTLS / directory).iterdir())
        except OSError:
            continue  # the kernel has no such family
        for name in names:
            paths = (f"{directory}/{name}/{setting}" for setting in chosen)
            yield from _texts(_SYSCTLS, paths)


def _texts(place: Path, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The files that can be read, by path."""
    for path in paths:
        try:
            text = (place / path).read_text()
        except (OSError, UnicodeDecodeError):
            continue  # another kernel's, or root's alone: a setting unknown
        yield path, text.removesuffix("\n")


def _versions(rules: list[Ruleset]) -> dict[str, str]:
    """What the programs that were asked say of themselves."""
    asked = {"ip", "nft", *(ruleset.tool for ruleset in rules)}
    found = {}
    for name in sorted(asked):
        try:
            found[name] = tools.told((name, "-V" if name == "ip" else "--version"))[0]
        except NatscopeError:
            continue  # said already, by the part that needed it
    return {name: text.partition("\n")[0].strip() for name, text in found.items()}
