"""Trace, packet log and rulesets: any bytes, any text, a result or a DecodeError."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from natscope.codec import nflog, nftrace
from natscope.codec.nftrace import TraceMessage
from natscope.codec.text.ruleset import parse_iptables, parse_nft
from natscope.codec.traversal import Assembler
from natscope.errors import DecodeError
from natscope.model.journey import Verdict
from unit.codec.test_traversal import RULES
from unit.codec.trace_messages import POLICY, RULE, encoded

TEXT = st.text('abc"{};#\n -:*[]0123456789 handle chain table jump', max_size=200)
CHAINS = ("raw", "pre", "services", "fwd", "in", "out", "post", "unknown")


@st.composite
def steps(draw: st.DrawFn) -> TraceMessage:
    is_policy = draw(st.booleans())
    verdict = draw(st.sampled_from(Verdict))
    return TraceMessage(
        family="ip",
        table="t",
        chain=draw(st.sampled_from(CHAINS)),
        id=draw(st.integers(0, 3)),
        type=POLICY if is_policy else RULE,
        rule_handle=draw(st.none() | st.integers(0, 9)),
        verdict=None if is_policy else verdict,
        policy=verdict if is_policy else None,
        network_header=draw(st.none() | st.binary(max_size=40)),
        transport_header=draw(st.none() | st.binary(max_size=20)),
        iif=draw(st.none() | st.integers(0, 5)),
        mark=draw(st.none() | st.integers(0, 1 << 31)),
        ct_state=draw(st.none() | st.sampled_from([1, 2, 4, 8, 64])),
    )


@given(steps())
def test_a_step_is_read_as_it_was_written(step: TraceMessage) -> None:
    assert nftrace.decode(encoded(step)) == step


@given(st.data())
def test_a_damaged_trace_is_read_or_refused(data: st.DataObject) -> None:
    message = bytearray(encoded(data.draw(steps())))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(
            st.integers(0, 255)
        )
    with suppress(DecodeError):
        nftrace.decode(bytes(message[: data.draw(st.integers(0, len(message)))]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_logged_packet_or_refused(message: bytes) -> None:
    with suppress(DecodeError):
        nflog.decode(message)


@given(st.lists(steps(), max_size=40), st.sets(st.integers(0, 39)))
def test_every_step_comes_out_once_in_its_packets_order(
    told: list[TraceMessage], settled: set[int]
) -> None:
    assembler = Assembler(RULES)
    found = []
    for place, step in enumerate(told):
        found += assembler.feed(step)
        if place in settled:
            found += assembler.settle()
    found += assembler.flush()
    assert all(found)
    out = [visit for visits in found for visit in visits]
    assert sorted((v.chain.name, v.mark) for v in out) == sorted(
        (step.chain, step.mark or 0) for step in told
    )


@given(TEXT)
def test_any_text_is_a_ruleset(text: str) -> None:
    parse_nft(f"table ip t {{\nchain c {{\n{text}\n}}\n}}\n")
    parse_iptables(f"*filter\n{text}\n", family="ip", tool="iptables-legacy")
