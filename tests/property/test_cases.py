"""Files of cases: whatever they hold, they are read or refused."""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from natscope.codec.text.cases import parse
from natscope.errors import DocumentError
from natscope.model.cases import OUTCOMES

KEYS = st.sampled_from(
    ["name", "packet", "packets", "after", "each", "expect", "out", "to", "from", "nat",
     "reply", "rule", "comment", "reason", "ct", "mark", "ctmark", "odd"]
)  # fmt: skip
TEXTS = st.sampled_from(
    ["tcp 1.1.1.1 to 2.2.2.2:{p} in x", "udp ::1 to ::2", "reply", "p", "1-3", "80",
     "10.0.0.3:80", "[::1]:1-2", "[", ":", "{p}", "snat", "new", *OUTCOMES]
)  # fmt: skip
PLAIN = TEXTS | st.text(max_size=8) | st.integers() | st.booleans()
LISTS = PLAIN | st.lists(PLAIN, max_size=3)
TABLES = st.dictionaries(st.sampled_from(["p", "q"]), LISTS, max_size=2)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value).replace("\\ud", "?").replace("\x7f", "?")


@given(st.lists(st.dictionaries(KEYS, LISTS | TABLES, max_size=6), max_size=3))
def test_any_table_is_read_or_refused(tables: list[dict[str, object]]) -> None:
    lines = []
    for table in tables:
        lines.append("[[case]]")
        lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    with suppress(DocumentError):
        parse("\n".join(lines))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(DocumentError):
        parse(text)


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535))
def test_an_endpoint_holds_its_own_address_and_ports(
    address: object, one: int, other: int
) -> None:
    first, last = sorted((one, other))
    shown = f"[{address}]" if ":" in str(address) else str(address)
    text = '[[case]]\npacket = "tcp 1.1.1.1 to 2.2.2.2:80"\n'
    (case,) = parse(f'{text}to = "{shown}:{first}-{last}"').cases
    end = case.expectation.dst
    assert end is not None
    found = ip_address(str(address))
    assert end.holds(found, first)
    assert end.holds(found, last)
    assert not end.holds(found, last + 1)
    assert not end.holds(found, None)
