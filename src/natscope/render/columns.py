"""Small tables as aligned text: results of some lines, not listings of flows."""

from __future__ import annotations

from collections.abc import Sequence

ABSENT = "-"
Row = Sequence[str]


def aligned(
    rows: Sequence[Row], headings: Row | None = None, *, right: Sequence[int] = ()
) -> list[str]:
    """Lines of columns two blanks apart.

    Args:
        rows: all of the same length.
        headings: a line before them; None: none.
        right: the columns that are set to the right, as numbers are.
    """
    table = list(rows) if headings is None else [headings, *rows]
    if not table:
        return []
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def count(value: int | None) -> str:
    """A number, ``-`` if it is not known."""
    return ABSENT if value is None else str(value)


def span(seconds: float) -> str:
    """A time: ``45s``, ``3m12s``, ``2h05m``, ``5d00h``."""
    whole = round(seconds)
    for unit, size, small, part in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{small}"
    return f"{whole}s"


def size(octets: float) -> str:
    """Bytes in powers of 1024: ``512 B``, ``96 KiB``, ``1.5 GiB``."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if octets >= 1 << power:
            value = octets / (1 << power)
            return f"{value:.{0 if value >= 10 else 1}f} {unit}"
    return f"{octets:.0f} B"
