"""Names of labels, as libnetfilter_conntrack reads connlabel.conf."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.model.labelmap import LabelMap


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    names: dict[int, str]


CASES = [
    Case("a bit and a name", "0 web\n", {0: "web"}),
    Case("blanks in a name", "1 vip customer\n", {1: "vip customer"}),
    Case("blanks around a name", "1 \t web \r\n", {1: "web"}),
    Case("blanks before the bit", "  7 web\n", {7: "web"}),
    Case("no newline at the end", "0 web", {0: "web"}),
    Case("a comment", "#0 web\n1 mail\n", {1: "mail"}),
    Case("a comment is one at the beginning alone", "0 web # front\n", {}),
    Case("the first of two names of a bit", "3 web\n3 mail\n", {3: "web"}),
    Case("the first of two bits of a name", "3 web\n4 web\n", {3: "web"}),
    Case("a refused line leaves its bit free", "3 a_b\n3 web\n", {3: "web"}),
    Case("hexadecimal and octal bits", "0x10 web\n010 mail\n", {16: "web", 8: "mail"}),
    Case("the last bit an entry has", "127 web\n128 mail\n", {127: "web"}),
    Case("no bit", "web\n", {}),
    Case("a negative bit", "-1 web\n", {}),
    Case("no name", "5\n5 \n", {}),
    Case("a name XML would trip over", "5 a<b\n6 a&b\n", {}),
    Case("a name with letters beyond ASCII", "5 kundä\n", {}),
    Case("no blank between", "5web\n", {5: "web"}),
    Case("nothing", "", {}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_file_names_bits(case: Case) -> None:
    labels = LabelMap.parse(case.text)
    found = {bit: names for bit in range(128) if (names := labels.names(1 << bit))}
    assert found == {bit: [name] for bit, name in case.names.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_name_leads_back_to_its_bit(case: Case) -> None:
    labels = LabelMap.parse(case.text)
    assert {labels.bit(name): name for name in case.names.values()} == case.names


def test_names_come_lowest_bit_first_and_bits_without_one_vanish() -> None:
    labels = LabelMap.parse("100 high\n2 low\n")
    assert labels.names(1 << 100 | 1 << 50 | 1 << 2) == ["low", "high"]


def test_a_name_no_line_gives_has_no_bit() -> None:
    assert LabelMap.parse("2 low\n").bit("lo") is None
