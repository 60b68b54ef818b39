"""Expectations on the real kernel, the stock tool as oracle."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from kernel import oracle
from natscope import uapi
from natscope.actions import plan
from natscope.cli import main
from natscope.codec.text.expectation import from_json, to_json
from natscope.errors import KernelError
from natscope.model.expectation import Expectation
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sources import expectations
from natscope.sources.kernel import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]


def _tuple(src: str, dst: str, proto: int, sport: int, dport: int) -> FlowTuple:
    return FlowTuple(ip_address(src), ip_address(dst), proto, sport, dport)


FTP = _tuple("10.0.0.2", "198.51.100.9", 6, 40021, 21)
FTP6 = _tuple("fd00::2", "2001:db8::9", 6, 40021, 21)
SIP = _tuple("10.0.0.3", "198.51.100.9", 17, 5060, 5060)


def _announced(
    master: FlowTuple, proto: int, port: int, helper: str, flags: int = 0
) -> Expectation:
    v6 = master.src.version == 6
    every = ip_address("ffff:" * 7 + "ffff" if v6 else "255.255.255.255")
    return Expectation(
        expected=FlowTuple(master.dst, master.src, proto, 0, port),
        mask=FlowTuple(every, every, proto, 0, 0xFFFF),
        master=master,
        timeout=300,
        flags=flags,
        class_=0,
        helper=helper,
    )


ANNOUNCED = (
    _announced(FTP, 6, 40000, "ftp"),
    _announced(FTP6, 6, 40001, "ftp"),
    _announced(SIP, 17, 6000, "sip", flags=2),
)


def announce() -> None:
    """Masters with helpers, and what they expect."""
    kernel = Kernel()
    masters = [
        Flow(one, one.reversed(), status=6, timeout=600, helper=helper, tcp_state=state)
        for one, helper, state in (
            (FTP, "ftp", 3),
            (FTP6, "ftp", 3),
            (SIP, "sip", None),
        )
    ]
    assert plan.insert(kernel, masters).run().refused == {}
    with kernel.socket() as sock:
        for one in ANNOUNCED:
            expectations.create(sock, one)


def test_what_is_announced_is_listed() -> None:
    announce()
    with Kernel().socket() as sock:
        found = expectations.expectations(sock)
        assert {one.expected for one in found} == {one.expected for one in ANNOUNCED}
        assert {one.mask for one in found} == {one.mask for one in ANNOUNCED}
        assert {one.master for one in found} == {FTP, FTP6, SIP}
        assert {one.helper for one in found} == {"ftp", "sip"}
        of_ftp = expectations.of_master(sock, FTP)
        assert [one.expected.dport for one in of_ftp] == [40000]


def test_a_master_in_a_zone_is_asked_there() -> None:
    zoned = Flow(FTP, FTP.reversed(), status=6, timeout=600, helper="ftp", tcp_state=3)
    plain = replace(zoned, helper=None)
    kernel = Kernel()
    done = plan.insert(kernel, [replace(zoned, zone=7), plain]).run()
    assert done.refused == {}
    with kernel.socket() as sock:
        expectations.create(sock, replace(ANNOUNCED[0], zone=7))
        assert [one.zone for one in expectations.expectations(sock)] == [None]
        assert expectations.of_master(sock, FTP) == []
        assert [one.zone for one in expectations.of_master(sock, FTP, zone=7)] == [7]
        with pytest.raises(KernelError):
            expectations.of_master(sock, FTP, zone=8)
        assert expectations.delete_by_master(sock, FTP) == 0
        assert [one.zone for one in kernel.expectations()] == [7]
        assert expectations.delete_by_master(sock, FTP, zone=7) == 1
    assert kernel.expectations() == []


MASKED = (
    (re.compile(rb"^(\[.{9}\] )?\d+ (?=proto)", re.MULTILINE), rb"\1T "),
    (re.compile(rb"^\[[\d. ]+\]", re.MULTILINE), rb"[W]"),
    (re.compile(rb"(\]\t)\d+ (?=proto)"), rb"\1T "),
    (re.compile(rb"<timeout>\d+"), rb"<timeout>T"),
    (re.compile(rb"<when>.*?</when>"), rb"<when/>"),
)


def masked(said: oracle.Said) -> oracle.Said:
    text = said.stdout
    for clock, instead in MASKED:
        text = clock.sub(instead, text)
    return oracle.Said(text, said.stderr, said.code)


LINES = (
    "-L expect",
    "-L exp",
    "-L expect -f ipv6",
    "-L expect -o xml",
    "-L expect -o timestamp",
    "-L expect -o xml,timestamp",
    "-L expect -o id,extended",
    "-C expect",
    "-S expect",
    "-G expect -p tcp -s 198.51.100.9 -d 10.0.0.2 --sport 5 --dport 40000 "
    "--reply-port-src 1 --reply-port-dst 2",
    "-G expect -p tcp -s 198.51.100.9 -d 10.0.0.2 --sport 5 --dport 40009 "
    "--reply-port-src 1 --reply-port-dst 2",
    "-F expect",
)


@pytest.mark.parametrize("words", LINES)
def test_commands_say_what_the_stock_tool_says(words: str) -> None:
    announce()
    ours = masked(oracle.ours(*words.split()))
    assert ours == masked(oracle.stock(*words.split()))


CREATE = (
    "-I expect -p udp -t 60 -s 10.0.0.3 -d 198.51.100.9 --sport 5060 --dport 5060 "
    "--tuple-src 4.4.4.4 --tuple-dst 5.5.5.5 --mask-src 255.255.255.0 --mask-dst "
    "255.255.255.255 --mask-port-src 0 --mask-port-dst 65535 --tuple-port-src 0 "
    "--tuple-port-dst 6001"
)


def test_what_is_created_is_what_the_stock_tool_creates() -> None:
    listed = []
    for tool in (oracle.stock, oracle.ours):
        announce()
        said = tool(*CREATE.split())
        listed.append((said, masked(oracle.stock("-L", "expect")).any_order()))
        oracle.stock("-F", "expect")
        oracle.stock("-F")
    assert listed[0] == listed[1]
    assert b"dport=6001" in listed[0][1].stdout


def test_a_deletion_that_worked_says_so() -> None:
    """The stock tool says 0 and fails."""
    words = [
        "-D",
        "expect",
        "-p",
        "tcp",
        "-s",
        "198.51.100.9",
        "-d",
        "10.0.0.2",
        "--sport",
        "5",
        "--dport",
        "40000",
        "--reply-port-src",
        "1",
        "--reply-port-dst",
        "2",
    ]
    announce()
    assert oracle.stock(*words).code == 1
    oracle.stock("-F", "expect")
    oracle.stock("-F")
    announce()
    said = oracle.ours(*words)
    assert said.code == 0
    assert b"1 expectations have been deleted." in said.stderr
    with Kernel().socket() as sock:
        assert len(expectations.expectations(sock)) == 2
    assert oracle.ours(*words).code == 1


def test_they_go_by_tuple_by_master_and_by_helper() -> None:
    announce()
    with Kernel().socket() as sock:
        assert expectations.delete_by_master(sock, FTP) == 1
        assert len(expectations.expectations(sock)) == 2
        expectations.delete_by_helper(sock, "sip")
        (left,) = expectations.expectations(sock)
        assert expectations.get(sock, left.expected) == left
        assert not expectations.delete(sock, left.expected, id=(left.id or 0) ^ 1)
        assert expectations.delete(sock, left.expected, id=left.id)
        assert expectations.get(sock, left.expected) is None


def test_they_are_saved_and_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    announce()
    path = tmp_path / "saved.jsonl"
    assert main(["save", str(path)]) == 0
    oracle.stock("-F", "expect")
    oracle.stock("-F")
    assert main(["restore", str(path)]) == 0
    with Kernel().socket() as sock:
        found = expectations.expectations(sock)
    assert {one.expected for one in found} == {one.expected for one in ANNOUNCED}
    assert main(["restore", str(path)]) == 0


def test_json_tells_all_that_is_known() -> None:
    announce()
    told = json.loads(oracle.ours("-L", "expect", "-o", "json").stdout)
    with Kernel().socket() as sock:
        found = expectations.expectations(sock, family=uapi.AF_INET)
    read = [from_json(one) for one in told["expectations"]]
    assert [to_json(one).keys() for one in read] == [to_json(o).keys() for o in found]
    assert [one.expected for one in read] == [one.expected for one in found]
