"""Load the rulesets of a box into its twin, however large they are."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence

from natscope.codec.text import portions
from natscope.errors import NatscopeError
from natscope.model.bundle import Ruleset
from natscope.rehearse.private import Private
from natscope.sources import tools
from natscope.sources.netns import open_namespace

LOADERS = {
    "nft": ("nft", "-f", "-"),
    "iptables-nft": ("iptables-nft-restore",),
    "ip6tables-nft": ("ip6tables-nft-restore",),
    "iptables-legacy": ("iptables-legacy-restore",),
    "ip6tables-legacy": ("ip6tables-legacy-restore",),
    "ipset": ("ipset", "restore"),
}
"""What loads again what each tool saved."""
PORTION = 1 << 15
"""Characters at once where all are too many: an eighth to a half of what a send
buffer takes that net.core.wmem_max leaves at its default."""
_FLUSH = re.compile(r"^\s*flush ruleset\b.*$", re.MULTILINE)
_TOO_LONG = os.strerror(errno.EMSGSIZE)


def load(private: Private, ruleset: Ruleset) -> None:
    """Load a ruleset into the box, at once or in portions.

    Raises:
        MissingTool: what loads it is not installed.
        NatscopeError: it cannot be loaded; the message holds what its tool said.
    """
    loader = LOADERS.get(ruleset.tool)
    if loader is None:
        raise NatscopeError(f"a ruleset of {ruleset.tool}: nothing can load it")
    # the twin begins empty, but for natscope's own table
    text = _FLUSH.sub("", ruleset.text)
    if _fits(lambda: private.run(loader, text)):
        return
    if os.geteuid() == 0 and _fits(lambda: _run_as_root(private, loader, text)):
        return
    for words, portion in _portions(loader, text):
        private.run(words, portion)


def _fits(run: Callable[[], str]) -> bool:
    """Load all at once; False if it is too long for one message."""
    try:
        run()
    except NatscopeError as error:
        if _TOO_LONG in str(error):
            return False
        raise
    return True


def _run_as_root(private: Private, words: Sequence[str], text: str) -> str:
    """In the box's network namespace, but not in its user namespace.

    Root of the machine may have a larger send buffer.  Nothing is read twice so,
    as nft does with large sets between portions.
    """
    with open_namespace(f"/proc/{private.pid}/ns/net") as box, box.enter():
        return tools.run(words, stdin=text)


def _portions(
    loader: tuple[str, ...], text: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each with the command that loads it."""
    if loader[0] == "nft":
        for portion in portions.of_nft(text, PORTION):
            yield loader, portion
        return
    first, *others = portions.of_iptables(text, PORTION)
    yield loader, first
    for portion in others:
        yield (*loader, "--noflush"), portion
