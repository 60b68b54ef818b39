"""The expectations a change makes, and those that go with their masters."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from natscope.errors import KernelError
from natscope.sources import expectations

if TYPE_CHECKING:
    from natscope.actions.changes import Outcome
    from natscope.model.expectation import Expectation
    from natscope.sources.nlsocket import NetlinkSocket
    from natscope.table.flowtable import FlowTable


def of_masters(
    found: Iterable[Expectation], table: FlowTable
) -> tuple[Expectation, ...]:
    """Those of the flows of a table: they go with them."""
    found = tuple(found)
    if not found:
        return ()
    here = np.ones(len(table), np.bool_)
    for end in ("sport", "dport"):
        ports = [getattr(one.master, end) or 0 for one in found]
        here &= np.isin(table[f"orig_{end}"], ports)
    masters = {(flow.orig, flow.zone or 0) for flow in table.mask(here)}
    return tuple(one for one in found if (one.master, one.zone or 0) in masters)


def make(sock: NetlinkSocket, wanted: Iterable[Expectation], outcome: Outcome) -> None:
    """Announce flows; those that are there are left as they are."""
    for one in wanted:
        outcome.begun = True
        try:
            expectations.create(sock, one)
        except KernelError as error:
            if error.errno == errno.EEXIST:
                outcome.expectations_present += 1
            else:
                outcome.expectations_refused.append((one, error))
            continue
        made = expectations.get(sock, one.expected, one.zone)
        given = None if made is None else made.id
        outcome.expectations.append(replace(one, id=given))


def remove(
    sock: NetlinkSocket, listed: Iterable[Expectation], outcome: Outcome
) -> None:
    """Delete expectations, each only if it is still the same.

    One that is gone went with its master, came true, or ran out.
    """
    for one in listed:
        outcome.begun = True
        try:
            expectations.delete(sock, one.expected, zone=one.zone, id=one.id)
        except KernelError as error:
            outcome.expectations_refused.append((one, error))
        else:
            outcome.expectations.append(one)
