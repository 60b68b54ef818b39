"""Commands about one entry: ``-G``, ``-I``, ``-A``, ``-D`` with a full tuple, ``-C``.

They load little, because scripts run them by the thousand.
"""

from __future__ import annotations

from natscope import uapi
from natscope.actions import entry
from natscope.cli import output
from natscope.cli.conntrack import showing
from natscope.cli.conntrack.tuples import is_entry
from natscope.codec import request as requests
from natscope.errors import KernelError
from natscope.sources.nlsocket import NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.cli.conntrack.request import Request
    from natscope.codec.scalar import Cells


def get(request: Request, key: Cells) -> int | None:
    """Show the entry of a tuple in its zone, zone 0 unless told.

    Returns:
        How many were shown: none if the tuple is that of the entry's other
        direction.  None if there is no entry.
    """
    with NetlinkSocket() as sock:
        found = entry.get(sock, key)
    if found is None:
        return None
    if not is_entry(key, found):
        return 0
    _show(request, [found])
    return 1


def delete(request: Request, key: Cells) -> int:
    """Delete the entries of a tuple, in its zone or in every one; how many."""
    with NetlinkSocket() as sock:
        if "zone" in key:
            one = entry.get(sock, key)
            found = [one] if one is not None and is_entry(key, one) else []
        else:
            found = entry.find(sock, key)
        # by its id, so that a successor of the same tuple is not hit
        gone = [one for one in found if entry.delete(sock, one)]
    _show(request, gone, "destroy")
    return len(gone)


def _show(request: Request, found: list[Cells], event: str | None = None) -> None:
    """``event`` matters to -o save, which writes -D for what is gone."""
    shown = showing.Showing(request)
    for cells in found:
        shown.one(cells, event if "save" in request.output else None)
    shown.end()


def create(request: Request, *, replace: bool) -> int:
    """Make the entry the options describe; how many.

    Raises:
        KernelError: EEXIST, or what else the kernel says.
    """
    with NetlinkSocket() as sock:
        entry.insert(sock, template(request), replace=replace)
    return 1


def count() -> None:
    """Print the number of entries.

    Raises:
        KernelError: from netlink, after the number from /proc was printed.
    """
    from natscope.codec import stats

    try:
        with NetlinkSocket() as sock:
            asked = requests.statistics(seq=sock.next_seq())
            (answer,) = sock.ask(asked, "reading the entry count")
    except KernelError:
        output.write(_proc_count())
        raise
    entries, _ = stats.decode_global_stats(answer)
    output.write(b"%d\n" % (entries or 0))


def _proc_count() -> bytes:
    path = "/proc/sys/net/netfilter/nf_conntrack_count"
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs a third as much again
        return file.read()


def template(request: Request) -> Cells:
    """The entry to make: what was given, the other direction completed.

    As NFCT_SOPT_SETUP_REPLY has it; ends that were given stay as they are.
    """
    cells = dict(request.cells)
    cells["family"] = request.family
    if "orig_src" not in cells:
        for side, other in (("orig", "reply"), ("reply", "orig")):
            for name in ("src", "dst", "sport", "dport"):
                if f"{other}_{name}" in cells and side == "orig":
                    turned = _TURNED[name]
                    cells[f"orig_{turned}"] = cells[f"{other}_{name}"]
    if "orig_icmp_type" in cells:
        cells.setdefault("orig_icmp_id", 0)
    plain = requests.reply_of(cells)
    for name, value in plain.items():
        cells.setdefault(name, value)
    _set_translation(cells, request)
    if "status" in request.given:
        cells["status"] = request.status_set | uapi.Status.CONFIRMED
    if request.mark is not None:
        cells["mark"] = request.mark[0]
    if cells["proto"] == uapi.IPPROTO_TCP:
        flags = requests.window_flags(cells["tcp_state"])
        cells["tcp_flags_orig"] = cells["tcp_flags_reply"] = flags << 8 | flags
    if request.label_add:
        cells["labels"] = showing.label_bits(request, request.label_add)
    return cells


_TURNED = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}


def _set_translation(cells: Cells, request: Request) -> None:
    for wanted, address, port in (
        (request.snat, requests.SNAT_ADDRESS, requests.SNAT_PORT),
        (request.dnat, requests.DNAT_ADDRESS, requests.DNAT_PORT),
    ):
        if wanted is None:
            continue
        if wanted[0] is not None:
            cells[address] = wanted[0]
        if wanted[2]:
            cells[port] = wanted[2][0][0]
