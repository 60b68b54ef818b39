"""Any text gives flows and problems, never anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
    assert len(flows) + len(problems) >= 0


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


QUICK = (
    "{family}tcp      6 {number} {state} src={a} dst={b} sport={port} dport=80 {count}"
    "{unreplied}src={b} dst={a} sport=80 dport={port} {count}{assured}mark={number}"
    "{zone} use=1{id}"
)


@st.composite
def common_lines(draw: st.DrawFn) -> str:
    """TCP lines of the common shape, some with values that are out of range."""

    def maybe(text: str) -> str:
        return draw(st.sampled_from(["", text]))

    return QUICK.format(
        family=maybe("ipv4     2 "),
        number=draw(st.integers(0, 2**33)),
        state=draw(st.sampled_from(["ESTABLISHED", "LISTEN", "CLOSED", "SYN_SENT"])),
        a=draw(st.sampled_from(["10.0.0.2", "fd00::2", "10.0.0.256", "1.2.3"])),
        b=draw(st.sampled_from(["10.0.0.3", "fd00::3"])),
        port=draw(st.integers(0, 99_999)),
        count=maybe("packets=1 bytes=2 "),
        unreplied=maybe("[UNREPLIED] "),
        assured=maybe("[ASSURED] "),
        zone=maybe(" zone=7"),
        id=maybe(f" id={draw(st.integers(0, 2**33))}"),
    )


@given(st.lists(common_lines() | LINES, max_size=8))
def test_the_fast_path_says_what_the_slow_one_says(lines: list[str]) -> None:
    flows, problems, _ = read("\n".join(lines))
    expected, reasons = [], []
    for number, line in enumerate(lines, 1):
        # a blank in front keeps a line from the fast path
        slow, wrong, _ = read(" " + line)
        expected += slow
        reasons += [(number, problem.reason) for problem in wrong]
    assert flows == expected
    assert sorted((p.line, p.reason) for p in problems) == reasons
