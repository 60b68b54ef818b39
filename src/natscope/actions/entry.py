"""One entry, named by its tuple and zone: the kernel finds it without a walk.

Loads little, so that ``conntrack -G`` and the like answer at once.
"""

from __future__ import annotations

import errno

from natscope.codec import request
from natscope.codec.scalar import decode_cells
from natscope.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.codec.scalar import Cells
    from natscope.sources.nlsocket import NetlinkSocket


def get(sock: NetlinkSocket, cells: Cells) -> Cells | None:
    """The entry of an original or else reply tuple in its zone, None if none.

    Args:
        sock: of the namespace in question.
        cells: ``orig_*`` or ``reply_*``, ``family``, ``proto``, and the zone.

    Raises:
        KernelError: the kernel refused for another reason than its absence.
    """
    asked = request.get(cells, seq=sock.next_seq())
    try:
        (answer,) = sock.ask(asked, "looking up an entry")
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return None
    return decode_cells(answer)


def find(sock: NetlinkSocket, cells: Cells) -> list[Cells]:
    """The entries of a tuple in every zone.

    The kernel walks its hash but sends only what it must; a tuple with its zone
    needs no walk: :func:`get`.

    Raises:
        KernelError: the kernel refused.
    """
    asked = request.find(cells, seq=sock.next_seq())
    found = map(decode_cells, sock.ask(asked, "looking up entries in every zone"))
    wanted = [(k, v) for k, v in cells.items() if k != "zone"]
    return [one for one in found if all(one.get(k) == v for k, v in wanted)]


def delete(sock: NetlinkSocket, cells: Cells) -> bool:
    """Delete an entry; false if there was none, or no longer that one.

    With the ``id`` of a listing among the cells, a successor that took the same
    tuple is left alone.

    Raises:
        KernelError: the kernel refused for another reason than its absence.
    """
    try:
        sock.ask(request.delete(cells, seq=sock.next_seq()), "deleting an entry")
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def insert(sock: NetlinkSocket, cells: Cells, *, replace: bool = False) -> None:
    """Make an entry, or with ``replace`` change the one there is.

    Args:
        sock: of the namespace in question.
        cells: as ``request.insert`` takes them.
        replace: no error if there is such an entry.

    Raises:
        KernelError: EEXIST without ``replace``, and whatever else the kernel says.
    """
    try:
        sock.ask(request.insert(cells, seq=sock.next_seq()), "inserting an entry")
    except KernelError as error:
        if error.errno != errno.EEXIST or not replace:
            raise
        key = {k: v for k, v in cells.items() if not k.startswith("reply_")}
        found = get(sock, key)
        if found is None or not _is_original(key, found):
            raise  # another flow is in the way, which has one of its tuples
        # bits can only be added, and a translation cannot be changed
        bits = found.get("status", 0) | cells.get("status", 0)
        update(sock, key | {"status": bits})


def _is_original(key: Cells, found: Cells) -> bool:
    """Whether an entry the kernel found has the tuple as its original one.

    It looks among the reply tuples as well.
    """
    names = (name for name in key if name.startswith("orig_"))
    return all(key[name] == found.get(name, key[name]) for name in names)


def update(sock: NetlinkSocket, cells: Cells) -> None:
    """Change an entry to the settable columns among the cells.

    Raises:
        KernelError: ENOENT if there is none, and whatever else the kernel says.
    """
    sock.ask(request.update(cells, seq=sock.next_seq()), "changing an entry")
