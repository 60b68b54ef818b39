"""natscope's own chains in a twin: they set the trace, and see packets pass.

At the end of each hook stands an empty one, so that the trace tells the headers after
conntrack, NAT and routing.  What is delivered is dropped where nothing comes after:
the twin has no programs, and shall not answer that nobody listens.
"""

from __future__ import annotations

from natscope.model.journey import OWN_TABLES
from natscope.rehearse.wires import PRIORITY, SENDER, UNTRACED

TABLE = f"{OWN_TABLES}twin"
FIRST, LAST = -500, 500
"""Before defragmentation (-400), after source NAT (100) and before confirmation."""
_DELIVERED = (1 << 31) - 1
"""Of confirmation; made before it, a chain of this priority comes after it
(nf_hook_entries_grow)."""
_MASK = "ff:ff:00:00:00:00"


def ruleset() -> str:
    """The table, for nft(8): to be loaded before any other."""
    into = [
        f'iif != "lo" ether saddr & {_MASK} != {_first(UNTRACED)} meta nftrace set 1',
        # the mark a packet comes with, which no wire carries; as its bytes are
        f"ether saddr & {_MASK} {{ {_first(SENDER)}, {_first(UNTRACED)} }} "
        "meta mark set @ll,64,32",
    ]
    out = [
        f"meta priority {PRIORITY >> 16:x}:{PRIORITY & 0xFFFF:x} meta nftrace set 1",
    ]
    chains = [
        _chain("prerouting", "prerouting", FIRST, into),
        _chain("output", "output", FIRST, out),
        *(
            _chain(f"{hook}_end", hook, LAST, [])
            for hook in ("prerouting", "input", "forward", "output", "postrouting")
        ),
        # of a packet that is not traced, this is told alone
        _chain("delivered", "input", _DELIVERED, ["meta nftrace set 1 drop"]),
    ]
    return f"table inet {TABLE} {{\n{''.join(chains)}}}\n"


def _first(mac: bytes) -> str:
    """The first two bytes of a MAC address; the others are the mark."""
    return f"{mac[:2].hex(':')}:00:00:00:00"


def _chain(name: str, hook: str, priority: int, rules: list[str]) -> str:
    lines = [f"type filter hook {hook} priority {priority}", *rules]
    body = "\n".join(f"  {line}" for line in lines)
    return f" chain {name} {{\n{body}\n }}\n"
