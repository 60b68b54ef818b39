"""One flow as conntrack(8) prints it: ``forms`` filled from its cells.

Loads nothing that ``conntrack -G`` could do without.  ``lines`` writes the same
of many flows, and takes its texts from here.
"""

from __future__ import annotations

from natscope.render.conntrack import address, forms
from natscope.uapi import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from natscope.codec.scalar import Cells
    from natscope.render.conntrack.forms import Piece
    from natscope.render.conntrack.style import Style

_NS_PER_S = 1_000_000_000
_FLAGS = ((Status.HW_OFFLOAD, 3), (Status.OFFLOAD, 2), (Status.ASSURED, 1))


def line(cells: Cells, style: Style, event: str | None = None) -> bytes:
    """The line of a flow in the style's format, newline included.

    Args:
        cells: the flow, column name to value; see ``codec.scalar``.
        style: what to show.
        event: ``new``, ``update`` or ``destroy``; None where nothing happened.
    """
    values = cells | _derived(cells, style, forms.EVENTS.index(event))
    out = [
        piece.before + write(piece, values.get(piece.column, 0)) + piece.after
        for piece in forms.FORMS[style.format](style)
        if _is_shown(piece, values)
    ]
    return b"".join([*out, b"\n"])


def write(piece: Piece, value: Any) -> bytes:
    """A value as a piece writes it, without the texts around it."""
    kind = piece.kind
    if kind == forms.NUMBER:
        return b"%d" % value
    if kind == forms.ADDRESS:
        return address.text(value).encode()
    if kind == forms.WORD:
        return piece.words[value if value < len(piece.words) else 0]
    if kind == forms.TEXT:
        return value if isinstance(value, bytes) else str(value).encode()
    if kind == forms.TAG:
        return b"%d" % int.from_bytes(value.to_bytes(4, "little"), "big")
    return b"%x" % value if kind == forms.HEX else b""


def _is_shown(piece: Piece, values: Cells) -> bool:
    if piece.column and not piece.always and piece.column not in values:
        return False
    if piece.when in forms.CONDITIONS:
        return values["proto"] in forms.CONDITIONS[piece.when]
    return not piece.when or _translation(piece.when, values)


def _translation(when: str, cells: Cells) -> bool:
    """NFCT_GOPT_IS_SNAT and NFCT_GOPT_IS_DNAT, or that it is not so."""
    if when in ("snat", "plain src"):
        bit, reply, orig = Status.SRC_NAT_DONE, "reply_dst", "orig_src"
    else:
        bit, reply, orig = Status.DST_NAT_DONE, "reply_src", "orig_dst"
    may = "status" not in cells or bool(cells["status"] & bit)
    return (may and cells[reply] != cells[orig]) is when.endswith("nat")


def _derived(cells: Cells, style: Style, event: int) -> Cells:
    found: Cells = {"event": event} if event else {}
    if "status" in cells:
        found |= _of_status(cells["status"])
    delta = _delta(cells, style)
    if delta is not None:
        found["delta"] = delta
    for end in ("start", "stop"):
        if style.ktimestamp and f"{end}_ns" in cells:
            found[f"{end}_text"] = calendar(cells[f"{end}_ns"] // _NS_PER_S)
    if style.timestamp and "event_ns" in cells:
        found["when_text"] = seconds(cells["event_ns"])
        found["when_xml"] = calendar_xml(cells["event_ns"] // _NS_PER_S)
    if style.format == "xml":
        texts = {name: cells[name] for name in ("helper", "secctx") if name in cells}
        found |= {name: escaped(text.encode()) for name, text in texts.items()}
    if style.labels is not None and "labels" in cells:
        names = style.labels.names(cells["labels"])
        found["label_text"] = labels_text(names)
        found["label_xml"] = labels_xml(names)
    return found


def _of_status(status: int) -> Cells:
    found: Cells = {"status_text": status_text(status)}
    flags = [code for bit, code in _FLAGS if status & bit]
    if flags:
        found["flag"] = flags[0]
    if status & Status.ASSURED:
        found["assured"] = 1
    if not status & Status.SEEN_REPLY:
        found["unreplied"] = 1
    return found


def _delta(cells: Cells, style: Style) -> int | None:
    """Seconds a flow has lived; XML alone subtracts before it cuts off.

    A flow born after ``style.now_s``, during a dump, has lived 0.
    """
    if "start_ns" not in cells:
        return None
    start: int = cells["start_ns"]
    stop: int | None = cells.get("stop_ns")
    if stop is None:
        return max(0, style.now_s - start // _NS_PER_S)
    if style.format == "xml":
        return max(0, stop - start) // _NS_PER_S
    return max(0, stop // _NS_PER_S - start // _NS_PER_S)


def status_text(bits: int) -> bytes:
    """Status bits as ``-u`` takes them."""
    names = [name for bit, name in forms.SAVED_STATUS if bits & bit]
    return ",".join(names).encode() or b"UNSET"


def calendar(moment_s: int) -> bytes:
    """A time of the local zone as ctime(3) prints it, in English everywhere."""
    from datetime import datetime

    return datetime.fromtimestamp(moment_s).ctime().encode()


def seconds(ns: int) -> bytes:
    """A time as ``-E -o timestamp`` has it: seconds and microseconds."""
    whole, rest = divmod(ns, _NS_PER_S)
    return b"%08d.%06d" % (whole, rest // 1000)


def calendar_xml(moment_s: int) -> bytes:
    """A time of the local zone as the children of ``<when>``."""
    from datetime import datetime

    when = datetime.fromtimestamp(moment_s)
    clock = (
        f"<hour>{when.hour}</hour><min>{when.minute:02d}</min>"
        f"<sec>{when.second:02d}</sec>"
    )
    day = (
        f"<wday>{when.isoweekday() % 7 + 1}</wday><day>{when.day}</day>"
        f"<month>{when.month}</month><year>{when.year}</year>"
    )
    return (clock + day).encode()


def escaped(text: bytes) -> bytes:
    """Text as it stands in an XML element."""
    text = text.replace(b"&", b"&amp;").replace(b"<", b"&lt;")
    return text.replace(b">", b"&gt;")


def labels_text(names: Sequence[str]) -> bytes:
    """The names of labels after the word; of bits without a name, the word is all.

    __snprintf_clabels() cuts off the last comma, and without names the ``=``.
    """
    return b"=" + ",".join(names).encode() if names else b""


def labels_xml(names: Sequence[str]) -> bytes:
    """The names of labels, each an element."""
    each = (escaped(name.encode()) for name in names)
    return b"".join(b"<label>%s</label>" % name for name in each)
