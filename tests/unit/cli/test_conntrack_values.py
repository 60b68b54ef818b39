"""Values of conntrack's options: what is read, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.cli.conntrack import protocols, values
from natscope.cli.conntrack.values import U8, U16, U32


@dataclass(frozen=True)
class Number:
    text: str
    decimal: int | None
    whole: int | None


NUMBERS = [
    Number("0", 0, 0),
    Number("80", 80, 80),
    Number("+80", 80, 80),
    Number(" 80", 80, 80),
    Number("010", 10, 8),
    Number("0x1F", None, 31),
    Number("65535", 65535, 65535),
    Number("65536", None, None),
    Number("08", 8, None),
    Number("0x", None, None),
    Number("", None, None),
    Number("-1", None, None),
    Number("5x", None, None),
    Number("abc", None, None),
    Number("1_0", None, None),
    Number("٣", None, None),
    Number("9" * 5000, None, None),
]


@pytest.mark.parametrize("case", NUMBERS, ids=lambda case: case.text[:9] or "empty")
def test_numbers_are_numbers_and_nothing_else_is(case: Number) -> None:
    assert values.decimal(case.text, U16) == case.decimal
    assert values.whole(case.text, U16) == case.whole


@dataclass(frozen=True)
class Spans:
    text: str
    found: tuple[tuple[int, int], ...] | None


SPANS = [
    Spans("80", ((80, 80),)),
    Spans("80,443", ((80, 80), (443, 443))),
    Spans("1000:2000", ((1000, 2000),)),
    Spans("1000-2000,5", ((1000, 2000), (5, 5))),
    Spans("5-5", ((5, 5),)),
    Spans("2000:1000", None),
    Spans("80,", None),
    Spans("80:", None),
    Spans(":80", None),
    Spans("1-2-3", None),
    Spans("65546", None),
    Spans("http", None),
]


@pytest.mark.parametrize("case", SPANS, ids=lambda case: case.text)
def test_ports_are_lists_and_ranges(case: Spans) -> None:
    assert values.spans(case.text, U16) == case.found


def test_keys_are_written_in_any_base() -> None:
    assert values.spans("0x77,010:0x10", U16, keys=True) == ((0x77, 0x77), (8, 16))


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("10.0.0.5", bytes((10, 0, 0, 5))),
        ("10.5", bytes((10, 0, 0, 5))),
        ("0x0a000005", bytes((10, 0, 0, 5))),
        ("10.0.0.5 ", bytes((10, 0, 0, 5))),
        ("10.0.0.5 x", None),
        ("10.0.0.256", None),
        ("::5", bytes(15) + b"\5"),
        ("2001:DB8::1.1.1.1", bytes.fromhex("20010db8000000000000000001010101")),
        ("[::5]", None),
        ("fe80::1%eth0", None),
        ("", None),
        ("\udc80", None),
    ],
)
def test_addresses_are_what_inet_aton_and_inet_pton_take(
    text: str, packed: bytes | None
) -> None:
    assert values.address(text) == packed


@pytest.mark.parametrize(
    ("prefix", "mask"),
    [
        ("24", b"\xff\xff\xff\0"),
        ("0", bytes(4)),
        ("32", b"\xff" * 4),
        ("33", None),
        ("", None),
        ("-1", None),
        ("255.0.0.0", None),
    ],
)
def test_a_prefix_length_makes_a_mask(prefix: str, mask: bytes | None) -> None:
    assert values.netmask(prefix, 4) == mask


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("5", (5, U32)),
        ("0x5/0xf", (5, 15)),
        ("010/8", (8, 8)),
        ("4294967295/4294967295", (U32, U32)),
        ("5/", None),
        ("/5", None),
        ("5/x", None),
        ("4294967296", None),
        ("0/4294967296", None),
        ("zzz", None),
    ],
)
def test_a_mark_may_have_a_mask(text: str, mark: tuple[int, int] | None) -> None:
    assert values.mark(text) == mark


@dataclass(frozen=True)
class Words:
    id: str
    text: str
    found: list[tuple[bool, str]]


STATUSES = [
    Words("a word", "ASSURED", [(False, "ASSURED")]),
    Words("the beginning of one", "as", [(False, "ASSURED")]),
    Words("the first that fits", "e", [(False, "EXPECTED")]),
    Words("NAT comes first of all", "s,d", [(False, "SRC_NAT"), (False, "DST_NAT")]),
    Words("a bit that is clear", "!ASSURED", [(True, "ASSURED")]),
    Words("unreplied", "UNREPLIED,f", [(False, "UNREPLIED"), (False, "FIXED_TIMEOUT")]),
    Words("UNSET is not UNREPLIED", "UN", [(False, "UNSET")]),
]


@pytest.mark.parametrize("case", STATUSES, ids=lambda case: case.id)
def test_statuses_are_named_by_their_beginnings(case: Words) -> None:
    found = values.chosen(case.text, values.STATUS_BITS, negatable=True)
    assert list(found) == case.found


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("", ""),
        ("foo", "foo"),
        ("ASSURED,foo,bar", "foo,bar"),
        ("ASSURED,", ""),
        (",ASSURED", ",ASSURED"),
        ("!", ""),
        ("!,ASSURED", ",ASSURED"),
        ("ASSURED,!foo", "foo"),
        ("ASSUREDX", "ASSUREDX"),
        ("unreplied", "unreplied"),
    ],
)
def test_what_is_no_status_is_named_with_all_that_follows(text: str, rest: str) -> None:
    with pytest.raises(values.BadWord) as bad:
        list(values.chosen(text, values.STATUS_BITS, negatable=True))
    assert bad.value.rest == rest


def test_no_beginning_means_another_format_since_there_is_json() -> None:
    stock = values.OUTPUTS[:-1]
    for word in (*stock, *values.NAT_WORDS):
        for end in range(1, len(word) + 1):
            begun = word[:end]
            assert list(values.chosen(begun, values.OUTPUTS)) == list(
                values.chosen(begun, stock)
            )
    assert list(values.chosen("j", values.OUTPUTS)) == [(False, "json")]


def test_only_statuses_are_negated() -> None:
    with pytest.raises(values.BadWord):
        list(values.chosen("!xml", values.OUTPUTS))


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("tcp", "tcp", 6),
        ("TCP", "tcp", 6),
        ("6", "tcp", 6),
        ("0x6", "tcp", 6),
        ("udplite", "udplite", 136),
        ("2", "unknown", 2),
        ("200", "unknown", 200),
        ("255", "unknown", U8),
    ],
)
def test_a_protocol_has_a_name_or_a_number(text: str, name: str, number: int) -> None:
    found = protocols.find(text)
    assert found is not None
    assert (found.name, found.number) == (name, number)


@pytest.mark.parametrize("text", ["256", "-1", "foo", "20foo", "foo20", "", "\udc80"])
def test_what_names_no_protocol_is_none(text: str) -> None:
    assert protocols.find(text) is None
