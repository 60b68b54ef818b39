"""Thresholds from a TOML file: names and numbers of a record of numbers.

table_warning = 0.6
snat_ports_high = 0.8
"""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import TypeVar

from natscope.errors import DocumentError

Record = TypeVar("Record")


def parse(text: str, kind: type[Record]) -> Record:
    """The record, with what the file does not name as usual.

    Args:
        text: of the file.
        kind: a dataclass of numbers that all have a default.

    Raises:
        DocumentError: no TOML, a name that is none, or no number.
    """
    assert is_dataclass(kind)
    usual = {field.name: field.default for field in fields(kind)}
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(f"is no TOML: {error}", path=()) from None
    for name, value in told.items():
        if name not in usual:
            near = get_close_matches(name, usual, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DocumentError(f"there is no such threshold{hint}", path=(name,))
        if type(value) not in (int, float) or not value >= 0:
            raise DocumentError(
                f"needs a number from 0 on, has {value!r}", path=(name,)
            )
        if isinstance(usual[name], int) and not isinstance(value, int):
            raise DocumentError(f"needs a whole number, has {value!r}", path=(name,))
    return kind(**told)
