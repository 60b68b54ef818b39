"""Checked cases as JUnit's XML, which build servers read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from natscope.model.cases import Checked
from natscope.render import journey as journeys
from natscope.render.checks import different

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters XML 1.0 has no way to write."""


def xml(checked: Sequence[Checked], *, suite: str, seconds: float) -> str:
    """One test suite.

    Args:
        checked: its cases.
        suite: its name, such as that of the file.
        seconds: how long all took.
    """
    return "".join(f"{line}\n" for line in _lines(checked, suite, seconds))


def _lines(checked: Sequence[Checked], suite: str, seconds: float) -> Iterator[str]:
    bad = sum(not one.is_good for one in checked)
    counts = f'tests="{len(checked)}" failures="{bad}" errors="0" time="{seconds:.3f}"'
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f"<testsuites {counts}>"
    yield f"<testsuite name={_attribute(suite)} {counts}>"
    for one in checked:
        start = (
            f"<testcase classname={_attribute(suite)} name={_attribute(one.case.name)}"
        )
        if one.is_good:
            yield f"{start}/>"
            continue
        told = [f"{d.key}: expected {d.expected}, got {d.got}" for d in one.differences]
        yield f"{start}>"
        yield f"<failure message={_attribute('; '.join(told))}>{_body(one)}</failure>"
        yield "</testcase>"
    yield "</testsuite>"
    yield "</testsuites>"


def _body(checked: Checked) -> str:
    ways = [journeys.text(one) for one in checked.journeys]
    lines = "\n".join(line.strip() for line in different(checked))
    return escape(_NO_XML.sub("\ufffd", "\n\n".join([lines, *ways])))


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("\ufffd", text))
