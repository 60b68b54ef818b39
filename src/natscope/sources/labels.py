"""connlabel.conf: the file that names connection labels."""

from __future__ import annotations

import errno
import os

from natscope.model.labelmap import LabelMap

DEFAULT = "/etc/xtables/connlabel.conf"
"""Where xtables and conntrack(8) look for it."""


def read(path: str | None = None) -> LabelMap:
    """The labels a file names, the usual file unless told.

    Raises:
        OSError: the file cannot be read; most boxes have none, and then it is
            FileNotFoundError.  ENODATA if it names no label: conntrack(8) shows
            none then, not even that there are some.
    """
    # pathlib would cost a short command a third of its time
    with open(path or DEFAULT, encoding="ascii", errors="replace") as file:  # noqa: PTH123
        labels = LabelMap.parse(file.read())
    if not labels:
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), path or DEFAULT)
    return labels
