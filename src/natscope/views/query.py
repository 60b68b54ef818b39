"""What to list: the question, apart from the answer.

Needs no NumPy, so that a command can put it before anything heavy is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

NAT_FIELDS = ("proto", "inside", "public", "outside", "target", "kind", "state")
"""``target`` and ``zone`` are shown from the first flow on that has one."""
IOS_FIELDS = (
    "proto",
    "inside_global",
    "inside_local",
    "outside_local",
    "outside_global",
)
BINDING_FIELDS = ("proto", "inside", "public", "kind")
CSV_FIELDS = (
    *("netns", "proto", "kind", "state", "inside", "public", "outside", "target"),
    *("age", "idle", "timeout", "packets", "bytes"),
    *("orig_src", "orig_dst", "orig_sport", "orig_dport"),
    *("reply_src", "reply_dst", "reply_sport", "reply_dport"),
    *("orig_packets", "orig_bytes", "reply_packets", "reply_bytes"),
    *("orig_icmp_type", "orig_icmp_code", "orig_icmp_id", "reply_icmp_id"),
    *("zone", "orig_zone", "reply_zone", "mark", "helper", "status", "flags"),
    *("id", "use", "start_ns", "rate"),
)
"""Columns of CSV and TSV, which have one heading for all rows."""
OPTIONAL_FIELDS = ("age", "idle", "bytes", "rate")
"""Shown when the source knows them for some row."""
WIDE_FIELDS = (
    *("netns", "zone", "age", "idle", "timeout", "packets", "bytes", "rate"),
    *("mark", "helper", "label_names", "id"),
)
JSON_FIELDS_FIRST = ("proto", "kind", "state", "inside", "public", "outside", "target")
"""What an object begins with; every column the table holds follows."""
RULE_FIELDS = (
    *("rule", "rule_state"),
    *(
        f"{which}_rule_{member}"
        for which in ("dnat", "snat")
        for member in ("family", "table", "chain", "handle", "number", "tool", "text")
    ),
)
"""What is known of the rules behind a flow; asked of the twin."""
COUNT_FIELDS = ("flows", "bytes", "packets")


@dataclass(frozen=True, slots=True)
class Query:
    """What to list.

    ``limit`` counts rows of the result; ``group`` names fields to count by.
    """

    columns: tuple[str, ...] | None = None
    untranslated: bool = False
    """Also list flows without NAT."""
    everything: bool = False
    """All that is known of a flow, page by page: for JSON."""
    sort: tuple[str, ...] = ()
    """Columns, the first weighing most; ``-name`` is downwards."""
    limit: int | None = None
    group: tuple[str, ...] = ()
    wide: bool = False
    rules: bool = False
    """Also the rules behind each translation."""
