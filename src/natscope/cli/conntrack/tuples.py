"""Options that name exactly one entry, so that no table need be walked."""

from __future__ import annotations

from natscope import uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.cli.conntrack.request import Request
    from natscope.codec.scalar import Cells

_PORTED = uapi.PORT_PROTOCOLS | {uapi.IPPROTO_GRE}
_ICMP_REPLIES = {
    uapi.IPPROTO_ICMP: uapi.ICMP_REPLY_TYPE,
    uapi.IPPROTO_ICMPV6: uapi.ICMPV6_REPLY_TYPE,
}
_COMPARED = frozenset(
    {
        *("reply_src", "reply_dst", "reply_sport", "reply_dport"),
        *("tcp_state", "sctp_state", "dccp_state"),
        *("sctp_vtag_orig", "sctp_vtag_reply"),
    }
)
"""What a flow that its tuple names may be asked for besides."""


def full_tuple(request: Request) -> Cells | None:
    """The tuple and zone the options give, if they are all that is asked.

    The original or else the reply tuple, with ``family`` and ``proto``; None
    if it is not whole, or if a flow must fulfil anything more.  The kernel
    looks a tuple up in either direction, and in zone 0 where none is said:
    :func:`is_entry` tells whether what it found is what was meant.
    """
    return _key(request, frozenset())


def named_entry(request: Request) -> Cells | None:
    """As ``full_tuple``; that flow may have to be of a reply tuple and a state too."""
    return _key(request, _COMPARED)


def _key(request: Request, also: frozenset[str]) -> Cells | None:
    cells = request.cells
    proto = cells.get("proto")
    if proto is None or _asks_more(request):
        return None
    side = "orig" if "orig_src" in cells else "reply"
    needed = {"proto", f"{side}_src", f"{side}_dst", *_beside(side, proto)}
    more = set(cells) - needed - {"zone"}
    if not needed <= set(cells) or not more <= also:
        return None
    key: Cells = {**cells, "family": request.family, "reply_proto": proto}
    if side == "reply" and proto in _ICMP_REPLIES:
        answer = _ICMP_REPLIES[proto].get(key.pop("orig_icmp_type"))
        if answer is None:
            return None  # only requests are tracked
        key["reply_icmp_type"] = answer
        for name in ("icmp_code", "icmp_id"):
            key[f"reply_{name}"] = key.pop(f"orig_{name}")
    return key


def is_entry(key: Cells, found: Cells) -> bool:
    """Whether an entry has the tuple and zone of a key, as the walk compares them."""
    same_zone = found.get("zone", 0) == key.get("zone", 0)
    return same_zone and all(
        found.get(name) == value for name, value in key.items() if name != "zone"
    )


def _asks_more(request: Request) -> bool:
    translations = (request.snat, request.dnat, request.any_nat)
    return bool(
        request.networks
        or request.spans
        or request.labels
        or len(request.states) > 1
        or request.mark is not None
        or "status" in request.given
        or any(one is not None for one in translations)
    )


def _beside(side: str, proto: int) -> tuple[str, ...]:
    """What stands beside the addresses of a protocol's tuple."""
    if proto in _PORTED:
        return (f"{side}_sport", f"{side}_dport")
    if proto in _ICMP_REPLIES:
        return ("orig_icmp_type", "orig_icmp_code", "orig_icmp_id")
    return ()
