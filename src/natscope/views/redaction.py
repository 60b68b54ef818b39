"""A bundle to give away: who it belongs to is hidden, what it does is kept.

Public addresses, MAC addresses, the host name and comments are replaced, the same
by the same, in every part.  Routes and rules match the same packets as before:
see ``views.standins``.  Private addresses and ports stay, and so do names: of
interfaces, tables, chains, sets and log prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from natscope.codec import flowcolumns
from natscope.model.bundle import Bundle, FlowColumns, Link, Neighbour, Network
from natscope.model.measured import Measured
from natscope.model.tuples import Address
from natscope.table.columns import ADDRESS, BY_NAME
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.table.records import address_at
from natscope.views.standins import StandIns

Kind = TypeVar("Kind")

_NARROW = {4: 16, 6: 32}
"""A range or network wider than this identifies nobody; to hold it would show much."""
_HOST = "redacted"
_V4 = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
_V6 = (
    r"(?<![\w:.])[\da-fA-F]{0,4}:[\da-fA-F]{0,4}:[\da-fA-F:]*"
    r"(?:\d+(?:\.\d+){3})?(?![\w:])"
)
_MAC = r"(?<![\w:])[\da-fA-F]{2}(?::[\da-fA-F]{2}){5}(?![\w:])"
_COMMENT = re.compile(r'(--comment |\bcomment (?="))("(?:[^"\\\n]|\\.)*"|[^\s"]+)')
_ANY = re.compile(
    rf"(?P<first>{_V4}|{_V6})-(?P<last>{_V4}|{_V6})"
    rf"|(?P<mac>{_MAC})|(?P<one>{_V4}|{_V6})(?P<length>/\d{{1,3}}(?!\w))?"
)


def redacted(bundle: Bundle, key: bytes) -> Bundle:
    """The same box under other addresses.

    Args:
        bundle: what to hide.
        key: a secret, up to 64 bytes.  The same key gives the same stand-ins, and
            who has it can find out the addresses.
    """
    texts = [ruleset.text for ruleset in bundle.rulesets]
    hidden = _Hidden(StandIns(key, [*_own_networks(bundle), *_ranges(texts)]))
    return replace(
        bundle,
        hostname=None if bundle.hostname is None else _HOST,
        links=hidden.value(bundle.links),
        routes=hidden.value(bundle.routes),
        rules=hidden.value(bundle.rules),
        neighbours=hidden.value(bundle.neighbours),
        rulesets=tuple(
            replace(ruleset, text=hidden.text(ruleset.text))
            for ruleset in bundle.rulesets
        ),
        flows=hidden.flows(bundle.flows),
        missing=tuple(map(hidden.text, bundle.missing)),
        measured=hidden.measured(bundle.measured),
        is_redacted=True,
    )


def _own_networks(bundle: Bundle) -> Iterator[Network]:
    """IPv4 networks the box is in: the last address of each is its broadcast."""
    for link in bundle.links:
        for address in link.addresses:
            end = address.peer or address.local
            if end.version == 4 and address.prefix >= _NARROW[4]:
                yield ip_network(f"{end}/{address.prefix}", strict=False)


def _ranges(texts: list[str]) -> Iterator[Network]:
    """The narrowest prefix around each range of addresses, unless it is wide."""
    for text in texts:
        for found in _ANY.finditer(text):
            if found["first"]:
                prefix = _around(found["first"], found["last"])
                if prefix is not None:
                    yield prefix


def _around(first: str, last: str) -> Network | None:
    low, high = _parsed(first), _parsed(last)
    if low is None or high is None or low.version != high.version:
        return None
    length = low.max_prefixlen - (int(low) ^ int(high)).bit_length()
    if length < _NARROW[low.version]:
        return None
    return ip_network(f"{low}/{length}", strict=False)


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


class _Hidden:
    """Puts stand-ins into records and texts."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins

    def value(self, value: Kind) -> Kind:
        """The same record, or tuple of them, with stand-ins for what it names."""
        return self._value(value)  # type: ignore[return-value]

    def _value(self, value: object) -> object:
        if isinstance(value, IPv4Address | IPv6Address):
            return self._stand_ins.address(value)
        if isinstance(value, IPv4Network | IPv6Network):
            return self._stand_ins.prefix(value)
        if isinstance(value, tuple):
            return tuple(map(self._value, value))
        if not is_dataclass(value) or isinstance(value, type):
            return value
        new = {one.name: self._value(getattr(value, one.name)) for one in fields(value)}
        if isinstance(value, Link | Neighbour) and value.mac is not None:
            new["mac"] = self._stand_ins.mac(value.mac)
        return replace(value, **new)

    def flows(self, flows: FlowColumns | None) -> FlowColumns | None:
        """Flows between stand-ins.

        Raises:
            DocumentError: they are not what the format says.
        """
        if flows is None:
            return None
        table = flowcolumns.unpack(flows)
        data = {
            name: self._addresses(table, name)
            if BY_NAME[name].unit == ADDRESS
            else table[name]
            for name in table.columns
        }
        return flowcolumns.pack(FlowTable(data, table.present))

    def _addresses(self, table: FlowTable, name: str) -> NDArray[np.uint64]:
        """A column of addresses; the stand-in of each is asked for once."""
        words, family = table[name], table["family"]
        first, of_row = group_rows([*words.T, family], len(table))
        new = np.zeros((len(first), 2), np.uint64)
        pairs = zip(family[first].tolist(), words[first].tolist(), strict=True)
        for at, (version, pair) in enumerate(pairs):
            hidden = int(self._stand_ins.address(address_at(version, *pair)))
            new[at] = divmod(hidden, 1 << 64)
        return new[of_row]

    def measured(self, measured: Measured | None) -> Measured | None:
        """Readings without what names anybody: counters name nobody."""
        if measured is None:
            return None
        log = measured.log
        return replace(
            measured,
            listeners=self.value(measured.listeners),
            ports_before=self.value(measured.ports_before),
            log=None if log is None else tuple(map(self.text, log)),
            missing=tuple(map(self.text, measured.missing)),
        )

    def text(self, text: str) -> str:
        """A text with stand-ins for the addresses and comments in it."""
        return _ANY.sub(self._found, _COMMENT.sub(self._comment, text))

    def _comment(self, found: re.Match[str]) -> str:
        return f'{found[1]}"{self._stand_ins.word(found[2].strip(chr(34)))}"'

    def _found(self, found: re.Match[str]) -> str:
        if found["mac"]:
            return self._stand_ins.mac(found["mac"])
        if found["one"]:
            return self._one(found["one"], found["length"] or "")
        if _around(found["first"], found["last"]) is None:
            return found[0]
        return f"{self._one(found['first'])}-{self._one(found['last'])}"

    def _one(self, text: str, length: str = "") -> str:
        address = _parsed(text)
        if address is None:
            return text + length
        try:
            prefix = ip_network(text + length)
        except ValueError:
            # host bits are set, or it is no prefix at all
            return f"{self._stand_ins.address(address)}{length}"
        stand_in = self._stand_ins.prefix(prefix).network_address
        return f"{stand_in}{length}"
