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
    with_labels = "labels" in asked and request.command != "delete"
    return Style(
        format=form,
        extended="extended" in asked,
        id="id" in asked,
        ktimestamp="ktimestamp" in asked and request.command not in PLAINER,
        labels=label_map(request) if with_labels else None,
        timestamp="timestamp" in asked and request.command == "event",
        now_s=int(time.time()),
    )


def label_map(request: Request) -> LabelMap | None:
    """The names of labels; None, and a word about it, where there are none."""
    from natscope.sources import labels

    try:
        return labels.read(request.labelmap)
    except OSError as error:
        diagnostics.note(f"nfct_labelmap_new: {error.strerror}")
        return None


def label_bits(request: Request, names: tuple[str, ...]) -> int:
    """The bits of label names.

    Raises:
        CommandLineError: a name nobody gave a bit.
    """
    known = label_map(request)
    bits = 0
    for name in names:
        bit = known.bit(name) if known is not None else None
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
        if self._style.format == "xml" and self._json is None:
            from natscope.render.conntrack.forms import PROLOG

            output.write(PROLOG)

    def one(self, cells: Cells, event: str | None = None) -> None:
        """One entry."""
        if self._json is not None:
            from natscope.codec.scalar import flow_of
            from natscope.table.flowtable import FlowTable

            self._json.write(FlowTable.from_flows([flow_of(cells)]))
            return
        from natscope.render.conntrack.line import line

        output.write(line(cells, self._style, event))

    def table(self, table: FlowTable, event: int = 0) -> None:
        """Every entry of a table; ``event`` as ``lines.lines`` numbers them."""
        if self._json is not None:
            self._json.write(table)
            return
        import numpy as np

        from natscope.render.conntrack.lines import lines

        events = np.full(len(table), event, np.uint8) if event else None
        output.write(lines(table, self._style, events))

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
        output.write(text)

    def end(self) -> None:
        """What closes a document."""
        if self._json is not None:
            self._json.end()
        elif self._style.format == "xml":
            from natscope.render.conntrack.forms import END

            output.write(END)


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
