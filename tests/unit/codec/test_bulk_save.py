"""Commands read in bulk: which lines are taken, and what they are taken for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from natscope.codec.text import bulk_save
from natscope.codec.text.bulk_save import save_table
from natscope.codec.text.words import Vocabulary, Words
from natscope.uapi import Status

STOCK = Path(__file__).parents[2] / "data" / "listings" / "save.txt"
TCP = (
    "-A -t 431968 -u SEEN_REPLY,ASSURED -s 10.1.0.2 -d 198.51.100.2 -r 198.51.100.2 "
    "-n 198.51.100.1 -p tcp --sport 40080 --dport 80 --reply-port-src 80 "
    "--reply-port-dst 40080 --state ESTABLISHED"
)
NAT = int(Status.SRC_NAT | Status.DST_NAT)
PRINTED = int(
    Status.SEEN_REPLY | Status.ASSURED | Status.FIXED_TIMEOUT | Status.EXPECTED
)


def test_all_that_stock_prints_is_taken_but_dccp_which_it_cannot_read_itself() -> None:
    lines = STOCK.read_bytes().splitlines()
    found = save_table(STOCK.read_bytes())
    assert [lines[at].split(b" -p ")[1] for at in found.rest] == [b"dccp"]
    assert len(found.table) == found.add.sum() == len(lines) - 1


@dataclass(frozen=True)
class Told:
    id: str
    line: str
    status: int | None
    mask: int | None


SEEN = int(Status.SEEN_REPLY | Status.ASSURED)
NO_STATUS = TCP.replace("-u SEEN_REPLY,ASSURED ", "")
TOLD = [
    Told("source translated", TCP, SEEN | Status.SRC_NAT, PRINTED | NAT),
    Told(
        "both translated",
        TCP.replace("-r ", "-g "),
        SEEN | NAT,
        PRINTED | NAT,
    ),
    Told("another reply, no NAT", TCP.replace("-n ", "-q "), SEEN, PRINTED | NAT),
    Told("no bit", TCP.replace("SEEN_REPLY,ASSURED", "UNSET"), 16, PRINTED | NAT),
    Told("translated, no status", NO_STATUS, int(Status.SRC_NAT), NAT),
    Told("no status", NO_STATUS.replace("-n ", "-q "), None, None),
]


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.id)
def test_status_holds_what_was_said_of_it(case: Told) -> None:
    (flow,) = save_table(case.line.encode()).table
    assert (flow.status, flow.status_mask) == (case.status, case.mask)
    assert (str(flow.reply.dst), flow.reply.dport) == ("198.51.100.1", 40080)


@dataclass(frozen=True)
class Left:
    id: str
    line: str


LEFT = [
    Left("an update", TCP.replace("-A", "-U")),
    Left("a deletion", TCP.replace("-A", "-D")),
    Left("another command", TCP.replace("-A", "-F")),
    Left("the tool's name before it", "conntrack " + TCP),
    Left("nothing", ""),
    Left("a remark", "# " + TCP),
    Left("an option before the command", "-t 4 -A " + TCP[3:]),
    Left("an option joined to its argument", TCP.replace("-t 4", "-t4")),
    Left("a long option joined to its argument", TCP.replace("--sport ", "--sport=")),
    Left("an abbreviated option", TCP.replace("--sport", "--spor")),
    Left("an option that takes none", TCP.replace("-t", "-z -t")),
    Left("an unknown option", TCP + " --colour red"),
    Left("an option that begins as a long one", TCP.replace("--reply-port-src", "--xeply-port-src")),
    Left("an option told twice", TCP + " -t 431968"),
    Left("a thing told by two options", TCP + " -q 198.51.100.1"),
    Left("an option without its argument", TCP + " -m"),
    Left("two blanks", TCP.replace(" -s", "  -s")),
    Left("a tab", TCP.replace(" -s", "\t-s")),
    Left("a carriage return", TCP + "\r"),
    Left("a NUL", TCP.replace("40080", "4008\0")),
    Left("no timeout", TCP.replace("-t 431968 ", "")),
    Left("no source", TCP.replace("-s 10.1.0.2 ", "")),
    Left("no protocol", TCP.replace("-p tcp ", "")),
    Left("no state", TCP.replace(" --state ESTABLISHED", "")),
    Left("no reply port", TCP.replace("--reply-port-src 80 ", "")),
    Left("a state of another protocol", TCP.replace("ESTABLISHED", "CLOSED")),
    Left("a state that is none", TCP.replace("ESTABLISHED", "XSTABLISHED")),
    Left("a protocol after its options", TCP.replace("-p tcp ", "") + " -p tcp"),
    Left("options of another protocol", TCP.replace("-p tcp", "-p icmp")),
    Left("a named protocol as number", TCP.replace("-p tcp", "-p 6")),
    Left("a protocol beyond a byte", TCP.replace("-p tcp", "-p 262")),
    Left("ICMP of the other family", TCP.partition("--sport")[0].replace("tcp", "icmpv6") + "--icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 9"),
    Left("two families", TCP.replace("-n 198.51.100.1", "-n 2001:db8::1")),
    Left("translated to a port", TCP.replace("-n 198.51.100.1", "-n 198.51.100.1:5")),
    Left("a mark with a mask", TCP + " -m 1/1"),
    Left("a mark in hexadecimal", TCP + " -m 0x10"),
    Left("a leading zero", TCP.replace("40080", "040080")),
    Left("a sign", TCP.replace("-t 431968", "-t +431968")),
    Left("a port too large", TCP.replace("40080", "65536")),
    Left("a timeout too large", TCP.replace("431968", "4294967296")),
    Left("a security mark, which stock takes from nobody", TCP + " -c 1"),
    Left("a status bit stock does not print", TCP.replace("ASSURED", "CONFIRMED")),
]  # fmt: skip


@pytest.mark.parametrize("case", LEFT, ids=lambda case: case.id)
def test_a_line_of_another_shape_is_left_and_its_neighbours_taken(case: Left) -> None:
    found = save_table("\n".join([TCP, case.line, TCP]).encode())
    assert (found.rows.tolist(), found.rest) == ([0, 2], [1])


def test_inserts_are_told_from_adds() -> None:
    lines = [TCP, "-I" + TCP[2:], "--create" + TCP[2:], "--add" + TCP[2:]]
    assert save_table("\n".join(lines).encode()).add.tolist() == [1, 0, 0, 1]


def test_lines_are_numbered_through_all_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [TCP.replace("40080", str(n)) if n % 3 else "" for n in range(30)]
    text = "".join(f"{line}\n" for line in lines).encode()
    whole = save_table(text)
    monkeypatch.setattr(bulk_save, "BYTES_AT_ONCE", 300)
    cut = save_table(text)
    assert cut.rows.tolist() == whole.rows.tolist() == [n for n in range(30) if n % 3]
    assert cut.rest == whole.rest == list(range(0, 30, 3))
    assert list(cut.table) == list(whole.table)
    assert cut.table["orig_sport"].tolist() == cut.rows.tolist()


def test_a_file_without_lines_is_an_empty_table() -> None:
    assert len(save_table(b"").table) == 0
    found = save_table(b"\n\n")
    assert (len(found.table), found.rest) == (0, [0, 1])


def test_a_vocabulary_knows_its_own_words_alone() -> None:
    known = [
        "-s",
        "--reply-port-src",
        "--reply-port-dst",
        "SEEN_REPLY,ASSURED,EXPECTED",
    ]
    others = ["", "s", "-d", "--xeply-port-src", "--reply-port-srd", "-s\0", "x" * 70]
    others += ["XEEN_REPLY,ASSURED,EXPECTED", "-" * 16, "--reply-port-src-x"]
    words = Words(" ".join(known + others).encode())
    found = Vocabulary(known).find(words, np.arange(len(words.length)))
    assert found.tolist() == [0, 1, 2, 3, *[-1] * len(others)]
