"""Flows of ``conntrack -o xml``.

Read by its tags, not as a document: stock output may lack the prolog or the
end tag, hold several documents, or be cut off (snprintf_xml.c writes into
fixed buffers).  SCTP and DCCP states are printed from the TCP table by every
version up to 1.4.9; a word of that table stands for its number there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo

from natscope import uapi
from natscope.codec.text.cells import (
    STATE_TABLES,
    Cells,
    clock_ns,
    finish,
    number,
    put_address,
    state,
)
from natscope.codec.text.lines import U8, U16, U32, U64
from natscope.uapi import Status

_TAG = re.compile(r"<(/?)([\w-]+)([^>]*?)(/?)>([^<]*)")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_SIDES = {"original": "orig", "reply": "reply", "independent": ""}
_SIDED = {
    "sport": ("sport", U16),
    "dport": ("dport", U16),
    "srckey": ("sport", U16),
    "dstkey": ("dport", U16),
    "packets": ("packets", U64),
    "bytes": ("bytes", U64),
    "zone": ("zone", U16),
}
_WHOLE = {
    "timeout": ("timeout", U32),
    "mark": ("mark", U32),
    "secmark": ("secmark", U32),
    "zone": ("zone", U16),
    "use": ("use", U32),
    "id": ("id", U32),
    "deltatime": ("delta_time", U32),
    "start": ("start_ns", U64),
    "stop": ("stop_ns", U64),
}
_ENTITIES = (
    *(("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'")),
    ("&amp;", "&"),  # the last, so that what it leaves is not read again
)
_WHEN = ("year", "month", "day", "hour", "min", "sec")
_BEGIN, _END, _LAST = "<flow", "</flow>", "</conntrack>"
_BOUNDARY = re.compile(rf"({_BEGIN}\b|{_END}|{_LAST})")
_AROUND = re.compile(r"(?:\s|<\?xml[^>]*>|<conntrack>|<!--.*?-->|\[USERSPACE\].*)*")
_LONGEST = 1 << 16
"""Characters no element has, so that one without an end does not eat the rest."""


def looks_like(line: str) -> bool:
    """Whether a line is XML."""
    return line.lstrip().startswith("<")


def parse_flow(text: str, zone: tzinfo | None = None) -> Cells:
    """One ``<flow>`` element as a row.

    Args:
        text: from ``<flow`` up to its end tag.
        zone: of ``<when>``, which is local time; None is that of this machine.

    Raises:
        Unreadable: what is wrong with it.
    """
    flow = _Flow()
    for closing, tag, attributes, _, value in _TAG.findall(text):
        if not closing:
            flow.take(tag, attributes, _unescaped(value.strip()))
    return flow.finished(zone)


class _Flow:
    """The row of one element while its tags come."""

    def __init__(self) -> None:
        self._cells: Cells = {}
        self._labels: list[str] = []
        self._status = int(Status.SEEN_REPLY)
        self._side = ""
        self._state: str | None = None
        self._when: dict[str, int] = {}

    def take(self, tag: str, attributes: str, value: str) -> None:
        cells, side = self._cells, self._side
        if tag == "meta":
            self._side = _SIDES.get(_attribute(attributes, "direction"), "")
        elif tag == "layer4":
            found = _attribute(attributes, "protonum")
            cells["proto"] = number(found, U8, "protonum")
        elif tag in ("src", "dst") and side:
            put_address(cells, side, tag, value)
        elif side and tag in _SIDED:
            column, most = _SIDED[tag]
            cells[f"{side}_{column}"] = number(value, most, tag)
        elif not side and tag in _WHOLE:
            column, most = _WHOLE[tag]
            cells[column] = number(value, most, tag)
        elif tag in ("helper", "secctx"):
            cells[tag] = value
        else:
            self._word(tag, value)

    def _word(self, tag: str, value: str) -> None:
        if tag == "state":
            self._state = value
        elif tag == "label":
            self._labels.append(value)
        elif tag == "unreplied":
            self._status &= ~int(Status.SEEN_REPLY)
        elif tag == "assured":
            self._status |= int(Status.ASSURED)
        elif tag in _WHEN:
            self._when[tag] = number(value, U16, tag)

    def finished(self, zone: tzinfo | None) -> Cells:
        cells = self._cells
        if self._state is not None:
            cells.update([_state(cells.get("proto", 0), self._state)])
        if self._labels:
            cells["label_names"] = ",".join(self._labels)
        if self._when:
            cells["event_ns"] = clock_ns([self._when.get(p, 0) for p in _WHEN], zone)
        told = int(Status.SEEN_REPLY | Status.ASSURED)
        return finish(cells | {"status": self._status, "status_mask": told})


def _unescaped(value: str) -> str:
    # xml.sax.saxutils would do, and loads a web client on the way
    for entity, character in _ENTITIES if "&" in value else ():
        value = value.replace(entity, character)
    return value


def _attribute(attributes: str, name: str) -> str:
    found: dict[str, str] = dict(_ATTRIBUTE.findall(attributes))
    return found.get(name, "")


def _state(proto: int, word: str) -> tuple[str, int]:
    column, _ = STATE_TABLES.get(proto, ("", ()))
    if column in ("sctp_state", "dccp_state") and word in uapi.TCP_STATES:
        return column, uapi.TCP_STATES.index(word)
    return state(proto, word)


@dataclass(frozen=True, slots=True)
class Element:
    """A ``<flow>`` element, or what was found in the place of one."""

    line: int
    """Where it begins."""
    text: str = ""
    reason: str = ""
    """Why it is none."""


class Elements:
    """Gathers the lines of an XML listing into whole ``<flow>`` elements."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self._line = 0

    def open(self) -> bool:
        """Whether an element has begun and not ended."""
        return bool(self._pieces)

    def feed(self, line: str, number: int) -> Iterator[Element]:
        """The elements that end on this line, well or not."""
        outside = ""
        for piece in _BOUNDARY.split(f"{line}\n"):
            if piece == _BEGIN:
                yield from self.cut_off()
                self._line = number
                self._add(piece)
            elif piece == _END and not self._pieces:
                yield Element(number, reason="the flow that ends here has no beginning")
            elif piece == _END:
                yield Element(self._line, "".join(self._pieces))
                self._pieces, self._size = [], 0
            elif piece == _LAST:
                yield from self.cut_off()
            elif self._pieces:
                self._add(piece)
            else:
                outside += piece
        if self._size > _LONGEST:
            yield from self.cut_off()
        if not _AROUND.fullmatch(outside):
            yield Element(number, reason="neither <conntrack> nor <flow>")

    def cut_off(self) -> Iterator[Element]:
        """The element that has begun and will not end, if there is one."""
        if self._pieces:
            self._pieces, self._size = [], 0
            yield Element(self._line, reason="the flow that begins here has no end")

    def _add(self, piece: str) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
