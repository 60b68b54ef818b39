"""The table that has packets traced: its rules for a filter, as nft(8) reads them.

At the begin and the end of each hook stands a chain, so that the trace tells the
headers there: before conntrack, after NAT, behind routing.  Packets are chosen by
their own header before anything else, and by the tuples of their entry as soon as
conntrack has found it: translated ones too, both directions.  More are chosen than
are meant, never fewer of what can be told at that place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from itertools import product

from natscope import uapi
from natscope.model.ipversion import FAMILIES, IPV4, IpVersion
from natscope.trace.needles import AddressNeedle, Needles

FIRST, TRACKED, LAST = -500, -199, 500
"""Before defragmentation (-400), after conntrack (-200), after source NAT (100)."""
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_ENTRIES = ("prerouting", "output")
"""Where a packet begins its way."""
END = "_end"
_PER_SECOND, _BURST = 1000, 200
"""A traced packet costs some microseconds; a flood of them must not cost the box."""
_MOST = 64
"""More rules than this, and the ports are left to the filter."""
_PORTS = ", ".join(map(str, sorted(uapi.PORT_PROTOCOLS)))
_UNTRANSLATED = (
    "ct state != related "
    f"ct status & {uapi.Status.SRC_NAT | uapi.Status.DST_NAT:#x} == 0x0 return",
)
"""Such a flow's tuples are its packets' headers, which have been looked at; but not
those of an ICMP error about it, which is related."""
_HEADER = ("",)
_TUPLES = ("ct original ", "ct reply ")


def ruleset(name: str, wanted: Needles) -> str:
    """The table, which natscope alone may touch."""
    limit = f"limit rate {_PER_SECOND}/second burst {_BURST} packets"
    chains = [_chain("traced", [f"{limit} meta nftrace set 1"])]
    for hook in _HOOKS:
        begin = list(matches(wanted, _HEADER)) if hook in _ENTRIES else []
        chains.append(_base(hook, hook, FIRST, begin))
        if hook in _ENTRIES:
            tracked = list(matches(wanted, _TUPLES))
            chains.append(
                _base(f"{hook}_tracked", hook, TRACKED, tracked, _UNTRANSLATED)
            )
        chains.append(_base(f"{hook}{END}", hook, LAST, []))
    return f"table inet {name} {{\n{''.join(chains)}}}\n"


def matches(wanted: Needles, ends: tuple[str, ...]) -> Iterator[str]:
    """What a packet must match, an alternative each; an empty one is any packet.

    Args:
        wanted: what the filter asks of a packet.
        ends: prefixes of an expression: of the packet's own header, or of both
            tuples of its entry.
    """
    if all(wanted.is_empty(family) for family in wanted.families):
        # every packet is chosen by its header, none is left for conntrack
        if ends == _HEADER:
            known = len(wanted.families) == 1
            yield f"meta nfproto {FAMILIES[wanted.families[0]].ipv}" if known else ""
        return
    for family in wanted.families:
        yield from _of_family(wanted, family, ends)


def _of_family(wanted: Needles, family: int, ends: tuple[str, ...]) -> Iterator[str]:
    ip = FAMILIES[family]
    parts = [f"meta nfproto {ip.ipv}"]
    if wanted.protocols:
        parts.append(f"meta l4proto {{ {', '.join(map(str, wanted.protocols))} }}")
    groups = [_addresses(group, ip, ends) for group in wanted.of(family)]
    ports = [_ports(group, ends) for group in wanted.ports]
    count = 1
    for group in (*groups, *ports):
        count *= len(group)
    if count > _MOST:
        ports = []
    for chosen in product(*groups, *ports):
        yield " ".join((*parts, *chosen))


def _addresses(
    group: Iterable[AddressNeedle], ip: IpVersion, ends: tuple[str, ...]
) -> list[str]:
    networks: list[str] = []
    masked: list[AddressNeedle] = []
    for needle in group:
        length = needle.mask.bit_count()
        if needle.mask == (1 << ip.bits) - (1 << ip.bits - length):
            networks.append(f"{_address(needle.value, ip.bits)}/{length}")
        else:
            masked.append(needle)
    found = []
    for prefix, side in product(ends, ("saddr", "daddr")):
        what = f"{prefix}{ip.nft} {side}"
        if networks:
            found.append(f"{what} {{ {', '.join(_merged(networks, ip))} }}")
        for one in masked:
            mask, value = (_address(n, ip.bits) for n in (one.mask, one.value))
            found.append(f"{what} & {mask} == {value}")
    return found


def _address(number: int, bits: int) -> str:
    return str(ip_address(number.to_bytes(bits // 8, "big")))


def _merged(networks: list[str], ip: IpVersion) -> list[str]:
    """Without overlaps, which no set of nft's may have."""
    if ip is IPV4:
        return [str(one) for one in collapse_addresses(map(IPv4Network, networks))]
    return [str(one) for one in collapse_addresses(map(IPv6Network, networks))]


def _ports(spans: Iterable[tuple[int, int]], ends: tuple[str, ...]) -> list[str]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    told = ", ".join(
        f"{low}-{high}" if low < high else f"{low}" for low, high in merged
    )
    return [
        f"th {side}port {{ {told} }}"
        if not prefix
        # nft asks for the protocol before it takes the port of a tuple
        else f"meta l4proto {{ {_PORTS} }} {prefix}proto-{word} {{ {told} }}"
        for prefix, (side, word) in product(ends, (("s", "src"), ("d", "dst")))
    ]


def _base(
    name: str,
    hook: str,
    priority: int,
    rules: list[str],
    before: Iterable[str] = (),
) -> str:
    """A base chain whose rules have packets traced, if ``before`` lets them through."""
    header = f"type filter hook {hook} priority {priority}; policy accept;"
    jumps = [f"{rule} jump traced".strip() for rule in rules]
    return _chain(name, [header, *(before if rules else ()), *jumps])


def _chain(name: str, lines: Iterable[str]) -> str:
    body = "".join(f"\t\t{line}\n" for line in lines)
    return f"\tchain {name} {{\n{body}\t}}\n"
