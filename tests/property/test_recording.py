"""Any bytes are frames and gaps; damage costs what it touches and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from natscope.codec import nlmsg
from natscope.codec.encode import flow_message
from natscope.codec.recorded import PayloadDecoder, decode_header, decode_totals
from natscope.codec.recording import (
    MAGIC,
    Frame,
    FrameKind,
    Gap,
    Packer,
    Packing,
    read_frames,
    time_message,
)
from natscope.errors import DecodeError
from property.crowd import flows

KINDS = st.sampled_from(FrameKind)


@st.composite
def files(draw: st.DrawFn) -> list[bytes]:
    """The frames of a file, with any payloads."""
    packer = Packer(draw(st.sampled_from((Packing.NONE, Packing.ZLIB))))
    payloads = st.binary(max_size=200) | st.just(MAGIC * 30) | st.just(bytes(3000))
    return [
        packer.frame(
            draw(KINDS),
            draw(payloads),
            time_ns=draw(st.integers(0, 2**64 - 1)),
            lost=draw(st.integers(0, 2**40)),
            count=draw(st.integers(0, 2**32 - 1)),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _covered(found: list[Frame | Gap], frames: list[bytes], size: int) -> bool:
    """Whether frames and gaps are the file, each byte once and in order."""
    at = 0
    for one in found:
        if one.offset != at:
            return False
        at += one.length if isinstance(one, Gap) else len(frames[one.sequence])
    return at == size


@given(frames=files(), data=st.data())
def test_damage_costs_the_frames_it_touches(
    frames: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(frames))
    touched = set()
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        before = whole[at]
        whole[at] = data.draw(st.integers(0, 255))
        if whole[at] != before:
            touched.add(next(n for n, end in enumerate(ends) if at < end))
    block = data.draw(st.sampled_from((1, 13, 1 << 16)))
    found = list(read_frames(_pieces(bytes(whole), block)))
    read = [one.sequence for one in found if isinstance(one, Frame)]
    untouched = set(range(len(frames))) - touched
    assert untouched <= set(read)
    assert read == sorted(read)
    assert _covered(found, frames, len(whole))


@given(frames=files(), data=st.data())
def test_a_file_cut_anywhere_is_read_up_to_the_cut(
    frames: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    found = list(read_frames([whole[:cut]]))
    complete = [n for n in range(len(frames)) if sum(map(len, frames[: n + 1])) <= cut]
    assert [one.sequence for one in found if isinstance(one, Frame)] == complete
    assert _covered(found, frames, cut)


@given(junk=st.lists(st.binary(max_size=60) | st.just(MAGIC), max_size=20))
def test_any_bytes_are_gaps_of_all_of_them(junk: list[bytes]) -> None:
    found = list(read_frames(junk))
    assert sum(one.length for one in found if isinstance(one, Gap)) == sum(
        map(len, junk)
    )


@given(payload=st.binary(max_size=300))
def test_any_payload_gives_a_value_or_a_decode_error(payload: bytes) -> None:
    frame = Frame(FrameKind.EVENTS, payload, 1)
    decoder = PayloadDecoder()
    for decode in (
        lambda: decode_header(payload),
        lambda: decode_totals(payload),
        lambda: decoder.dump(frame),
        lambda: decoder.events(frame),
    ):
        try:
            decode()
        except DecodeError as error:
            assert error.reason


@given(st.lists(st.tuples(st.integers(1, 2**63), st.lists(flows(), max_size=4))))
def test_events_come_back_in_batches_of_one_time(batches: list[tuple]) -> None:  # type: ignore[type-arg]
    payload = b"".join(
        time_message(time_ns) + b"".join(flow_message(flow) for flow in some)
        for time_ns, some in batches
    )
    told = PayloadDecoder().events(Frame(FrameKind.EVENTS, payload, 1))
    wanted = [(time_ns, some) for time_ns, some in batches if some]
    assert [(batch.received_ns, len(batch)) for batch in told] == [
        (time_ns, len(some)) for time_ns, some in wanted
    ]
    for batch, (_, some) in zip(told, wanted, strict=True):
        assert [flow.orig for flow in batch.flows] == [flow.orig for flow in some]
    assert len(payload) % nlmsg.align(1) == 0
