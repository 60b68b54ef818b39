"""Checked cases as TAP version 14 (testanything.org), for test harnesses."""

from __future__ import annotations

import json

from natscope.model.cases import Checked


def plan(count: int) -> str:
    """The first lines: the version, and how many cases will follow."""
    return f"TAP version 14\n1..{count}\n"


def line(checked: Checked, number: int) -> str:
    """One case, from 1; of a bad one, what is not as expected, as YAML."""
    # a # would begin a directive
    name = checked.case.name.replace("\\", "\\\\").replace("#", "\\#")
    name = " ".join(name.split())
    if checked.is_good:
        return f"ok {number} - {name}\n"
    lines = [f"not ok {number} - {name}", "  ---", "  differences:"]
    for one in checked.differences:
        # a text of JSON is one of YAML
        lines += [
            f"    - key: {json.dumps(one.key)}",
            f"      expected: {json.dumps(one.expected)}",
            f"      got: {json.dumps(one.got)}",
        ]
    return "".join(f"{line}\n" for line in [*lines, "  ..."])
