"""Any text gives flows and problems, never anything else."""

from __future__ import annotations

from datetime import UTC
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from natscope.codec.text import bulk
from natscope.codec.text.cells import Unreadable
from natscope.codec.text.lines import parse_line
from natscope.table.flowtable import FlowTable
from unit.codec.test_text import SAVE, TCP, XML, read

LINES = st.sampled_from([TCP, "ipv4     2 " + TCP, XML, SAVE])
MARKS = st.sampled_from(
    ["=", "<", ">", "[", "]", " ", "src=", "\0", "-", "1" * 30, "é"]
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A sound line with parts cut out and marks put in."""
    line = draw(LINES)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(line)))
        stop = draw(st.integers(start, min(len(line), start + 12)))
        line = line[:start] + draw(MARKS | st.just("")) + line[stop:]
    return line


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    flows, problems, _ = read(text)
    assert flows == []
    assert all(1 <= problem.line <= len(text.splitlines()) for problem in problems)


@given(st.lists(damaged(), max_size=8))
def test_damaged_lines_never_stop_the_reading(lines: list[str]) -> None:
    flows, problems, _ = read("\n".join([TCP, *lines, "", TCP, XML]))
    assert len(flows) + len(problems) >= 3
    for problem in problems:
        assert 1 <= problem.line <= len(lines) + 4


@given(st.lists(LINES, max_size=12), st.integers(0, 5))
def test_every_sound_line_gives_one_flow(lines: list[str], blanks: int) -> None:
    flows, problems, _ = read("\n".join([*lines, *[""] * blanks]))
    assert (len(flows), problems) == (len(lines), [])


SHAPE = (
    "{family}{proto} {timeout}{state}src={a} dst={b} {ports}{count}{unreplied}"
    "src={b} dst={c} {ports}{count}{flag}mark={number}{secctx}{zone}{age}{start}"
    "{helper} use=1{id}"
)
ADDRESSES = st.sampled_from(
    [
        "10.0.0.2",
        "10.0.0.255",
        "10.0.0.256",
        "10.0.0.02",
        "1.2.3",
        "255.255.255.255",
        "fd00::2",
        "::1",
        "::",
        "::ffff:1.2.3.4",
        "1:2:3:4:5:6:7:8",
        "1::2:3:4:5:6:7",
        "fd00::",
        "1::2:3:4:5:6:7:8",
        "1:2",
        "1::2::3",
        "fd00:0:0:0:0:0:0:00002",
    ]
)


@st.composite
def common_lines(draw: st.DrawFn) -> str:
    """Lines of the common shape, some with values that are out of range."""

    def maybe(*texts: str) -> str:
        return draw(st.sampled_from(["", *texts]))

    numbers = st.integers(0, 2**16 + 1) | st.integers(0, 2**33)
    b = draw(ADDRESSES)
    return SHAPE.format(
        family=maybe("ipv4     2 ", "ipv6     10 "),
        proto=draw(st.sampled_from(["tcp 6", "udp 17", "sctp 132", "x 0", "x 256"])),
        timeout=maybe(f"{draw(numbers)} "),
        state=maybe("ESTABLISHED ", "LISTEN ", "CLOSED ", "SYN_SENT "),
        a=draw(ADDRESSES),
        b=b,
        c=draw(st.just(b) | ADDRESSES),
        ports=maybe("sport=0 dport=80 ", f"sport={draw(numbers)} dport=1 "[:40]),
        count=maybe(f"packets={draw(st.integers(0, 2**64))} bytes={2**63} "),
        unreplied=maybe("[UNREPLIED] "),
        flag=maybe("[ASSURED] ", "[OFFLOAD] ", "[HW_OFFLOAD] "),
        number=draw(numbers),
        secctx=maybe(" secctx=system_u:object_r:x:s0"),
        zone=maybe(f" zone={draw(numbers)}"),
        age=maybe(" delta-time=7"),
        start=maybe(" [start=Sat Nov 21 02:34:38 2026]", " [start=Sat Nov 31 2026]"),
        helper=maybe(" helper=ftp"),
        id=maybe(f" id={draw(numbers)}"),
    )


@given(st.lists(common_lines() | LINES, max_size=8))
def test_the_fast_path_says_what_the_slow_one_says(lines: list[str]) -> None:
    quick = bulk.parse(lines, UTC)
    assert sorted([*quick.rows.tolist(), *quick.rest]) == list(range(len(lines)))
    expected = [parse_line(lines[at], UTC) for at in quick.rows]
    assert list(quick.table) == list(FlowTable.from_cells(expected))


@given(st.lists(common_lines(), min_size=1, max_size=8))
def test_what_the_fast_path_leaves_is_bad_or_rare(lines: list[str]) -> None:
    for at in bulk.parse(lines, UTC).rest:
        try:
            cells = parse_line(lines[at], UTC)
        except Unreadable:
            continue
        assert cells.get("orig_packets", 0) >= 10**19  # more digits than it takes


@given(st.lists(st.ip_addresses() | st.ip_addresses(network="::/96"), min_size=1))
def test_addresses_are_read_as_the_library_reads_them(
    addresses: list[IPv4Address | IPv6Address],
) -> None:
    texts = [*map(str, addresses), *(address.exploded for address in addresses)]
    lines = [f"x 9 1 src={a} dst={a} src={a} dst={a} mark=0 use=1" for a in texts]
    quick = bulk.parse(lines, UTC)
    assert quick.rest == []
    assert [flow.orig.src for flow in quick.table] == [*addresses, *addresses]
    assert [flow.reply.dst for flow in quick.table] == [*addresses, *addresses]
