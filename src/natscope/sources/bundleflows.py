"""The flows a bundle holds."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from natscope.codec import flowcolumns
from natscope.codec.bundle import FORMAT
from natscope.errors import DecodeError, NatscopeError
from natscope.model.bundle import Bundle
from natscope.model.evidence import Evidence
from natscope.sources import whole
from natscope.sources.base import Pieces, understood

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.table.flowtable import FlowTable

_BEGINNING = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + re.escape(FORMAT).encode())
_ENOUGH = 256
_GZIP = b"\x1f\x8b"


def is_bundle(path: str | Path) -> bool:
    """Whether a file begins as a bundle does; false if it cannot be read.

    Of stdin, ``-``, what is looked at can still be read.
    """
    try:
        head = _head(path)
        if head.startswith(_GZIP):
            unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            head = unzip.decompress(head, _ENOUGH)
    except (OSError, ValueError, zlib.error):
        return False
    return _BEGINNING.match(head) is not None


def _head(path: str | Path) -> bytes:
    if str(path) == "-":
        return cast("io.BufferedReader", whole.stdin()).peek(_ENOUGH)
    with Path(path).open("rb") as file:
        return file.read(_ENOUGH)


class BundleFlows(Pieces):
    """The flows of a bundle, with the moment, timeouts and addresses of its box.

    Args:
        bundle: the box.
        name: of its file, for messages.

    Raises:
        NatscopeError: it has none.
    """

    lacks: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, name: str = "the bundle") -> None:
        if bundle.flows is None:
            raise NatscopeError(
                f"{name} has no flows", hint="natscope bundle --flows FILE has them"
            )
        self._bundle, self._flows, self._name = bundle, bundle.flows, name

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The flows a filter keeps, as one piece."""
        yield self.table(filter)

    def table(self, filter: Filter | str | None = None) -> FlowTable:
        """The flows a filter keeps; no entry repeats in a bundle.

        Raises:
            NatscopeError: they are not what the format says.
        """
        wanted = understood(filter)
        try:
            table = flowcolumns.unpack(self._flows)
        except DecodeError as error:
            raise NatscopeError(f"{self._name}: {error}") from error
        if wanted is None:
            return table
        return table.mask(wanted.mask(table, self.evidence()))

    def evidence(self) -> Evidence:
        """What the bundle tells of its box."""
        return self._bundle.evidence
