"""Filters on a live table: what the kernel leaves out, and what is found."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import pytest

from kernel import stock
from natscope.codec import encode
from natscope.codec.vector import Decoder
from natscope.filter import Filter, KernelFilter, parse
from natscope.model.flow import Flow
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.sources.nlsocket import NetlinkSocket

pytestmark = pytest.mark.kernel

PREFILTERED = (
    "ip",
    "ip6",
    "mark 5",
    "mark 0x1/0x3",
    "assured",
    "not assured",
    "unreplied and ip",
    "zone 0",
    "zone 3",
    "zone 7",
    "src 10.0.0.2",
    "dst 198.51.100.9 and tcp",
    "reply-dst 203.0.113.7",
    "reply-src 10.0.0.3 and dst 203.0.113.7",
    "src fd00::2",
    "dst 2001:db8::53",
    "ip and tcp dst port 443",
    "ip and tcp reply-dst port 1024",
    "ip6 and udp dst port 53",
    "ip and sctp dst port 3",
    "tcp and dst 203.0.113.7:8080 and assured",
    "ip and gre",
    "ip and icmp",
    "ip and esp",
    "ip and proto 89",
    "inside 10.0.0.2 and state established",
)
"""Every form of pre-filter, with filters where the kernel alone would be wrong."""


def dumped(asked: KernelFilter) -> list[Flow]:
    """What the kernel sends for a pre-filter; an error when it refuses it."""
    with closing(NetlinkSocket()) as sock:
        request = encode.dump_request(asked, seq=sock.next_seq())
        data = b"".join(
            bytes(datagrams.buffer[start:end])
            for datagrams in sock.dump(request, "dump")
            for start, end in datagrams.extents
        )
    return list(Decoder().decode(data))


def unordered(flows: list[Flow]) -> list[str]:
    """Flows to compare, what ticks between two dumps left out."""
    return sorted(stock.line(flow) for flow in flows)


def test_the_kernel_sends_every_flow_that_is_meant(netns: Namespace) -> None:
    stock.insert_all()
    everything = dumped(KernelFilter())
    with Kernel() as kernel:
        evidence = kernel.evidence()
        for text in PREFILTERED:
            wanted: Filter = parse(text)
            asked = wanted.kernel()
            assert asked != KernelFilter(), text
            sent = dumped(asked)
            meant = [flow for flow in everything if wanted.matches(flow, evidence)]
            kept = [flow for flow in sent if wanted.matches(flow, evidence)]
            assert unordered(meant) == unordered(kept), text
            assert unordered(meant) == unordered(list(kernel.flows(wanted))), text
            assert len(sent) < len(everything) or not asked.status_mask, text


def test_what_the_kernel_filters_exactly_needs_no_second_look(
    netns: Namespace,
) -> None:
    stock.insert_all()
    with Kernel() as kernel:
        evidence = kernel.evidence()
        for text in ("mark 5", "assured", "not assured", "zone 7", "src 10.0.0.2"):
            wanted = parse(text)
            assert all(wanted.matches(f, evidence) for f in dumped(wanted.kernel()))


@dataclass(frozen=True)
class Oracle:
    text: str
    options: str


ORACLES = [
    Oracle("src 10.0.0.2", "-s 10.0.0.2"),
    Oracle("ip6 src fd00::2", "-f ipv6 -s fd00::2"),
    Oracle("reply-src 10.0.0.3", "-r 10.0.0.3"),
    Oracle("tcp dst port 443 and ip", "-f ipv4 -p tcp --dport 443"),
    Oracle("tcp and state time_wait and ip", "-f ipv4 -p tcp --state TIME_WAIT"),
    Oracle("mark 5", "-m 5"),
    Oracle("assured and ip", "-f ipv4 -u ASSURED"),
    Oracle("src_nat and ip", "-f ipv4 -n"),
    # without -p tcp, the stock tool takes the ICMP type for a port
    Oracle("dst_nat and tcp and ip", "-f ipv4 -p tcp -g"),
    Oracle("zone 7", "-w 7"),
    Oracle("orig-zone 3", "--orig-zone 3"),
]


def test_the_stock_tool_finds_the_same_flows(netns: Namespace) -> None:
    stock.insert_all()
    with Kernel() as kernel:
        for case in ORACLES:
            options = ("-L", "-o", "id", *case.options.split())
            theirs = {line.split("id=")[-1] for line in stock.conntrack(*options)}
            ours = {str(flow.id) for flow in kernel.flows(parse(case.text))}
            assert ours, case.text
            assert ours == theirs, case.text
