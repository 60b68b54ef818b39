"""The output formats every listing command offers, and names for numbers."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from natscope.cli import output

if TYPE_CHECKING:
    from natscope.views.listing import Page


class Writer(Protocol):
    """Turns pages into bytes."""

    def write(self, page: Page) -> bytes:
        """The bytes of one page."""

    def end(self) -> bytes:
        """What follows the last page."""


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Add the choice of format."""
    group = parser.add_argument_group("format").add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="one JSON document")
    group.add_argument("--ndjson", action="store_true", help="a JSON object a line")
    group.add_argument("--csv", action="store_true", help="comma-separated values")
    group.add_argument("--tsv", action="store_true", help="tab-separated values")
    parser.add_argument("--no-headers", action="store_true", help="no heading line")


def for_programs(options: argparse.Namespace) -> bool:
    """Whether a program reads the output."""
    return bool(options.json or options.ndjson or options.csv or options.tsv)


def writer(options: argparse.Namespace, *, rows: str = "flows") -> Writer:
    """The writer the options ask for; text for people by default.

    ``rows`` is what a JSON document calls its rows: flows or groups.
    """
    heading = not options.no_headers
    if not for_programs(options):
        from natscope.render.text import TextTable

        return TextTable(colour=output.wants_colour(), heading=heading)
    from natscope.render import records

    if options.json:
        return records.JsonDocument(rows)
    if options.ndjson:
        return records.JsonLines()
    separator = b"\t" if options.tsv else b","
    return records.Separated(separator, heading=heading)


def write_rows(
    options: argparse.Namespace,
    document: dict[str, Any],
    rows: list[dict[str, Any]],
    columns: Sequence[str],
) -> bool:
    """Write a short result for a program; false when a person reads it.

    ``--json`` writes the document, the others the rows; in CSV and TSV an
    address stands with its port, and lists are joined by blanks.
    """
    if options.json:
        output.write(json.dumps(document, indent=2).encode() + b"\n")
    elif options.ndjson:
        output.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    elif options.csv or options.tsv:
        text = io.StringIO()
        separator = "\t" if options.tsv else ","
        writer = csv.writer(text, delimiter=separator, lineterminator="\n")
        if not options.no_headers:
            writer.writerow(columns)
        for row in rows:
            writer.writerow([_flat(row.get(name)) for name in columns])
        output.write(text.getvalue().encode())
    else:
        return False
    return True


def _flat(value: object) -> object:
    if isinstance(value, list):
        return " ".join(str(_flat(item)) for item in value)
    if isinstance(value, dict):
        address, port = value.get("address", ""), value.get("port")
        whole = f"[{address}]" if ":" in address and port is not None else address
        return whole if port is None else f"{whole}:{port}"
    return "" if value is None else value


class Names:
    """Puts host and service names into a text writer when asked to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._resolver = None
        if getattr(options, "names", False):
            from natscope.sources.names import Resolver

            self._resolver = Resolver()

    def restart(self) -> None:
        """Grant the look-ups their time anew."""
        if self._resolver is not None:
            self._resolver.restart()

    def resolve(self, writer: Writer, page: Page) -> None:
        """Look up what a page shows, before it is written."""
        from natscope.render.text import TextTable

        if self._resolver is None or not isinstance(writer, TextTable):
            return
        from natscope.render.format import NameBook
        from natscope.sources.names import service
        from natscope.views.addresses import distinct

        found = distinct(page)
        names = self._resolver.names(found.values())
        hosts = {key: names[text] for key, text in found.items() if text in names}
        writer.names = NameBook(hosts, service)
