"""Drop reasons, as an engineer reads them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope.model.journey import Drop, Hook, Outcome, Position, Stage
from natscope.model.packet import Packet
from natscope.views.dropped import dropped

PREROUTING, FORWARD, INPUT = Hook.PREROUTING, Hook.FORWARD, Hook.INPUT
POSTROUTING = Hook.POSTROUTING


@dataclass(frozen=True)
class Case:
    id: str
    reason: str
    last: tuple[Hook, int]
    outcome: Outcome
    stage: Stage
    word: str
    says: str
    place: str | None = "nft_do_chain+0x5ad"
    ttl: int = 64


CASES = [
    Case(
        "nftables",
        "NETFILTER_DROP",
        (FORWARD, -1),
        Outcome.DROPPED,
        Stage.FILTER,
        "netfilter",
        "a rule or a policy dropped it at forward, after priority -1",
    ),
    Case(
        "iptables, or conntrack",
        "NETFILTER_DROP",
        (PREROUTING, -301),
        Outcome.DROPPED,
        Stage.RAW,
        "netfilter",
        "a rule, a policy, connection tracking or NAT dropped it at prerouting",
        "nf_hook_slow+0xa0",
    ),
    Case(
        "between conntrack and NAT",
        "NETFILTER_DROP",
        (PREROUTING, -199),
        Outcome.DROPPED,
        Stage.MANGLE,
        "netfilter",
        "after priority -199",
    ),
    Case(
        "in NAT",
        "NETFILTER_DROP",
        (PREROUTING, -101),
        Outcome.DROPPED,
        Stage.DNAT,
        "netfilter",
        "after priority -101",
    ),
    Case(
        "in postrouting",
        "NETFILTER_DROP",
        (POSTROUTING, 99),
        Outcome.DROPPED,
        Stage.SNAT,
        "netfilter",
        "after priority 99",
    ),
    Case(
        "TTL",
        "IP_INHDR",
        (PREROUTING, -99),
        Outcome.REJECTED,
        Stage.ROUTING,
        "ttl",
        "its TTL is used up",
        "ip_forward+0x2c0",
        ttl=1,
    ),
    Case(
        "another fault of the header",
        "IP_INHDR",
        (PREROUTING, -99),
        Outcome.DROPPED,
        Stage.ROUTING,
        "ip-inhdr",
        "the kernel dropped it: IP_INHDR at ip_rcv_core+0x10",
        "ip_rcv_core+0x10",
    ),
    Case(
        "nobody listens",
        "NO_SOCKET",
        (INPUT, 49),
        Outcome.REJECTED,
        Stage.FILTER,
        "no-socket",
        "nothing that listens",
    ),
    Case(
        "no neighbour",
        "NEIGH_FAILED",
        (POSTROUTING, 101),
        Outcome.DROPPED,
        Stage.CONFIRM,
        "no-neighbour",
        "the next hop answers neither",
    ),
    Case(
        "a route that discards",
        "NOT_SPECIFIED",
        (PREROUTING, -99),
        Outcome.DROPPED,
        Stage.ROUTING,
        "no-route",
        "blackhole",
        "ip_error+0x94",
    ),
    Case(
        "a checksum",
        "UDP_CSUM",
        (INPUT, 49),
        Outcome.DROPPED,
        Stage.FILTER,
        "checksum",
        "its checksum is wrong (UDP_CSUM at udp_queue_rcv_skb+0x1)",
        "udp_queue_rcv_skb+0x1",
    ),
    Case(
        "a reason of a newer kernel, symbols hidden",
        "REASON200",
        (POSTROUTING, 101),
        Outcome.DROPPED,
        Stage.CONFIRM,
        "reason200",
        "the kernel dropped it: REASON200",
        None,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_reason_becomes_a_stage_a_word_and_a_sentence(case: Case) -> None:
    packet = Packet(ip_address("10.0.0.2"), ip_address("10.0.0.3"), 17, ttl=case.ttl)
    last = Position(*case.last, family="ip", packet=packet, time_ns=0)
    found = dropped(Drop(case.reason, case.place, 0), last)
    assert (found.outcome, found.stage, found.reason) == (
        case.outcome,
        case.stage,
        case.word,
    )
    assert case.says in found.why
