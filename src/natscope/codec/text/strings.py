"""The strings of a rule's text, out of the way: a comment may hold any word."""

from __future__ import annotations

import re

_STRING = re.compile(r'"[^"]*"')


def emptied(text: str) -> str:
    """The text with nothing in its strings."""
    return _STRING.sub('""', text)


def masked(text: str) -> str:
    """The same, as long as it was: what is found stands where it stands in the text."""
    return _STRING.sub(lambda found: f'"{"_" * (len(found[0]) - 2)}"', text)
