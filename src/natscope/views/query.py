"""What to list: the question, apart from the answer.

Needs no NumPy, so that a command can put it before anything heavy is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

NAT_FIELDS = ("proto", "inside", "public", "outside", "target", "kind", "state")
"""``target`` is left out of a short listing in which no flow has one."""
IOS_FIELDS = (
    "proto",
    "inside_global",
    "inside_local",
    "outside_local",
    "outside_global",
)
BINDING_FIELDS = ("proto", "inside", "public", "kind")
OPTIONAL_FIELDS = ("age", "idle", "bytes", "rate")
"""Shown when the source knows them for some row."""
WIDE_FIELDS = (
    *("netns", "zone", "age", "idle", "timeout", "packets", "bytes", "rate"),
    *("mark", "helper", "label_names", "id"),
)
JSON_FIELDS_FIRST = ("proto", "kind", "state", "inside", "public", "outside", "target")
"""What an object begins with; every column the table holds follows."""
COUNT_FIELDS = ("flows", "bytes", "packets")


@dataclass(frozen=True, slots=True)
class Query:
    """What to list.

    ``limit`` counts rows of the result; ``group`` names fields to count by.
    """

    columns: tuple[str, ...] | None = None
    untranslated: bool = False
    """Also list flows without NAT."""
    sort: tuple[str, ...] = ()
    descending: bool = False
    limit: int | None = None
    group: tuple[str, ...] = ()
    wide: bool = False
