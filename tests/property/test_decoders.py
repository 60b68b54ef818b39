"""The fast decoder says what the reference decoder says, of anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from messages import sound_messages, unsound_messages
from natscope.codec import nlmsg
from natscope.codec.encode import encode_flow, flow_message
from natscope.codec.scalar import decode_flow
from natscope.codec.vector import Decoder, decode_flows
from natscope.codec.wire import describe
from natscope.errors import DecodeError
from natscope.model.flow import Flow

REMEMBERING = Decoder()
"""Kept between examples: layouts of one batch must not harm another."""


def one_by_one(buffer: bytes) -> list[Flow] | DecodeError:
    """What the reference decoder makes of each message, or its first error."""
    flows = []
    for found in nlmsg.split(buffer):
        try:
            flows.append(decode_flow(buffer[found.start : found.end]))
        except DecodeError as error:
            return error
    return flows


def at_once(decoder: Decoder, buffer: bytes) -> list[Flow] | DecodeError:
    try:
        return list(decoder.decode(buffer))
    except DecodeError as error:
        return error


def same(one: list[Flow] | DecodeError, other: list[Flow] | DecodeError) -> bool:
    if isinstance(one, DecodeError) and isinstance(other, DecodeError):
        return (one.path, one.offset, one.reason) == (
            other.path,
            other.offset,
            other.reason,
        )
    return one == other


@given(st.lists(sound_messages(), max_size=6))
def test_sound_messages_decode_alike(messages: list[bytes]) -> None:
    buffer = b"".join(messages)
    expected = one_by_one(buffer)
    assert isinstance(expected, list)
    assert expected == at_once(Decoder(), buffer)
    assert expected == at_once(REMEMBERING, buffer)


@given(st.lists(sound_messages() | unsound_messages(), max_size=6))
def test_cut_and_corrupted_messages_decode_or_fail_alike(messages: list[bytes]) -> None:
    buffer = b"".join(messages)
    expected = one_by_one(buffer)
    assert same(expected, at_once(Decoder(), buffer))
    assert same(expected, at_once(REMEMBERING, buffer))


@given(st.binary(max_size=120))
def test_any_bytes_give_a_table_or_a_decode_error(data: bytes) -> None:
    try:
        decode_flows(data)
    except DecodeError as error:
        assert error.path
    list(describe(data))


@given(sound_messages())
def test_what_is_encoded_decodes_to_the_same_flow(data: bytes) -> None:
    flow = decode_flow(data)
    again = decode_flow(flow_message(flow))
    assert encode_flow(again) == encode_flow(flow)


@given(st.lists(sound_messages(), min_size=1, max_size=3), st.data())
def test_an_unpadded_last_message_is_read_like_a_padded_one(
    messages: list[bytes], data: st.DataObject
) -> None:
    buffer = b"".join(messages)
    length = int.from_bytes(messages[-1][:4], "little")
    bare = buffer[: len(buffer) - len(messages[-1]) + length]
    assert one_by_one(bare) == at_once(Decoder(), bare) == one_by_one(buffer)
