"""Write the reference pages that come from the code: ``make docs``.

With ``--check``, write nothing and fail when a page is not what the code says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from natscope.table.columns import ADDRESS, BIT, COLUMNS, Column

DOCS = Path(__file__).parents[1] / "docs"

COLUMNS_INTRO = f"""\
# Columns of a FlowTable

<!-- Written by scripts/reference.py from src/natscope/table/columns.py. -->

A `FlowTable` holds one array per column. `Flow` records have the same names and
units; a record's `orig_src` is `flow.orig.src`.

* **Absent is not zero.** Every column but the {sum(c.always for c in COLUMNS)} that
  are always there has a presence bit: `table.has("mark")` tells which rows the source
  gave a mark. An absent cell reads as zero in the array and is `None` in a record.
* **Addresses** are two `uint64` a row, high word first, IPv4 in the low 32 bits;
  `family` tells which it is. **Labels** are the same: bits 127 to 64, then 63 to 0.
* **Kernel columns** keep the kernel's name and unit. A column of our own says its
  unit in its name.
* A column without a kernel attribute is not sent by the kernel: it comes from a
  saved listing, or from where and when the flow was read.

| column | dtype | bit | unit or values | kernel attribute | meaning |
|---|---|---|---|---|---|
"""
COLUMNS_END = """
## In data frames

`table.to_arrow()`, `.to_pandas()` and `.to_polars()` give the columns that hold
anything, under the same names, with these encodings:

| here | there |
|---|---|
| absent | null (pandas: Arrow-backed types, so integers stay integers) |
| address | text, as `ipaddress` writes it: `10.0.0.5`, `2001:db8::5` |
| `labels` | text, `0x` and 32 hexadecimal digits, bit 127 first |
| `proto`, `tcp_state`, `sctp_state`, `dccp_state` | the number, followed by its name \
in `proto_name`, `tcp_state_name`, … |
| `…_ns` | nanoseconds since 1970 as an unsigned 64-bit number |
| `extra` | list of `{path, payload}` |

Each Arrow field's metadata holds the column's `meaning`, `unit` and `kernel`
attribute. They need the extras `natscope[arrow]`, `natscope[pandas]` and
`natscope[polars]`.
"""


def columns_page() -> str:
    """``docs/reference/columns.md``."""
    rows = "".join(f"| {' | '.join(_cells(column))} |\n" for column in COLUMNS)
    return COLUMNS_INTRO + rows + COLUMNS_END


def _cells(column: Column) -> Iterator[str]:
    dtype = np.dtype(column.dtype).name
    words = f"{dtype}[{column.width}]" if column.width > 1 else dtype
    yield f"`{column.name}`"
    yield words
    yield "always" if column.always else str(BIT[column.name])
    yield "address" if column.unit == ADDRESS else column.unit
    yield f"`{column.kernel}`" if "_" in column.kernel else column.kernel
    yield column.meaning


PAGES = {"reference/columns.md": columns_page}


def main(arguments: list[str]) -> int:
    """Write or check every page; the exit code."""
    stale = 0
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in arguments:
            sys.stderr.write(f"docs/{name} is not what the code says: make docs\n")
            stale = 1
        else:
            path.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
