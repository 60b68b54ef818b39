"""Why and where the kernel dropped a packet, in words.

Reasons are enum skb_drop_reason (net/dropreason-core.h), which grows with every
release and whose numbers move: their names come from the running kernel's BTF.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

_KALLSYMS = Path("/proc/kallsyms")
_PREFIX = "SKB_DROP_REASON_"
_CODE = frozenset("tT")
_WEAK = frozenset("wW")


class Reasons:
    """Names of drop reasons, by the numbers of enum skb_drop_reason."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names

    def name(self, reason: int) -> str:
        """A reason's name without its prefix; an unknown one is ``REASON<n>``."""
        found = self._names.get(reason, f"REASON{reason}")
        return found.removeprefix(_PREFIX)


class Symbols:
    """The functions of the running kernel, read when the first is asked for."""

    def __init__(self, path: Path = _KALLSYMS) -> None:
        self._path = path

    def name(self, address: int) -> str | None:
        """``nft_do_chain+0x5ad``; None where kptr_restrict hides addresses."""
        addresses, names = self._table
        at = bisect_right(addresses, address) - 1
        if at < 0 or not addresses[at]:
            return None
        return f"{names[at]}+{address - addresses[at]:#x}"

    @cached_property
    def _table(self) -> tuple[list[int], list[str]]:
        found = []
        for line in self._path.read_text().splitlines():
            address, kind, name = line.split(maxsplit=3)[:3]
            if kind in _CODE or kind in _WEAK:
                found.append((int(address, 16), name))
        found.sort()
        return [address for address, _ in found], [name for _, name in found]
