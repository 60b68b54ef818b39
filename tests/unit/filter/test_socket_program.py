"""Which filters become programs for a socket, and how programs are put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import product
from operator import ge

import pytest

from natscope import uapi
from natscope.codec import nlmsg
from natscope.codec.encode import flow_message
from natscope.filter import Filter, bpf, parse
from natscope.filter.bpf import Assembly, Label
from natscope.filter.socket_program import is_exact
from natscope.filter.vocabulary import PARTS
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import KIND_LETTERS
from natscope.model.tuples import FlowTuple
from property.bpf_machine import accepts


@dataclass(frozen=True)
class Case:
    text: str
    decided: bool
    exact: bool


CASES = [
    Case("", decided=False, exact=True),
    Case("tcp", decided=True, exact=True),
    Case("host 10.0.0.5 or net fd00::/8", decided=True, exact=True),
    Case("not dst port 53", decided=True, exact=True),
    Case("icmp-id 7 or gre-key 5", decided=True, exact=True),
    Case("zone 5", decided=True, exact=True),
    Case("snat", decided=True, exact=True),
    Case("src_nat and not dst_nat", decided=True, exact=True),
    Case("kind d,r,p", decided=True, exact=True),
    Case("redirect", decided=True, exact=False),
    Case("inside 10.0.0.5", decided=True, exact=False),
    Case("target 10.0.0.80", decided=True, exact=True),
    Case("mark 5", decided=False, exact=False),
    Case("not assured", decided=False, exact=False),
    Case("tcp and state established", decided=True, exact=False),
    Case("tcp or mark 5", decided=False, exact=False),
    Case("not (tcp or mark 5)", decided=True, exact=False),
    Case("not (tcp and mark 5)", decided=False, exact=False),
    Case("master port 21", decided=False, exact=False),
    Case("status 0x18e", decided=True, exact=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text or "everything")
def test_a_filter_is_decided_as_far_as_a_flow_is_settled(case: Case) -> None:
    filter = parse(case.text)
    assert (filter.socket_program() is not None) == case.decided
    assert is_exact(filter.tree) == case.exact


def passed(filter: Filter, flows: list[Flow]) -> list[bool]:
    """Which flows' events the program lets through."""
    program = filter.socket_program()
    messages = (flow_message(flow, flags=0) for flow in flows)
    return [program is None or accepts(program, message) for message in messages]


EDGES = (
    "src 10.0.0.5-10.0.1.9",
    "src 10.0.0.0/23",
    "src 10.0.0.5/0xff0000ff",
    "src fd00::5-fd00::7",
    "src fd00:0:0:1::-fd00:0:0:2:ffff::",
    "src fd00::5-fd00:0:0:1:0:0:1:0",
    "src fd00:0:0:1::5-fd00:0:0:1:0:1::",
    "src fd00::/17",
    "src fd00::/127",
    "src fd00::5/0xffff00000000000000000000000000ff",
    "src port 1000",
    "src port 1000-2000",
    "src port > 1000",
    "src port < 1000",
    "src port <= 1000",
    "src port 0-65535",
)
NEAR = {
    ip_address(int(ip_address(text)) + step)
    for text in (
        *("10.0.0.0", "10.0.0.5", "10.0.1.9", "10.0.1.255", "10.9.9.5"),
        *("fd00::", "fd00::5", "fd00::7", "fd00:0:0:1::", "fd00:0:0:1::5"),
        *("fd00:0:0:2:ffff::", "fd00:0:0:1:0:0:1:0", "fd00:0:0:1:0:1::"),
        *("fd00:7fff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00:0:0:1:7::7"),
    )
    for step in (-1, 0, 1)
}
NEAR_PORTS = (0, 1, 999, 1000, 1001, 1999, 2000, 2001, 65535)


def near() -> Iterator[Flow]:
    for src in NEAR:
        dst = ip_address("192.0.2.1" if src.version == 4 else "2001:db8::1")
        for sport in NEAR_PORTS if src.packed[-1] == 5 else (1000,):
            orig = FlowTuple(src, dst, uapi.IPPROTO_TCP, sport, 443)
            yield Flow(orig, orig.reversed())


@pytest.mark.parametrize("text", EDGES)
def test_edges_of_ranges_are_where_the_filter_has_them(text: str) -> None:
    filter = parse(text)
    flows = list(near())
    meant = [filter.matches(flow, Evidence()) for flow in flows]
    assert meant == passed(filter, flows)
    assert any(meant)


TRANSLATIONS = (
    *("snat", "dnat", "nat", "changed-src", "changed-dst", "changed-sport"),
    *("changed-dport", "src_nat", "dst_nat", "status 0x10/0x30"),
    *(f"kind {letter}" for letter in KIND_LETTERS),
    *(f"{part} {end}" for part in PARTS for end in ("10.0.0.5", "fd00::5")),
    *(f"{part} port 7" for part in PARTS),
    *("not inside port 7", "not target 10.0.0.5", "inside or target net 10.0.0.0/8"),
)


def translated() -> Iterator[Flow]:
    """Every part changed and not, as the status bits have it and not."""
    bits = (uapi.Status.SRC_NAT, uapi.Status.DST_NAT)
    statuses = (None, *bits, sum(bits))
    for text, other, *more in (
        ("10.0.0.5", "203.0.113.7"),
        ("fd00::5", "fd00:0:1::5", "fd00::1:0:5", "fd00::6"),
    ):
        end, *others = map(ip_address, (text, other, *more))
        orig = FlowTuple(end, end, uapi.IPPROTO_UDP, 7, 7)
        pairs = [*product((end, others[0]), repeat=2), *((end, o) for o in others)]
        every = product(pairs, (7, 8), (7, 8), statuses)
        for (src, dst), sport, dport, status in every:
            reply = FlowTuple(src, dst, uapi.IPPROTO_UDP, sport, dport)
            yield Flow(orig, reply, status=status)


@pytest.mark.parametrize("text", TRANSLATIONS)
def test_translations_are_told_as_the_filter_tells_them(text: str) -> None:
    filter = parse(text)
    flows = list(translated())
    meant = [filter.matches(flow, Evidence()) for flow in flows]
    let_through = passed(filter, flows)
    if is_exact(filter.tree):
        assert let_through == meant
    assert all(map(ge, let_through, meant))


def test_a_filter_too_long_for_the_kernel_has_no_program() -> None:
    addresses = ",".join(f"10.0.{n // 256}.{n % 256}" for n in range(4200))
    assert parse(f"src {addresses}").socket_program() is None


def test_a_message_that_is_no_event_of_a_flow_passes() -> None:
    program = parse("tcp and src 10.0.0.5").socket_program()
    assert program is not None
    family = nlmsg.NFGENMSG.pack(uapi.AF_INET, 0, 0)
    expectation = uapi.NFNL_SUBSYS_CTNETLINK_EXP << 8
    assert accepts(program, nlmsg.build(expectation, 0, 0, family))
    without_tuples = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW
    assert accepts(program, nlmsg.build(without_tuples, 0, 0, family))


@dataclass(frozen=True)
class Gap:
    """Instructions between a jump and its nearer target, and from there on."""

    first: int
    second: int

    @property
    def id(self) -> str:
        return f"{self.first} {self.second}"


GAPS = [
    *(Gap(n, n) for n in (0, 1, 126, 127, 128, 600, 1900)),
    *(Gap(n, 300) for n in range(250, 258)),
    *(Gap(n, 0) for n in range(250, 258)),
]


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.id)
@pytest.mark.parametrize("nearer", [True, False])
def test_a_jump_reaches_its_targets_however_far(gap: Gap, nearer: bool) -> None:
    code, near, far = Assembly(), Label(), Label()
    yes, no = (near, far) if nearer else (far, near)
    code.add(bpf.LOAD_BYTE, 0)
    for _ in range(3):  # they share the stepping stones of the last
        on = Label()
        code.branch(bpf.IF_EQUAL, 1, yes=yes, no=on)
        code.place(on)
    code.branch(bpf.IF_EQUAL, 1, yes=yes, no=no)
    for label, more in ((near, gap.first), (far, gap.second)):
        for _ in range(more):
            code.add(bpf.LOAD_IMMEDIATE, 0)
        code.place(label)
        code.add(bpf.RETURN, label is yes)
    program = code.assemble()
    assert program is not None
    assert accepts(program, bytes([1]))
    assert not accepts(program, bytes([2]))


def test_a_program_longer_than_the_kernel_takes_is_none() -> None:
    code = Assembly()
    for _ in range(bpf.MAX_INSTRUCTIONS):
        code.add(bpf.LOAD_IMMEDIATE, 0)
    assert code.assemble() is not None
    code.add(bpf.RETURN, 0)
    assert code.assemble() is None


def test_a_jump_to_a_jump_goes_straight_on() -> None:
    code, on, end = Assembly(), Label(), Label()
    code.branch(bpf.IF_EQUAL, 0, yes=on, no=end)
    code.place(on)
    code.goto(end)
    code.add(bpf.RETURN, 0)
    code.place(end)
    code.add(bpf.RETURN, 1)
    program = code.assemble()
    assert program is not None
    assert len(program) // 8 == 3
    assert accepts(program, b"")
