"""What the kernel is asked to leave out, and what it is never asked."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope.filter import KernelFilter, KernelTuple, parse
from natscope.uapi import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, Status

ALL = KernelFilter()
A, B = int(ip_address("10.0.0.5")), int(ip_address("192.0.2.1"))
ASSURED, SEEN_REPLY = int(Status.ASSURED), int(Status.SEEN_REPLY)


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    asked: KernelFilter


CASES = [
    Case("nothing said", "", ALL),
    Case("family", "ip6", KernelFilter(AF_INET6)),
    Case("the family of an address", "host 10.0.0.5", KernelFilter(AF_INET)),
    Case("the family of a part", "inside net fd00::/8", KernelFilter(AF_INET6)),
    Case("two families in a list", "host 10.0.0.5,::1", ALL),
    Case("a mark", "mark 5", KernelFilter(mark=5)),
    Case("a mark with mask", "mark 0x1/0xff", KernelFilter(mark=1, mark_mask=0xFF)),
    Case(
        "two marks that agree",
        "mark 1/1 and mark 2/2",
        KernelFilter(mark=3, mark_mask=3),
    ),
    Case("a list of marks", "mark 5,7", ALL),
    Case("a range of marks", "mark > 5", ALL),
    Case("no bits of a mark", "mark 0/0", ALL),
    Case("a bit", "assured", KernelFilter(status=ASSURED, status_mask=ASSURED)),
    Case("a bit not set", "not assured", KernelFilter(status=0, status_mask=ASSURED)),
    Case("unreplied", "unreplied", KernelFilter(status=0, status_mask=SEEN_REPLY)),
    Case(
        "not unreplied",
        "not unreplied",
        KernelFilter(status=SEEN_REPLY, status_mask=SEEN_REPLY),
    ),
    Case(
        "several bits",
        "assured and not unreplied and not dying",
        KernelFilter(
            status=ASSURED | SEEN_REPLY,
            status_mask=ASSURED | SEEN_REPLY | int(Status.DYING),
        ),
    ),
    Case("not two bits at once", "not status 0x6/0x6", ALL),
    Case("no bits of the status", "status 0/0", ALL),
    Case("a zone", "zone 5", KernelFilter(zone=5)),
    Case("zone 0", "zone 0", KernelFilter(zone=0)),
    Case("a zone of one direction", "orig-zone 5", ALL),
    Case("a protocol needs a family", "tcp dst port 443", ALL),
    Case(
        "a protocol and a port",
        "ip and tcp dst port 443",
        KernelFilter(AF_INET, orig=KernelTuple(proto=IPPROTO_TCP, dport=443)),
    ),
    Case(
        "ports of IPv6 too",
        "ip6 and udp src port 53",
        KernelFilter(AF_INET6, orig=KernelTuple(proto=IPPROTO_UDP, sport=53)),
    ),
    Case(
        "a port in reply needs the protocol there",
        "ip and tcp reply-dst port 443",
        KernelFilter(
            AF_INET,
            orig=KernelTuple(proto=IPPROTO_TCP),
            reply=KernelTuple(proto=IPPROTO_TCP, dport=443),
        ),
    ),
    Case(
        "ports the kernel does not compare",
        "ip and sctp dst port 443",
        KernelFilter(AF_INET, orig=KernelTuple(proto=132)),
    ),
    Case("a port of any protocol", "ip dst port 443", KernelFilter(AF_INET)),
    Case("a range of ports", "ip port 80-90", KernelFilter(AF_INET)),
    Case(
        "addresses",
        "src 10.0.0.5 and reply-src 192.0.2.1",
        KernelFilter(AF_INET, orig=KernelTuple(src=A), reply=KernelTuple(src=B)),
    ),
    Case(
        "address and port",
        "tcp and dst 192.0.2.1:443",
        KernelFilter(AF_INET, orig=KernelTuple(dst=B, proto=IPPROTO_TCP, dport=443)),
    ),
    Case(
        "an ICMP id is no port",
        "tcp and src 10.0.0.5:id=443",
        KernelFilter(AF_INET, orig=KernelTuple(src=A, proto=IPPROTO_TCP)),
    ),
    Case("a network", "src net 10.0.0.0/8", KernelFilter(AF_INET)),
    Case("a mask with holes", "src 10.0.0.5/0xff0000ff", KernelFilter(AF_INET)),
    Case("either end", "src or dst 10.0.0.5", KernelFilter(AF_INET)),
    Case(
        "both ends",
        "src and dst 10.0.0.5",
        KernelFilter(AF_INET, orig=KernelTuple(src=A, dst=A)),
    ),
    Case("an IPv6 address", "src fd00::5", KernelFilter(AF_INET6)),
    Case(
        "an address of the other family", "ip6 and src 10.0.0.5", KernelFilter(AF_INET6)
    ),
    Case("alternatives", "mark 5 or zone 5", ALL),
    Case("alternatives beside a part", "mark 5 and (tcp or udp)", KernelFilter(mark=5)),
    Case("a negation", "not (mark 5 and zone 5)", ALL),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_kernel_is_asked_what_it_answers_rightly(case: Case) -> None:
    assert case.asked == parse(case.text).kernel()


def test_a_filter_that_needs_a_family_is_asked_for_each() -> None:
    both = parse("udp and dst port 53").kernels()
    assert [one.family for one in both] == [AF_INET, AF_INET6]
    assert {one.orig.dport for one in both} == {53}
    for text in ("ip and udp", "mark 5", "", "src 10.0.0.1 and udp", "not udp"):
        assert parse(text).kernels() == (parse(text).kernel(),)
