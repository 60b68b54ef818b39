"""Stand-ins for addresses: one for one, and prefixes stay prefixes.

Each bit of a public address is turned over or not as a keyed hash of the bits
before it says; so two addresses share as long a prefix afterwards as they did
before (Crypto-PAn: Xu, Fan, Ammar, Moon, ICNP 2002).  What must not move is held:
below a held prefix no bit is turned, and none on the way to a private one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from ipaddress import ip_address, ip_network

from natscope.model.bundle import Network
from natscope.model.ipversion import VERSIONS
from natscope.model.tuples import Address

_PRIVATE = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 "
    "192.168.0.0/16 224.0.0.0/3 ::/8 fc00::/7 fe80::/10 ff00::/8"
)
"""RFC 1918, 6598, 4193; of one host, one link, of many; reserved."""
_TAIL = {4: 8, 6: 16}
"""Last bits that stay, so that short ranges stay ranges."""
_NAT64 = ip_network("64:ff9b::/96")
_MAPPED = ip_network("::ffff:0:0/96")
_LOW_32 = 0xFFFF_FFFF
_MIDDLE = 0xFFFF << 24
_EUI64 = 0xFFFE << 24
_LOCAL_BIT = 0x02 << 40
_GROUP_BIT = 0x01 << 40

Turns = Callable[[int, int, int], int]


class _Tree:
    """The binary tree of all addresses of a family."""

    def __init__(self, version: int, turns: Turns) -> None:
        self._version = version
        self._bits = VERSIONS[version].bits
        self._turns = turns
        self._held: set[tuple[int, int]] = set()
        self._straight: set[tuple[int, int]] = set()
        self._known: dict[tuple[int, int], int] = {}

    def hold(self, prefix: Network, *, with_way: bool = False) -> None:
        """Turn nothing below a prefix; with its way, nothing that leads to it."""
        value, length = int(prefix.network_address), prefix.prefixlen
        self._held.add((length, value >> self._bits - length))
        if with_way:
            ways = {(at, value >> self._bits - at) for at in range(length)}
            self._straight |= ways

    def permuted(self, value: int) -> int:
        """Where an address goes."""
        made = 0
        for depth in range(self._bits - _TAIL[self._version]):
            left = self._bits - depth
            node = (depth, value >> left)
            if node in self._held:
                break
            made |= (value >> left - 1 & 1 ^ self._turned(node)) << left - 1
        else:
            left = _TAIL[self._version]
        return made | value & (1 << left) - 1

    def _turned(self, node: tuple[int, int]) -> int:
        if node in self._straight:
            return 0
        if node not in self._known:
            self._known[node] = self._turns(self._version, *node)
        return self._known[node]


class StandIns:
    """The stand-in of every address under one key.

    Args:
        key: a secret, up to 64 bytes.
        held: prefixes whose host part stays; the prefix itself does not.
    """

    def __init__(self, key: bytes, held: Iterable[Network] = ()) -> None:
        self._key = key
        self._trees = {version: _Tree(version, self._turns) for version in VERSIONS}
        for prefix in map(ip_network, _PRIVATE.split()):
            self._trees[prefix.version].hold(prefix, with_way=True)
        for prefix in held:
            self._trees[prefix.version].hold(prefix)
        self._known: dict[Address, Address] = {}

    def address(self, address: Address) -> Address:
        """The stand-in of an address; a private one's is itself."""
        if address not in self._known:
            self._known[address] = self._new(address)
        return self._known[address]

    def prefix(self, prefix: Network) -> Network:
        """The stand-in of a prefix: what holds the stand-ins of its addresses."""
        first = self.address(prefix.network_address)
        return ip_network(f"{first}/{prefix.prefixlen}", strict=False)

    def mac(self, mac: str) -> str:
        """The stand-in of a MAC address; that of a group, or none, is itself."""
        return _written(self._mac(int(mac.replace(":", ""), 16)))

    def word(self, text: str) -> str:
        """A word in the place of a text, the same for the same text."""
        return self._digest(b"word" + text.encode())[:4].hex()

    def _new(self, address: Address) -> Address:
        value, version = int(address), address.version
        if address in _NAT64 or address in _MAPPED:
            inner = self.address(ip_address(value & _LOW_32))
            return ip_address((value & ~_LOW_32) | int(inner))
        new = self._trees[version].permuted(value)
        if version == 6 and new == value and value & _MIDDLE == _EUI64:
            new = self._with_mac(value)
        return type(address)(new)

    def _with_mac(self, value: int) -> int:
        """An address made of a MAC address (RFC 4291, appendix A), made anew."""
        iid = value & (1 << 64) - 1
        mac = (iid >> 40 << 24 | iid & 0xFF_FFFF) ^ _LOCAL_BIT
        new = self._mac(mac) ^ _LOCAL_BIT
        return value - iid | new >> 24 << 40 | _EUI64 | new & 0xFF_FFFF

    def _mac(self, mac: int) -> int:
        if mac & _GROUP_BIT or mac == 0:
            return mac
        digest = self._digest(b"mac" + mac.to_bytes(6, "big"))
        return int.from_bytes(digest[:6], "big") & ~_GROUP_BIT | _LOCAL_BIT

    def _turns(self, version: int, depth: int, before: int) -> int:
        """1 where the bit after so many others is turned over."""
        node = bytes((version, depth)) + before.to_bytes(16, "big")
        return self._digest(node)[0] & 1

    def _digest(self, data: bytes) -> bytes:
        return blake2b(data, digest_size=8, key=self._key).digest()


def _written(mac: int) -> str:
    return mac.to_bytes(6, "big").hex(":")
