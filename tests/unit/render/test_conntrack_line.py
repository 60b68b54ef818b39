"""Single flows as conntrack(8) prints them, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from natscope.model.labelmap import LabelMap
from natscope.render.conntrack.line import line
from natscope.render.conntrack.stats import cpu_line
from natscope.render.conntrack.style import Style
from natscope.uapi import Status

LABELS = LabelMap({0: "web", 1: "vip customer"})
NOW_S = 1_795_228_508
START_NS = 1_795_228_478_804_767_079
UDP: dict[str, Any] = {
    "family": 2,
    "proto": 17,
    "reply_proto": 17,
    "orig_src": bytes([10, 1, 0, 2]),
    "orig_dst": bytes([198, 51, 100, 2]),
    "orig_sport": 40080,
    "orig_dport": 53,
    "reply_src": bytes([198, 51, 100, 2]),
    "reply_dst": bytes([198, 51, 100, 1]),
    "reply_sport": 53,
    "reply_dport": 40080,
}
ENDS = "src=10.1.0.2 dst=198.51.100.2"
BACK = "src=198.51.100.2 dst=198.51.100.1"
PORTS, BACK_PORTS = "sport=40080 dport=53", "sport=53 dport=40080"


def of(proto: int, **cells: Any) -> dict[str, Any]:
    return UDP | {"proto": proto, "reply_proto": proto} | cells


def both(proto: int, **parts: int) -> dict[str, Any]:
    """Tuples without ports, with these fields both ways."""
    bare = {k: v for k, v in of(proto).items() if not k.endswith("port")}
    return bare | {
        f"{side}_{k}": v for k, v in parts.items() for side in ("orig", "reply")
    }


SEEN = Status.SEEN_REPLY | Status.ASSURED


@dataclass(frozen=True)
class Case:
    id: str
    cells: dict[str, Any]
    text: str
    style: Style = field(default_factory=lambda: Style(now_s=NOW_S))
    event: str | None = None


PLAIN = [
    Case("the tuples alone", UDP, f"udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS}"),
    Case(
        "all there is of a TCP flow",
        of(6, timeout=431970, tcp_state=3, orig_packets=4, orig_bytes=221, status=SEEN,
           reply_packets=3, reply_bytes=169, mark=42, use=1, start_ns=START_NS, id=7),
        f"tcp      6 431970 ESTABLISHED {ENDS} {PORTS} packets=4 bytes=221 {BACK} "
        f"{BACK_PORTS} packets=3 bytes=169 [ASSURED] mark=42 delta-time=30 use=1",
    ),
    Case(
        "everything after the reply, in order",
        UDP | {"mark": 0, "secmark": 2, "secctx": "a:b", "zone": 5, "helper": "ftp",
               "use": 1, "id": 9, "labels": 3, "start_ns": START_NS},
        f"udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS} mark=0 secmark=2 secctx=a:b "
        "zone=5 delta-time=30 helper=ftp use=1 id=9 labels=web,vip customer",
        Style(id=True, labels=LABELS, now_s=NOW_S),
    ),
    Case(
        "no reply yet",
        UDP | {"status": Status.CONFIRMED},
        f"udp      17 {ENDS} {PORTS} [UNREPLIED] {BACK} {BACK_PORTS}",
    ),
    Case(
        "hardware offload before offload before assured",
        UDP | {"status": SEEN | Status.OFFLOAD | Status.HW_OFFLOAD},
        f"udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS} [HW_OFFLOAD]",
    ),
    Case(
        "zones of one direction",
        UDP | {"orig_zone": 3, "reply_zone": 4},
        f"udp      17 {ENDS} {PORTS} zone-orig=3 {BACK} {BACK_PORTS} zone-reply=4",
    ),
    Case(
        "the network protocol in front",
        UDP,
        f"ipv4     2 udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS}",
        Style(extended=True),
    ),
    Case("a protocol without a name", both(89), f"unknown  89 {ENDS} {BACK}"),
    Case(
        "GRE keys",
        of(47, orig_sport=0x11, orig_dport=0, reply_sport=0, reply_dport=0x11),
        f"gre      47 {ENDS} srckey=0x11 dstkey=0x0 {BACK} srckey=0x0 dstkey=0x11",
    ),
    Case(
        "ICMP",
        both(1, icmp_type=8, icmp_code=0, icmp_id=77),
        f"icmp     1 {ENDS} type=8 code=0 id=77 {BACK} type=8 code=0 id=77",
    ),
    Case(
        "ports the kernel did not send are zero",
        both(33),
        f"dccp     33 {ENDS} sport=0 dport=0 {BACK} sport=0 dport=0",
    ),
    Case(
        "a state from a newer kernel",
        of(6, tcp_state=200),
        f"tcp      6 NONE {ENDS} {PORTS} {BACK} {BACK_PORTS}",
    ),
    Case(
        "born after the clock was read",
        UDP | {"start_ns": (NOW_S + 1) * 10**9},
        f"udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS} delta-time=0",
    ),
    Case(
        "a flow that ended",
        UDP | {"start_ns": 1_900_000_000, "stop_ns": 3_100_000_000},
        f"[DESTROY] udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS} delta-time=2",
        event="destroy",
    ),
    Case("new", UDP, f"    [NEW] udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS}",
         event="new"),
    Case(
        "the time of an event",
        UDP | {"event_ns": 1_795_228_624_341_094_999},
        f"[1795228624.341094]\t [UPDATE] udp      17 {ENDS} {PORTS} {BACK} {BACK_PORTS}",
        Style(timestamp=True),
        event="update",
    ),
]  # fmt: skip
SAVED_ENDS = "-s 10.1.0.2 -d 198.51.100.2"
SAVED_PORTS = "--sport 40080 --dport 53 --reply-port-src 53 --reply-port-dst 40080"
SAVE = Style(format="save")
DONE = Status.SRC_NAT_DONE | Status.DST_NAT_DONE
SAVED = [
    Case(
        "translated",
        UDP | {"timeout": 30, "status": SEEN | DONE, "zone": 5, "mark": 42},
        f"-A -t 30 -u SEEN_REPLY,ASSURED -w 5 {SAVED_ENDS} -r 198.51.100.2 "
        f"-n 198.51.100.1 -p udp {SAVED_PORTS}",
    ),
    Case(
        "another reply without translation",
        UDP | {"status": Status.EXPECTED | Status.FIXED_TIMEOUT},
        f"-A -u EXPECTED,FIXED_TIMEOUT {SAVED_ENDS} -r 198.51.100.2 -q 198.51.100.1 "
        f"-p udp {SAVED_PORTS}",
    ),
    Case(
        "translation not told, so seen from the tuples",
        UDP | {"reply_src": bytes([10, 9, 9, 9])},
        f"-A {SAVED_ENDS} -g 10.9.9.9 -n 198.51.100.1 -p udp {SAVED_PORTS}",
    ),
    Case(
        "no status bit -u knows",
        UDP | {"status": Status.CONFIRMED},
        f"-D -u UNSET {SAVED_ENDS} -r 198.51.100.2 -q 198.51.100.1 -p udp {SAVED_PORTS}",
        event="destroy",
    ),
    Case(
        "verification tags with their bytes turned round",
        of(132, sctp_state=4, sctp_vtag_orig=11, sctp_vtag_reply=22, status=0),
        f"-A -u UNSET {SAVED_ENDS} -r 198.51.100.2 -q 198.51.100.1 -p sctp {SAVED_PORTS}"
        f" --state ESTABLISHED --orig-vtag {11 << 24} --reply-vtag {22 << 24}",
    ),
    Case(
        "a protocol by its number",
        both(89, zone=3) | {"status": 0},
        f"-A -u UNSET --orig-zone 3 --reply-zone 3 {SAVED_ENDS} -r 198.51.100.2 "
        "-q 198.51.100.1 -p 89",
    ),
    Case(
        "ICMPv6 options of their own",
        both(58, icmp_type=128, icmp_code=0, icmp_id=9) | {"status": 0},
        f"-U -u UNSET {SAVED_ENDS} -r 198.51.100.2 -q 198.51.100.1 -p icmpv6 "
        "--icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 9",
        event="update",
    ),
]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.id)
def test_a_plain_line(case: Case) -> None:
    assert line(case.cells, case.style, case.event) == f"{case.text}\n".encode()


@pytest.mark.parametrize("case", SAVED, ids=lambda case: case.id)
def test_a_line_that_makes_the_entry_again(case: Case) -> None:
    assert line(case.cells, SAVE, case.event) == f"{case.text}\n".encode()


def test_xml_calls_an_sctp_state_by_its_own_name() -> None:
    text = line(of(132, sctp_state=4), Style(format="xml"))
    assert b"<state>ESTABLISHED</state>" in text


def test_xml_escapes_texts() -> None:
    text = line(UDP | {"helper": "a<b&c>"}, Style(format="xml"))
    assert text.endswith(b"</meta><helper>a&lt;b&amp;c&gt;</helper></flow>\n")


def test_xml_subtracts_times_before_it_cuts_them_off() -> None:
    ended = UDP | {"start_ns": 1_900_000_000, "stop_ns": 3_100_000_000}
    assert b"<deltatime>1</deltatime>" in line(ended, Style(format="xml"), "destroy")


def test_a_cpu_line_ends_in_a_blank_as_the_stock_tool_has_it() -> None:
    assert cpu_line(0, {"found": 1, "drop": 0}) == b"cpu=0   \tfound=1 drop=0 \n"


@pytest.mark.parametrize("form", ["plain", "save", "xml"])
def test_one_line_loads_nothing_a_short_command_could_do_without(form: str) -> None:
    heavy = {"numpy", "re", "typing", "dataclasses", "enum", "ipaddress", "json"}
    program = (
        "import sys\n"
        "from natscope.render.conntrack import line, stats, style\n"
        "from natscope.sources import labels\n"
        f"line.line({of(6, tcp_state=3, status=0)!r}, style.Style(format={form!r}))\n"
        f"print(*({heavy!r} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", f"import sys; sys.path[:0]={sys.path!r}\n{program}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == []
