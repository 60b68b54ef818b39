"""A saved table is the kernel's table again, and stock's commands are its flows."""

from __future__ import annotations

import io

import numpy as np
import pytest

from kernel import stock
from natscope.codec.text import listing
from natscope.codec.text.bulk_save import save_table
from natscope.render import saved
from natscope.sources.files import Listing
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.uapi import Status

pytestmark = pytest.mark.kernel


def test_a_saved_table_loses_nothing_the_kernel_told(netns: Namespace) -> None:
    made = stock.insert_all()
    live = Kernel().table()
    assert len(live) == made
    text = saved.header(time_ns=1, flows=len(live)) + saved.flows(live)
    file = Listing(io.BytesIO(text), strict=True)
    again = file.table()
    assert (file.format, file.lacks) == (listing.SAVED, ())
    assert list(again) == list(live)
    assert saved.flows(again) == saved.flows(live)


def test_commands_that_stock_prints_tell_what_the_kernel_holds(
    netns: Namespace,
) -> None:
    stock.insert_all()
    lines = stock.conntrack("-L", "-o", "save")
    found = save_table("\n".join(lines).encode())
    assert {lines[at].partition(" -p ")[2] for at in found.rest} <= {"dccp"}
    live = {(flow.orig, flow.zone): flow for flow in Kernel().flows()}
    names = ("reply", "zone", "tcp_state", "sctp_state", "sctp_vtag_orig")
    for flow in found.table:
        real = live[flow.orig, flow.zone]
        told = [getattr(flow, name) for name in names]
        assert told == [getattr(real, name) for name in names]
        bits = Status.SEEN_REPLY | Status.ASSURED | Status.SRC_NAT | Status.DST_NAT
        assert (flow.status or 0) & bits == (real.status or 0) & bits
    assert np.array_equal(np.sort(found.rows), found.rows)
