"""What stock prints is read back to what the kernel said."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

import natscope
from kernel import stock
from natscope.model.flow import Flow
from natscope.sources.files import Listing
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.sources.proc import ProcTable
from natscope.uapi import Status

pytestmark = pytest.mark.kernel

PLAIN = ("orig", "reply", "mark", "zone", "tcp_state", "sctp_state", "status")
COUNTED = ("orig_packets", "orig_bytes", "reply_packets", "reply_bytes")
FORMS = {
    "": (*PLAIN, *COUNTED),
    "extended": (*PLAIN, *COUNTED),
    "id": (*PLAIN, *COUNTED, "id"),
    "ktimestamp": (*PLAIN, *COUNTED),
    "extended,id,ktimestamp": (*PLAIN, *COUNTED, "id"),
    "xml": ("tcp_state", "sctp_state", "mark", "zone", "id", "status", *COUNTED),
    "xml,ktimestamp": ("id", "start_ns"),
    "save": (*PLAIN[:2], *PLAIN[3:], "sctp_vtag_orig", "sctp_vtag_reply"),
}


def told(flow: Flow, names: tuple[str, ...]) -> str:
    """What is compared, as text; zone 0 is what no zone means."""
    bits = (flow.status or 0) & (Status.SEEN_REPLY | Status.ASSURED)
    flow = replace(flow, zone=flow.zone or None, status=int(bits))
    return repr([getattr(flow, name) for name in names])


@pytest.mark.parametrize("form", FORMS)
def test_every_stock_format_is_read_back(
    netns: Namespace, tmp_path: Path, form: str
) -> None:
    stock.insert_all()
    words = ("-o", form) if form else ()
    saved = tmp_path / "saved"
    saved.write_text("\n".join(stock.conntrack("-L", *words)) + "\n")
    listing = natscope.read(str(saved))
    flows = list(listing.flows())
    assert listing.problems == []
    live = list(Kernel().flows())
    names = FORMS[form]
    assert sorted(told(f, names) for f in flows) == sorted(told(f, names) for f in live)


def test_proc_is_read_back(netns: Namespace) -> None:
    stock.insert_all()
    live = sorted(told(flow, (*PLAIN, *COUNTED)) for flow in Kernel().flows())
    table = ProcTable()
    assert sorted(told(flow, (*PLAIN, *COUNTED)) for flow in table.flows()) == live
    assert table.problems == []


def test_the_start_of_a_flow_is_read_in_the_zone_of_this_machine(
    netns: Namespace, tmp_path: Path
) -> None:
    stock.insert_all()
    saved = tmp_path / "saved"
    lines = stock.conntrack("-L", "-o", "ktimestamp,id")
    saved.write_text("\n".join(lines) + "\n")
    live = {flow.id: (flow.start_ns or 0) // 10**9 for flow in Kernel().flows()}
    read = natscope.read(str(saved))
    assert {f.id: (f.start_ns or 0) // 10**9 for f in read.flows()} == live


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("form", ["extended", "xml"])
def test_what_stock_deletes_is_read_as_it_says_so(
    netns: Namespace, family: str, form: str
) -> None:
    made = stock.insert_all()
    lines = stock.conntrack("-D", "-f", family, "-o", form)
    deleted = Listing(io.StringIO("\n".join(lines)))
    assert len(deleted.table()) == made - Kernel().count()[0] > 0
    assert deleted.problems == []
