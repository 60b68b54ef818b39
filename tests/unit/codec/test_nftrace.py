"""One trace message: its attributes, and what is said of broken ones."""

from __future__ import annotations

import pytest

from natscope import uapi
from natscope.codec import nftrace, nla, nlmsg
from natscope.codec.nftrace import TraceMessage
from natscope.errors import DecodeError
from natscope.model.journey import Tracked, Verdict
from natscope.uapi.nftables import NftaTrace, NftaVerdict
from unit.codec.trace_messages import POLICY, RULE, encoded, first, syn

FULL = TraceMessage(
    family="ip",
    table="nat",
    chain="pre",
    id=0x46000393,
    type=RULE,
    rule_handle=3,
    verdict=Verdict.JUMP,
    target="services",
    policy=None,
    link_header=bytes(14),
    network_header=bytes.fromhex("4500003c48970000400600000a0701020a070101"),
    transport_header=bytes(20),
    iif=2,
    iif_type=1,
    oif=3,
    oif_type=1,
    mark=7,
    nfproto=uapi.AF_INET,
    ct_id=0x1C0390D7,
    ct_direction=0,
    ct_status=288,
    ct_state=8,
    unknown=((99, b"new"),),
)


def test_every_attribute_of_a_step_is_read() -> None:
    assert nftrace.decode(encoded(FULL)) == FULL


def test_what_conntrack_made_of_the_packet_is_told_together() -> None:
    assert FULL.tracked == Tracked(state=8, direction=0, status=288, id=0x1C0390D7)
    assert first("pre", syn()).tracked is None


def test_a_rule_of_6_18_without_a_handle_is_the_end_of_a_chain() -> None:
    step = TraceMessage("ip", "t", "c", 1, RULE, verdict=Verdict.CONTINUE)
    assert nftrace.decode(encoded(step)).is_end


def test_a_policy_is_no_end_of_a_chain() -> None:
    step = TraceMessage("ip", "t", "c", 1, POLICY, policy=Verdict.DROP)
    assert nftrace.decode(encoded(step)) == step
    assert not step.is_end


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        pytest.param(-1, Verdict.CONTINUE, id="nft's own are negative"),
        pytest.param(0x0005_0003, Verdict.QUEUE, id="queue number 5"),
        pytest.param(0x0001_0000, Verdict.DROP, id="a drop with EPERM"),
    ],
)
def test_a_verdict_is_read_without_what_stands_above_it(
    code: int, verdict: Verdict
) -> None:
    inner = nla.build(
        NftaVerdict.NFTA_VERDICT_CODE, code.to_bytes(4, "big", signed=True)
    )
    bare = encoded(TraceMessage("ip", "t", "c", 1, RULE))
    message = bare + nla.nest(NftaTrace.NFTA_TRACE_VERDICT, inner)
    assert nftrace.decode(message).verdict is verdict


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(b"", "nfgenmsg", id="nothing"),
        pytest.param(
            encoded(FULL)[: nlmsg.ATTRIBUTES_AT], "NFTA_TRACE_TABLE", id="no attribute"
        ),
        pytest.param(
            encoded(FULL) + nla.build(NftaTrace.NFTA_TRACE_MARK, b"12"),
            "NFTA_TRACE_MARK",
            id="half a mark",
        ),
        pytest.param(
            encoded(FULL) + nla.build(NftaTrace.NFTA_TRACE_POLICY, b"\0\0\0\x63"),
            "99 is no verdict",
            id="a verdict nobody knows",
        ),
    ],
)
def test_bytes_that_are_no_trace_are_refused_with_their_place(
    message: bytes, said: str
) -> None:
    with pytest.raises(DecodeError, match=said):
        nftrace.decode(message)
