"""How ``-o`` shows entries: one at once, or a table's worth."""

from __future__ import annotations

import time

from natscope.cli import diagnostics, output
from natscope.render.conntrack.style import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from natscope.cli.conntrack.request import Request
    from natscope.codec.scalar import Cells
    from natscope.model.labelmap import LabelMap
    from natscope.table.flowtable import FlowTable

PLAINER = ("delete", "update")
"""Commands whose lines have no times of their own, as conntrack has them."""


def style(request: Request) -> Style:
    """The style the options ask for."""
    asked = request.output
    form = "xml" if "xml" in asked else "save" if "save" in asked else "plain"
    with_labels = speaks_of_labels(request) and request.command != "delete"
    return Style(
        format=form,
        extended="extended" in asked,
        id="id" in asked,
        ktimestamp="ktimestamp" in asked and request.command not in PLAINER,
        labels=label_map(request) if with_labels else None,
        timestamp="timestamp" in asked and request.command == "event",
        now_s=int(time.time()),
    )


def speaks_of_labels(request: Request) -> bool:
    """Whether any option is about labels, so that their names are wanted."""
    asked = "labels" in request.output or request.label_del is not None
    return bool(asked or request.labels or request.label_add)


def label_map(request: Request) -> LabelMap:
    """The names of labels; none, and a word about it, where the file is missing."""
    if request.label_names is None:
        from natscope.model.labelmap import LabelMap
        from natscope.sources import labels

        try:
            request.label_names = labels.read(request.labelmap)
        except OSError as error:
            diagnostics.note(f"nfct_labelmap_new: {error.strerror}")
            request.label_names = LabelMap({})
    return request.label_names


def label_bits(request: Request, names: tuple[str, ...]) -> int:
    """The bits of label names.

    Raises:
        CommandLineError: a name nobody gave a bit.
    """
    known = label_map(request)
    bits = 0
    for name in names:
        bit = known.bit(name)
        if bit is None:
            from natscope.cli.conntrack.request import CommandLineError

            raise CommandLineError(f"unknown label '{name}'", 2, try_help=True)
        bits |= 1 << bit
    return bits


class Showing:
    """Writes the entries of one command, with what opens and closes them."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._style = style(request)
        self._json = _Json() if "json" in request.output else None
        self._begun = self._style.format != "xml"

    def one(self, cells: Cells, event: str | None = None) -> None:
        """One entry."""
        if self._json is not None:
            from natscope.codec.scalar import flow_of
            from natscope.table.flowtable import FlowTable

            self._json.write(FlowTable.from_flows([flow_of(cells)]))
            return
        from natscope.render.conntrack.line import line

        self._write(line(cells, self._style, event))

    def table(self, table: FlowTable, event: int = 0) -> None:
        """Every entry of a table; ``event`` as ``lines.lines`` numbers them."""
        if self._json is not None:
            self._json.write(table)
            return
        import numpy as np

        from natscope.render.conntrack.lines import lines

        events = np.full(len(table), event, np.uint8) if event else None
        self._write(lines(table, self._style, events))

    def events(
        self, table: FlowTable, events: NDArray[np.uint8], tails: list[bytes]
    ) -> None:
        """Every event of a table, each with what follows on its line."""
        if self._json is not None:
            self._json.write(table)
            return
        from natscope.render.conntrack.lines import lines

        text = lines(table, self._style, events)
        if len(set(tails)) == 1:
            text = text.replace(b"\n", tails[0] + b"\n")
        else:
            each = zip(text.splitlines(), tails, strict=True)
            text = b"".join(line + tail + b"\n" for line, tail in each)
        self._write(text)

    def end(self) -> None:
        """What closes a document."""
        if self._json is not None:
            self._json.end()
        elif self._style.format == "xml":
            from natscope.render.conntrack.forms import END

            self._write(END)

    def _write(self, text: bytes) -> None:
        """Write, after what opens a document: nothing is opened in vain."""
        if not self._begun:
            from natscope.render.conntrack.forms import PROLOG

            output.write(PROLOG)
            self._begun = True
        output.write(text)


class _Json:
    """``-o json``: the same document as ``natscope list --json``."""

    def __init__(self) -> None:
        from natscope.render.records import JsonDocument

        self._document = JsonDocument()

    def write(self, table: FlowTable) -> None:
        from natscope.model.evidence import Evidence
        from natscope.views.listing import listing
        from natscope.views.query import Query

        query = Query(untranslated=True, everything=True)
        evidence = Evidence(now_ns=time.time_ns())
        for page in listing([(table, evidence)], query):
            output.write(self._document.write(page))

    def end(self) -> None:
        output.write(self._document.end())
