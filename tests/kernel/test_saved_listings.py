"""What stock prints is read back to what the kernel said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import natscope
from kernel import stock
from natscope.model.flow import Flow
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.sources.proc import ProcTable

pytestmark = pytest.mark.kernel

PLAIN = ("orig", "reply", "mark", "zone", "tcp_state", "sctp_state")
COUNTED = ("orig_packets", "orig_bytes", "reply_packets", "reply_bytes")
FORMS = {
    "": (*PLAIN, *COUNTED),
    "extended": (*PLAIN, *COUNTED),
    "id": (*PLAIN, *COUNTED, "id"),
    "ktimestamp": (*PLAIN, *COUNTED),
    "extended,id,ktimestamp": (*PLAIN, *COUNTED, "id"),
    "xml": ("tcp_state", "mark", "zone", "id"),
    "save": ("orig", "reply", "zone", "tcp_state", "sctp_state"),
}


def told(flow: Flow, names: tuple[str, ...]) -> str:
    """What is compared, as text; zone 0 is what no zone means."""
    flow = replace(flow, zone=flow.zone or None)
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
