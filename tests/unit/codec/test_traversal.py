"""Steps put together to packets, although ids repeat and steps are lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from natscope.codec.nftrace import TraceMessage
from natscope.codec.text.ruleset import parse_nft
from natscope.codec.traversal import Assembler, Visits, packet_of
from natscope.model.journey import Hook, Verdict
from natscope.model.packet import Packet
from unit.codec.trace_messages import RULE, end, first, syn

RULES = parse_nft("""
table ip t {
    chain raw {
        type filter hook prerouting priority raw; policy accept;
    }
    chain pre {
        type nat hook prerouting priority dstnat; policy accept;
        jump services # handle 5
    }
    chain services {
        tcp dport 80 dnat to 10.0.0.9 # handle 6
    }
    chain fwd {
        type filter hook forward priority filter; policy drop;
    }
    chain in {
        type filter hook input priority filter; policy drop;
    }
    chain out {
        type filter hook output priority filter; policy accept;
    }
    chain post {
        type nat hook postrouting priority srcnat; policy accept;
    }
}
""")
NAMES = {2: "eth0", 3: "eth1"}


def assembled(*steps: TraceMessage) -> list[list[str]]:
    """The chains each packet was seen in, packet by packet."""
    assembler = Assembler(RULES, NAMES.get)
    found: list[Visits] = []
    for step in steps:
        found += assembler.feed(step)
    found += assembler.flush()
    return [[visit.chain.name for visit in visits] for visits in found]


@dataclass(frozen=True)
class Case:
    id: str
    steps: list[TraceMessage]
    packets: list[list[str]]


OTHER = syn(seq=99)
CASES = [
    Case(
        "one packet through its hooks",
        [
            *(first("raw", syn()), end("raw"), first("pre", syn()), end("pre")),
            *(first("fwd", syn()), first("post", syn()), end("post")),
        ],
        [["raw", "raw", "pre", "pre", "fwd", "post", "post"]],
    ),
    Case(
        "the same id again at the first hook is another packet",
        [first("raw", syn()), end("raw"), first("raw", OTHER), end("raw")],
        [["raw", "raw"], ["raw", "raw"]],
    ),
    Case(
        "a hook that lies behind is another packet's",
        [first("fwd", syn()), first("pre", OTHER)],
        [["fwd"], ["pre"]],
    ),
    Case(
        "a chain of lower priority at the same hook is another packet's",
        [first("pre", syn()), first("raw", OTHER)],
        [["pre"], ["raw"]],
    ),
    Case(
        "what is delivered is not sent on",
        [first("in", syn()), first("post", OTHER)],
        [["in"], ["post"]],
    ),
    Case(
        "what the box sends comes after nothing",
        [first("pre", syn()), first("out", OTHER), first("post", OTHER)],
        [["pre"], ["out", "post"]],
    ),
    Case(
        "a packet is over when it is dropped",
        [first("fwd", syn()), end("fwd", Verdict.DROP), end("fwd", id=7)],
        [["fwd", "fwd"], ["fwd"]],
    ),
    Case(
        "two CPUs at once",
        [
            *(first("pre", syn(), id=1), first("pre", OTHER, id=2), end("pre", id=1)),
            *(first("fwd", OTHER, id=2), first("fwd", syn(), id=1)),
        ],
        [["pre", "pre", "fwd"], ["pre", "fwd"]],
    ),
    Case(
        "another id behind routing, known by what NAT leaves of the headers",
        [
            *(first("pre", syn(), id=1), end("pre", id=1)),
            *(first("pre", OTHER, id=3), end("pre", id=3)),
            first("post", syn(dst="10.0.0.9", dport=8080), id=2),
        ],
        [["pre", "pre", "post"], ["pre", "pre"]],
    ),
    Case(
        "another id where packets begin is another packet",
        [first("pre", syn(), id=1), first("out", syn(), id=2)],
        [["pre"], ["out"]],
    ),
    Case(
        "the step with the headers was lost",
        [end("pre"), first("fwd", syn())],
        [["pre", "fwd"]],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_steps_are_put_together_to_packets(case: Case) -> None:
    assert assembled(*case.steps) == case.packets


def only(*steps: TraceMessage) -> Visits:
    assembler = Assembler(RULES, NAMES.get)
    assert [assembler.feed(step) for step in steps] == [[]] * len(steps)
    (visits,) = assembler.flush()
    return visits


def test_a_visit_has_the_rule_and_the_base_chain_that_led_there() -> None:
    jump = replace(
        first("pre", syn(), iif=2),
        rule_handle=5,
        verdict=Verdict.JUMP,
        target="services",
    )
    dnat = TraceMessage("ip", "t", "services", 7, RULE, 6, Verdict.ACCEPT, mark=4)
    one, two = only(jump, dnat)
    assert (one.rule and one.rule.text, one.target) == ("jump services", "services")
    assert (two.rule and two.rule.text) == "tcp dport 80 dnat to 10.0.0.9"
    assert (two.base.name, two.base.hook, two.base.priority) == (
        "pre",
        Hook.PREROUTING,
        -100,
    )
    assert (two.chain.name, two.chain.hook) == ("services", None)
    assert (one.iif, one.oif, one.mark, two.mark) == ("eth0", None, 0, 4)
    assert one.packet is not None
    assert (one.packet.dst, one.packet.dport) == (syn().dst, 80)


def test_a_trace_that_begins_in_a_chain_that_was_jumped_to_finds_its_base() -> None:
    begin = replace(first("services", syn()), rule_handle=6, verdict=Verdict.CONTINUE)
    one, two, three = only(first("raw", syn()), begin, end("pre"))
    assert [v.base.name for v in (one, two, three)] == ["raw", "pre", "pre"]


def test_packets_come_out_in_the_order_they_began() -> None:
    assembler = Assembler(RULES)
    assert assembler.feed(first("pre", syn(), id=1)) == []
    assert assembler.feed(first("fwd", OTHER, id=2)) == []
    assert assembler.feed(end("fwd", Verdict.DROP, id=2)) == []
    found = assembler.flush()
    assert [len(visits) for visits in found] == [1, 2]


def test_a_rule_that_is_not_in_the_listing_has_its_handle() -> None:
    (visit,) = only(TraceMessage("ip", "t", "pre", 7, RULE, 77, Verdict.ACCEPT))
    assert visit.rule is not None
    assert (visit.rule.handle, visit.rule.text) == (77, "(handle 77)")


def test_a_chain_that_is_not_in_the_listing_has_its_name() -> None:
    (visit,) = only(first("new", syn()))
    assert (visit.base.name, visit.base.hook) == ("new", None)


def test_the_policy_is_told_as_one() -> None:
    assembler = Assembler(RULES)
    assembler.feed(first("fwd", syn()))
    ((_, visit),) = assembler.feed(end("fwd", Verdict.DROP))
    assert (visit.is_policy, visit.verdict, visit.rule) == (True, Verdict.DROP, None)


def test_an_interface_that_is_gone_has_its_number() -> None:
    (visit,) = only(first("pre", syn(), iif=9))
    assert visit.iif == "if9"


def test_packets_nothing_is_told_of_any_more_are_through() -> None:
    assembler = Assembler(RULES)
    assembler.feed(first("pre", syn(), id=1))
    assert assembler.settle() == []
    assembler.feed(first("pre", OTHER, id=2))
    (quiet,) = assembler.settle()
    assert quiet[0].packet is not None
    assert quiet[0].packet.seq == 1
    assert len(assembler.settle()) == 1
    assert assembler.flush() == []


def shown(**changed: bytes) -> Packet | None:
    return packet_of(replace(first("pre", syn()), **changed))  # type: ignore[arg-type]


def test_ports_are_read_behind_options_that_were_cut_off() -> None:
    header = first("pre", syn()).network_header
    assert header is not None
    # 40 bytes of options, of which 20 are told
    cut = b"\x4f\0\0\x50" + header[4:] + bytes(20)
    found = shown(network_header=cut)
    assert found is not None
    assert (found.sport, found.dport) == (4000, 80)


@pytest.mark.parametrize("header", [b"", b"\0\1\x08\0\6\4", b"\x45"])
def test_what_is_no_ip_packet_is_none(header: bytes) -> None:
    assert shown(network_header=header) is None
