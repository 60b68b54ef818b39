"""The expectations of a namespace, over ctnetlink."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.codec import expect, request
from natscope.codec.encode import cells_of
from natscope.codec.expect import decode_expectation
from natscope.codec.scalar import decode_flow
from natscope.errors import KernelError
from natscope.model.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from natscope.codec.stats import CpuStats
    from natscope.model.expectation import Expectation
    from natscope.model.tuples import FlowTuple
    from natscope.sources.nlsocket import NetlinkSocket


def expectations(
    sock: NetlinkSocket, *, family: int = uapi.AF_UNSPEC
) -> list[Expectation]:
    """Every expectation, or those of a family; their zones are not told.

    Raises:
        KernelError: the kernel refused.
    """
    asked = expect.dump_request(seq=sock.next_seq(), family=family)
    answers = sock.ask(asked, "listing the expectations")
    return [decode_expectation(answer) for answer in answers]


def of_master(
    sock: NetlinkSocket, master: FlowTuple, *, zone: int | None = None
) -> list[Expectation]:
    """The expectations of the flow with a tuple, in a zone (0 if None).

    Raises:
        KernelError: the kernel refused; ENOENT if there is no such flow.
    """
    asked = expect.dump_of_master_request(master, seq=sock.next_seq(), zone=zone)
    answers = sock.ask(asked, "listing the expectations of a flow")
    return [replace(decode_expectation(answer), zone=zone) for answer in answers]


def with_zones(
    sock: NetlinkSocket, found: Iterable[Expectation]
) -> Iterator[Expectation]:
    """The same, each with its zone where that is not 0.

    The kernel is asked what every master expects in the zones it is in; only for
    a master outside zone 0 does it walk its table.  What has gone since keeps
    the zone it was given with.

    Raises:
        KernelError: the kernel refused.
    """
    known: dict[FlowTuple, dict[int | None, int | None]] = {}
    for one in found:
        if one.master not in known:
            known[one.master] = {seen.id: None for seen in _there(sock, one.master)}
        zones = known[one.master]
        if one.id not in zones:
            zones[one.id] = None
            for zone in _zones(sock, one.master):
                inside = _there(sock, one.master, zone)
                zones.update((seen.id, zone) for seen in inside)
        yield replace(one, zone=zones.get(one.id) or one.zone)


def _there(
    sock: NetlinkSocket, master: FlowTuple, zone: int | None = None
) -> list[Expectation]:
    try:
        return of_master(sock, master, zone=zone)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return []


def _zones(sock: NetlinkSocket, master: FlowTuple) -> list[int]:
    """The zones other than 0 that hold a flow with this original tuple."""
    cells = cells_of(Flow(master, master.reversed()))
    asked = request.find(cells, seq=sock.next_seq())
    answers = sock.ask(asked, "looking for a flow in every zone")
    flows = [decode_flow(answer) for answer in answers]
    return [flow.zone for flow in flows if flow.orig == master and flow.zone]


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
    """Announce a flow.  It lasts as long as its helper has it, whatever its timeout.

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


def delete_by_master(
    sock: NetlinkSocket, master: FlowTuple, *, zone: int | None = None
) -> int:
    """Delete the expectations of a flow, in a zone (0 if None); how many.

    Raises:
        KernelError: the kernel refused; ENOENT if there is no such flow.
    """
    found = of_master(sock, master, zone=zone)
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
