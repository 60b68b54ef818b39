"""Where tables come from: the kernel, /proc, saved listings."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from natscope.sources.files import Listing
    from natscope.sources.kernel import Kernel


def open(
    netns: str | None = None, *, wire: Callable[[str, bytes], None] | None = None
) -> Kernel:
    """The live table of this network namespace, or of another.

    Args:
        netns: name (ip-netns), process id or path of another namespace.
        wire: sees every netlink datagram, for debugging.

    Raises:
        NamespaceError: no such namespace, or not permitted.
    """
    from natscope.sources.kernel import Kernel

    return Kernel(netns, wire=wire)


def read(path: str, *, strict: bool = False) -> Listing:
    """A saved listing, its format recognised by itself; ``-`` is stdin.

    Args:
        path: what ``conntrack -L`` (any ``-o``), ``-E`` or /proc printed.
        strict: raise on the first line that cannot be read, instead of
            noting it in ``problems``.
    """
    from natscope.sources.files import Listing

    return Listing(path, strict=strict)
