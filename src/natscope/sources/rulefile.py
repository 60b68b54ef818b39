"""A file of rules as nft(8) reads it, with what it includes in its place.

A bundle holds text, and nft finds an included file only where it itself is run.
"""

from __future__ import annotations

import re
from pathlib import Path

from natscope.errors import NatscopeError
from natscope.sources import whole

DEEPEST = 16
"""So many files deep nft follows includes (MAX_INCLUDE_DEPTH)."""
_INCLUDE = re.compile(r'^[ \t]*include[ \t]+"([^"\n]+)"[ \t]*;?[ \t]*$', re.MULTILINE)
_WILD = re.compile(r"[*?\[]")
_NFT_DIRECTORY = Path("/etc")
"""Where nft looks for what is named without a path (DEFAULT_INCLUDE_PATH)."""


def read(path: Path) -> str:
    """The text of a file, with that of the files it includes.

    A name is looked for beside the file that includes it, where the program was
    started, and in /etc.  A pattern may fit no file, and fits files in alphabetical
    order (nft(8), INCLUDE FILES).

    Raises:
        NatscopeError: a file cannot be read, or they include each other.
    """
    return _read(path, DEEPEST)


def _read(path: Path, deeper: int) -> str:
    text = whole.read(path).decode(errors="surrogateescape")

    def included(found: re.Match[str]) -> str:
        if deeper == 0:
            raise NatscopeError(f"{path}: files include each other, {DEEPEST} deep")
        texts = [_read(one, deeper - 1) for one in _named(path, found[1])]
        return "\n".join(texts)

    return _INCLUDE.sub(included, text)


def _named(by: Path, name: str) -> list[Path]:
    """The files an include means."""
    for directory in (by.parent, Path(), _NFT_DIRECTORY):
        if _WILD.search(name):
            place = Path(directory / name)  # an absolute name stands for itself
            found = sorted(place.parent.glob(place.name))
        else:
            found = [directory / name] if (directory / name).is_file() else []
        if found:
            return found
    if _WILD.search(name):
        return []
    raise NatscopeError(f'{by}: include "{name}": there is no such file')
