"""Flows of ``conntrack -o xml``.

Read by its tags, not as a document: stock output may lack the prolog or the
end tag, hold several documents, or be cut off (snprintf_xml.c writes into
fixed buffers).  SCTP and DCCP states are printed from the TCP table by every
version up to 1.4.9; a word of that table stands for its number there.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import unescape

from natscope import uapi
from natscope.codec.text.cells import (
    STATE_TABLES,
    Cells,
    Unreadable,
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


def looks_like(line: str) -> bool:
    """Whether a line is XML."""
    return line.lstrip().startswith("<")


def parse_flow(text: str) -> Cells:
    """One ``<flow>`` element as a row.

    Raises:
        Unreadable: what is wrong with it.
    """
    flow = _Flow()
    for closing, tag, attributes, _, value in _TAG.findall(text):
        if not closing:
            flow.take(tag, attributes, unescape(value.strip()))
    return flow.finished()


class _Flow:
    """The row of one element while its tags come."""

    def __init__(self) -> None:
        self._cells: Cells = {}
        self._labels: list[str] = []
        self._status = int(Status.SEEN_REPLY)
        self._side = ""
        self._state: str | None = None

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

    def finished(self) -> Cells:
        cells = self._cells
        if self._state is not None:
            cells.update([_state(cells.get("proto", 0), self._state)])
        if self._labels:
            cells["label_names"] = ",".join(self._labels)
        told = int(Status.SEEN_REPLY | Status.ASSURED)
        return finish(cells | {"status": self._status, "status_mask": told})


def _attribute(attributes: str, name: str) -> str:
    found: dict[str, str] = dict(_ATTRIBUTE.findall(attributes))
    return found.get(name, "")


def _state(proto: int, word: str) -> tuple[str, int]:
    column, _ = STATE_TABLES.get(proto, ("", ()))
    if column in ("sctp_state", "dccp_state") and word in uapi.TCP_STATES:
        return column, uapi.TCP_STATES.index(word)
    return state(proto, word)


class Elements:
    """Gathers the lines of an XML listing into whole ``<flow>`` elements."""

    def __init__(self) -> None:
        self._text = ""
        self.started_at = 0

    def open(self) -> bool:
        """Whether an element has begun and not ended."""
        return bool(self._text)

    def feed(self, line: str, at: int) -> list[str]:
        """The elements this line completes.

        Raises:
            Unreadable: an element was cut off before this line.
        """
        if self._text and "<flow" in line:
            self._text = ""
            lost = self.started_at
            msg = f"the flow that begins on line {lost} has no end"
            done = self._take(line, at)
            raise CutOff(msg, done)
        return self._take(line, at)

    def _take(self, line: str, at: int) -> list[str]:
        found: list[str] = []
        rest = line
        while True:
            if not self._text:
                start = rest.find("<flow")
                if start < 0:
                    return found
                rest, self.started_at = rest[start:], at
            body, end, rest = rest.partition("</flow>")
            if not end:
                self._text += body + "\n"
                return found
            found.append(self._text + body)
            self._text = ""


class CutOff(Unreadable):
    """An element without an end; ``done`` are those after it."""

    def __init__(self, message: str, done: list[str]) -> None:
        super().__init__(message)
        self.done = done
