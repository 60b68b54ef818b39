"""Text from a stranger, before a person reads it on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with what a terminal might obey written out, as Python does.

    Line breaks too: it is one line afterwards.  So a comment of a rule can neither
    clear a screen nor look like another line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
