"""A file of cases, drafted: TOML as people would write it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from natscope.codec.text.printable import printable
from natscope.views.drafting import Draft


def text(drafts: Iterable[Draft], box: dict[str, str | list[str]]) -> str:
    """The file.

    Args:
        drafts: its cases; of the same packet, all but the first are left out.
        box: the keys that say which box it is about.
    """
    lines = ["# Drafted by natscope check --write: what the box does now is expected."]
    lines += [f"{key} = {_value(one)}" for key, one in box.items()]
    packets: set[str] = set()
    names: Counter[str] = Counter()
    for one in drafts:
        if one.packet in packets:
            continue
        packets.add(one.packet)
        names[one.name] += 1
        number = names[one.name]
        lines += ["", *_case(one, f" ({number})" if number > 1 else "")]
    return "".join(f"{line}\n" for line in lines)


def _case(one: Draft, number: str) -> list[str]:
    stopped = [f"# it is stopped: {_line(one.why)}"] if one.why else []
    return [
        f"# {_line(one.about)}",
        *stopped,
        "[[case]]",
        f"name = {_value(one.name + number)}",
        f"packet = {_value(one.packet)}",
        *(f"{key} = {_value(value)}" for key, value in one.keys),
    ]


def _line(words: str) -> str:
    return printable(" ".join(words.split()))


def _value(value: str | bool | list[str]) -> str:
    """A basic string of TOML is one of JSON, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
