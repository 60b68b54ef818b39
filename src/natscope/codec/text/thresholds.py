"""Thresholds from a TOML file: names and numbers of a record of numbers.

table_warning = 0.6
ports_high = 0.8
"""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import TypeVar, get_args, get_type_hints

from natscope.errors import DocumentError

Record = TypeVar("Record")
_SHARE = "share"
_END = 1 << 31


def parse(text: str, kind: type[Record]) -> Record:
    """The record, with what the file does not name as usual.

    Args:
        text: of the file.
        kind: a dataclass of numbers that all have a default; of one that is
            ``Annotated[float, "share"]``, 1 is the whole.

    Raises:
        DocumentError: no TOML, a name that is none, no number, or a share above 1.
    """
    assert is_dataclass(kind)
    hints = get_type_hints(kind, include_extras=True)
    usual = {field.name: field.default for field in fields(kind)}
    try:
        told = tomllib.loads(text)
    except RecursionError:
        raise DocumentError("is nested too deeply", path=()) from None
    except ValueError as error:
        raise DocumentError(f"is no TOML: {error}", path=()) from None
    for name, value in told.items():
        if name not in usual:
            near = get_close_matches(name, usual, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DocumentError(f"there is no such threshold{hint}", path=(name,))
        if type(value) not in (int, float) or not 0 <= value < _END:
            wanted = "needs a number from 0 to 2^31"
            raise DocumentError(f"{wanted}, has {value!s:.60}", path=(name,))
        if isinstance(usual[name], int) and (type(value) is not int or value < 1):
            wanted = "needs a whole number from 1 on"
            raise DocumentError(f"{wanted}, has {value!r}", path=(name,))
        if _SHARE in get_args(hints[name]) and value > 1:
            raise DocumentError(
                f"is a share of 1, has {value!r}: 75 per cent are 0.75", path=(name,)
            )
    return kind(**told)
