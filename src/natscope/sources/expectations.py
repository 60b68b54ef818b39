"""The expectations of a namespace, over ctnetlink."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.codec import expect
from natscope.codec.expect import decode_expectation
from natscope.errors import KernelError

if TYPE_CHECKING:
    from natscope.codec.stats import CpuStats
    from natscope.model.expectation import Expectation
    from natscope.model.tuples import FlowTuple
    from natscope.sources.nlsocket import NetlinkSocket


def expectations(
    sock: NetlinkSocket,
    *,
    family: int = uapi.AF_UNSPEC,
    master: FlowTuple | None = None,
) -> list[Expectation]:
    """Every expectation, of a family, or of the flow with a tuple.

    Raises:
        KernelError: the kernel refused; ENOENT if there is no such master.
    """
    asked = expect.dump_request(seq=sock.next_seq(), family=family, master=master)
    answers = sock.ask(asked, "listing the expectations")
    return [decode_expectation(answer) for answer in answers]


def get(
    sock: NetlinkSocket, expected: FlowTuple, zone: int | None = None
) -> Expectation | None:
    """The expectation a tuple fulfils, None if none.

    Raises:
        KernelError: the kernel refused for another reason than its absence.
    """
    try:
        asked = expect.get_request(expected, seq=sock.next_seq(), zone=zone)
        (answer,) = sock.ask(asked, "looking up an expectation")
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return None
    return decode_expectation(answer)


def create(sock: NetlinkSocket, expectation: Expectation) -> None:
    """Announce a flow.

    Raises:
        KernelError: ENOENT if its master is not in the table, EOPNOTSUPP if that
            has no helper, EEXIST if there is such an expectation.
    """
    asked = expect.create_request(expectation, seq=sock.next_seq())
    sock.ask(asked, "creating an expectation")


def delete(
    sock: NetlinkSocket,
    expected: FlowTuple,
    *,
    zone: int | None = None,
    id: int | None = None,
) -> bool:
    """Delete the expectation a tuple fulfils; false if there is none.

    Raises:
        KernelError: the kernel refused for another reason than its absence.
    """
    asked = expect.delete_request(expected, seq=sock.next_seq(), zone=zone, id=id)
    try:
        sock.ask(asked, "deleting an expectation")
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def delete_by_master(sock: NetlinkSocket, master: FlowTuple) -> int:
    """Delete the expectations of a flow; how many."""
    found = expectations(sock, master=master)
    return sum(delete(sock, one.expected, zone=one.zone, id=one.id) for one in found)


def delete_by_helper(sock: NetlinkSocket, helper: str) -> None:
    """Delete every expectation of a helper.

    Raises:
        KernelError: the kernel refused.
    """
    asked = expect.delete_by_helper_request(helper, seq=sock.next_seq())
    sock.ask(asked, "deleting the expectations of a helper")


def flush(sock: NetlinkSocket) -> None:
    """Delete every expectation.

    Raises:
        KernelError: the kernel refused.
    """
    asked = expect.flush_request(seq=sock.next_seq())
    sock.ask(asked, "flushing the expectations")


def cpu_stats(sock: NetlinkSocket) -> list[CpuStats]:
    """The counters of every CPU.

    Raises:
        KernelError: the kernel refused.
    """
    asked = expect.stats_request(seq=sock.next_seq())
    answers = sock.ask(asked, "reading the counters of expectations")
    return [expect.decode_stats(answer) for answer in answers]
