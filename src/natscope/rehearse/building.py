"""Build a box again: its links, settings, addresses, routes and rulesets.

Every link becomes a veth pair whose other end is in the world, whatever it was: what
arrives by it and leaves by it is what a rehearsal is about.  A vrf alone is made as
one, since it decides about routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from natscope.codec import iproute
from natscope.model.bundle import Bundle, Link
from natscope.rehearse import loading, positions
from natscope.rehearse.private import WORLD, WORLD_PATH, Private

LOOPBACK = "lo"
_GLOBAL = re.compile(r"nf_conntrack_(max|buckets|expect_max|count)$|/nf_log/")
"""Settings no namespace of one's own has."""
_QUIET = {
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
    "net/ipv6/conf/default/mc_forwarding": "0",
    "net/ipv4/icmp_ratemask": "0",
    "net/ipv6/icmp/ratelimit": "0",
}
"""The twin's links are new; it shall not greet its neighbours.  And it answers every
packet it rejects: the limits of a box are taken as unspent (icmpv4_xrlim_allow)."""
_KEPT_QUIET = re.compile(
    r"net/ipv6/conf/[^/]+/(accept_dad|addr_gen_mode|accept_ra|router_solicit.*)$|"
    r"net/ipv4/icmp_rate|net/ipv6/icmp/rate"
)


def build(private: Private, bundle: Bundle) -> list[str]:
    """Make the private namespace do as the box does.

    Returns:
        What could not be made the same, in words.

    Raises:
        MissingTool: ip(8), or what loads a ruleset, is not installed.
        NatscopeError: a ruleset cannot be loaded.
    """
    # nobody there: no router is asked for
    with suppress(OSError):  # a kernel without IPv6
        private.write("net/ipv6/conf/default/disable_ipv6", "1", WORLD)
    for path, value in _QUIET.items():
        _set(private, path, value)
    batch = [f"link set {LOOPBACK} up", *_links(bundle)]
    private.run(["ip", "-batch", "-"], "\n".join(batch) + "\n")
    world = [f"link set dev {link.name} arp off up" for link in _made(bundle)]
    private.run(["ip", "-batch", "-"], "\n".join(world) + "\n", WORLD)
    _settings(private, bundle)
    for words, lines in (
        (["ip"], iproute.commands(bundle)),
        (["ip", "-6"], iproute.inet6_commands(bundle)),
    ):
        if lines:
            private.run([*words, "-batch", "-"], "\n".join(lines) + "\n")
    private.run(["nft", "-f", "-"], positions.ruleset())
    for ruleset in bundle.rulesets:
        loading.load(private, ruleset)
    return list(_missing(bundle))


def _missing(bundle: Bundle) -> Iterator[str]:
    """What of the box cannot be made again, in words."""
    for rule in bundle.rules:
        if rule.unknown:
            family = "IPv4" if rule.family == "inet" else "IPv6"
            asks = ", ".join(rule.unknown)
            yield f"{family} rule {rule.priority}: it asks for {asks}"
    for route in bundle.routes:
        if route.encap is not None:
            yield f"route {route.dst}: what it adds to packets ({route.encap})"


def _made(bundle: Bundle) -> Iterator[Link]:
    """The links that are made as veth pairs."""
    for link in bundle.links:
        if link.name != LOOPBACK and link.kind != "vrf":
            yield link


def _links(bundle: Bundle) -> Iterator[str]:
    vrfs = {link.name for link in bundle.links if link.kind == "vrf"}
    for link in bundle.links:
        if link.name in vrfs:
            yield f"link add name {link.name} type vrf table {link.vrf_table or 0}"
            yield f"link set dev {link.name} up"
    for link in _made(bundle):
        mac = f" address {link.mac}" if link.mac else ""
        mtu = min(max(link.mtu, 68), 65535)
        yield (
            f"link add name {link.name} mtu {mtu}{mac} type veth "
            f"peer name {link.name} mtu {mtu} netns {WORLD_PATH}"
        )
        if link.master in vrfs:
            yield f"link set dev {link.name} master {link.master}"
        group = f" group {link.group}" if link.group else ""
        yield f"link set dev {link.name} arp off{group} {'up' if link.up else 'down'}"


def _settings(private: Private, bundle: Bundle) -> None:
    """The settings of the box; ``all`` and ``default`` come before interfaces."""
    names = {link.name for link in bundle.links}

    def late(path: str) -> bool:
        words = path.split("/")
        return len(words) > 3 and words[2] == "conf" and words[3] in names

    for path in sorted(bundle.sysctls, key=lambda path: (late(path), path)):
        if not _GLOBAL.search(path) and not _KEPT_QUIET.match(path):
            _set(private, path, bundle.sysctls[path])


def _set(private: Private, path: str, value: str) -> None:
    try:
        private.write(path, value)
    except OSError:
        return  # another kernel has it not, or it is the machine's
