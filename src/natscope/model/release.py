"""The numbers of a kernel's release."""

from __future__ import annotations

import re

_NUMBERS = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?")


def release(kernel: str | None) -> tuple[int, int, int] | None:
    """uname(2)'s release as numbers: ``6.1.0-28-amd64`` is (6, 1, 0).

    None where it is not known, or begins with no numbers.
    """
    found = _NUMBERS.match(kernel or "")
    return found and (int(found[1]), int(found[2]), int(found[3] or 0))
