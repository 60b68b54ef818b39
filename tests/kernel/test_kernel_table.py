"""The live table against the stock tool, in a namespace of the test's own."""

from __future__ import annotations

import re
import subprocess
import threading
from contextlib import closing

import pytest
from bench.fill import fill

import natscope
from kernel import stock
from natscope.codec import encode, nlmsg
from natscope.codec.scalar import decode_flow
from natscope.codec.vector import Decoder
from natscope.errors import KernelError, NamespaceError
from natscope.model.prefilter import KernelFilter, KernelTuple
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace, new_namespace
from natscope.sources.nlsocket import NetlinkSocket
from natscope.uapi import AF_INET, AF_INET6

pytestmark = pytest.mark.kernel


def stock_lines() -> list[str]:
    """The stock tool's lines, what ticks between two readings left out."""
    lines = stock.conntrack("-L", "-o", "extended,id")
    lines = [re.sub(r"delta-time=\d+", "delta-time=AGE", line) for line in lines]
    return sorted(
        re.sub(r"^(\S+ +\d+ \S+ +\d+) \d+ ", r"\1 TIMEOUT ", x) for x in lines
    )


def test_every_flow_is_read_as_the_stock_tool_reads_it(netns: Namespace) -> None:
    with natscope.open() as kernel:
        assert len(kernel.table()) == 0
        made = stock.insert_all()
        flows = list(kernel.flows())
        assert sorted(stock.line(flow) for flow in flows) == stock_lines()
        assert kernel.count()[0] == len(flows) == made


def test_both_decoders_agree_on_a_real_dump(netns: Namespace) -> None:
    stock.insert_all()
    fill(300)
    sock = NetlinkSocket()
    buffers = []
    request = encode.dump_request(KernelFilter(), seq=sock.next_seq())
    for datagrams in sock.dump(request, "dump"):
        buffers += [bytes(datagrams.buffer[a:b]) for a, b in datagrams.extents]
    sock.close()
    data = b"".join(buffers)
    one_by_one = [decode_flow(data[m.start : m.end]) for m in nlmsg.split(data)]
    assert list(Decoder().decode(data)) == one_by_one
    assert len(one_by_one) == 300 + len(stock.INSERTS)


def test_a_large_table_comes_whole_and_each_flow_once(netns: Namespace) -> None:
    fill(50_000)
    with Kernel() as kernel:
        chunks = list(kernel.chunks())
        table = kernel.table()
    assert sum(map(len, chunks)) == len(table) == len(table.dedupe()) == 50_000
    assert len(chunks) > 1


def test_a_dump_may_be_left_early(netns: Namespace) -> None:
    fill(50_000)
    before = threading.active_count()
    with Kernel() as kernel:
        flows = kernel.flows()
        assert next(flows).reply.dport is not None
        flows.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before
        assert kernel.count()[0] == 50_000


def test_an_error_that_is_kept_leaves_no_receiver_behind(netns: Namespace) -> None:
    fill(50_000)
    before = threading.active_count()
    sock = NetlinkSocket()
    request = encode.dump_request(KernelFilter(), seq=sock.next_seq())
    kept = None
    try:
        with closing(sock.dump(request, "dump")) as buffers:
            next(buffers)
            raise RuntimeError("the reader fails")
    except RuntimeError as error:
        kept = error
    assert threading.active_count() == before
    sock.close()
    assert kept is not None


def test_another_namespace_is_read_by_path_and_pid(netns: Namespace) -> None:
    stock.insert_all()
    with new_namespace("elsewhere") as elsewhere, elsewhere.enter():
        with Kernel() as here, Kernel(netns.path) as there:
            assert (len(here.table()), len(there.table())) == (0, len(stock.INSERTS))
        sleeper = subprocess.Popen(["sleep", "60"])
        try:
            fill(3)
            with netns.enter(), Kernel(str(sleeper.pid)) as by_pid:
                assert len(by_pid.table()) == 3
        finally:
            sleeper.kill()
            sleeper.wait()


def test_an_unknown_namespace_is_explained() -> None:
    with pytest.raises(NamespaceError, match="no-such-namespace") as caught:
        Kernel("no-such-namespace")
    assert "process id" in (caught.value.hint or "")


PREFILTERS = {
    "everything": (KernelFilter(), ""),
    "IPv4": (KernelFilter(family=AF_INET), "-f ipv4"),
    "IPv6": (KernelFilter(family=AF_INET6), "-f ipv6"),
    "mark": (KernelFilter(mark=5, mark_mask=0xFF), "-m 5/0xff"),
    "zone": (KernelFilter(zone=7), "-w 7"),
    "a source": (
        KernelFilter(family=AF_INET, orig=KernelTuple(src=0x0A000002)),
        "-s 10.0.0.2",
    ),
    "a port": (
        KernelFilter(family=AF_INET, orig=KernelTuple(proto=17, dport=53)),
        "-f ipv4 -p udp --dport 53",
    ),
    "a public address": (
        KernelFilter(family=AF_INET, reply=KernelTuple(dst=0xCB007107)),
        "-q 203.0.113.7",
    ),
}


@pytest.mark.parametrize("name", PREFILTERS)
def test_the_kernels_filters_do_what_the_stock_tool_does(
    netns: Namespace, name: str
) -> None:
    prefilter, words = PREFILTERS[name]
    stock.insert_all()
    with Kernel() as kernel:
        found = {flow.id for chunk in kernel.dump(prefilter) for flow in chunk}
    lines = stock.conntrack("-L", "-o", "id", *words.split())
    assert found == {int(line.rpartition("id=")[2]) for line in lines}
    assert found


def test_a_refusal_names_the_operation_and_the_errno(netns: Namespace) -> None:
    sock = NetlinkSocket()
    bad = KernelFilter(orig=KernelTuple(src=1))  # a tuple needs its family
    request = encode.dump_request(bad, seq=sock.next_seq())
    with pytest.raises(KernelError, match="reading it all") as caught:
        list(sock.dump(request, "reading it all"))
    assert caught.value.errno == 95
    sock.close()


def test_what_the_kernel_cannot_filter_is_filtered_here(netns: Namespace) -> None:
    stock.insert_all()
    with Kernel() as kernel:
        refused = KernelFilter(orig=KernelTuple(src=1))
        assert sum(map(len, kernel.dump(refused))) == len(stock.INSERTS)


def test_the_box_tells_its_addresses_timeouts_and_counters(netns: Namespace) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "lo"], check=True)
    with Kernel() as kernel:
        evidence = kernel.evidence()
        assert "192.0.2.1/24" in map(str, evidence.addresses)
        assert evidence.timeouts["tcp_timeout_established"] == 432_000
        fill(5)
        inserted = sum(cpu.counters["insert"] for cpu in kernel.cpu_stats())
    assert inserted == 5
