"""Saved listings, line by line: every format, and what is wrong with a bad line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

import pytest

from natscope.codec.text import listing
from natscope.codec.text.listing import Reader
from natscope.errors import ParseError
from natscope.model.flow import Flow, Unknown
from natscope.uapi import Status


def read(text: str) -> tuple[list[Flow], list[ParseError], Reader]:
    problems: list[ParseError] = []
    reader = Reader("saved", problems.append, UTC)
    flows = [flow for table in reader.tables(text.splitlines()) for flow in table]
    return flows, problems, reader


def one(line: str) -> Flow:
    flows, problems, _ = read(line)
    assert problems == []
    (flow,) = flows
    return flow


TCP = (
    "tcp      6 431970 ESTABLISHED src=10.1.0.2 dst=198.51.100.2 sport=40080 dport=80 "
    "packets=4 bytes=221 src=198.51.100.2 dst=198.51.100.1 sport=80 dport=40080 "
    "packets=3 bytes=169 [ASSURED] mark=42 delta-time=30 use=1"
)
XML = (
    '<flow><meta direction="original"><layer3 protonum="2" protoname="ipv4">'
    "<src>10.1.0.2</src><dst>198.51.100.2</dst></layer3>"
    '<layer4 protonum="6" protoname="tcp"><sport>40080</sport><dport>80</dport>'
    "</layer4><counters><packets>4</packets><bytes>221</bytes></counters></meta>"
    '<meta direction="reply"><layer3 protonum="2" protoname="ipv4">'
    "<src>198.51.100.2</src><dst>198.51.100.1</dst></layer3>"
    '<layer4 protonum="6" protoname="tcp"><sport>80</sport><dport>40080</dport>'
    "</layer4><counters><packets>3</packets><bytes>169</bytes></counters></meta>"
    '<meta direction="independent"><state>ESTABLISHED</state><timeout>431968</timeout>'
    "<mark>42</mark><labels><label>web</label><label>vip customer</label></labels>"
    "<use>1</use><id>1404361991</id><assured/><timestamp><start>1795228478804767079"
    "</start></timestamp><deltatime>32</deltatime></meta></flow>"
)
SAVE = (
    "-A -t 431968 -u SEEN_REPLY,ASSURED -s 10.1.0.2 -d 198.51.100.2 -r 198.51.100.2 "
    "-n 198.51.100.1 -p tcp --sport 40080 --dport 80 --reply-port-src 80 "
    "--reply-port-dst 40080 --state ESTABLISHED"
)


@pytest.mark.parametrize(
    "line", [TCP, "ipv4     2 " + TCP, XML, SAVE, " [UPDATE] " + TCP]
)
def test_every_format_tells_the_same_translation(line: str) -> None:
    flow = one(line)
    assert (str(flow.orig.src), flow.orig.sport) == ("10.1.0.2", 40080)
    assert (str(flow.reply.dst), flow.reply.dport) == ("198.51.100.1", 40080)
    assert (flow.proto, flow.tcp_state) == (6, 3)
    assert flow.knows_status(Status.ASSURED)
    assert flow.status == Status.SEEN_REPLY | Status.ASSURED
    assert not flow.knows_status(Status.SRC_NAT)


def test_a_plain_line_tells_counters_mark_age_and_use() -> None:
    flow = one(TCP)
    assert (flow.orig_packets, flow.reply_bytes) == (4, 169)
    assert (flow.timeout, flow.mark, flow.delta_time, flow.use) == (431970, 42, 30, 1)
    assert (flow.id, flow.zone, flow.helper) == (None, None, None)


def test_xml_tells_labels_id_and_exact_times() -> None:
    flow = one(XML)
    assert flow.label_names == "web,vip customer"
    assert (flow.id, flow.start_ns) == (1404361991, 1795228478804767079)


@dataclass(frozen=True)
class Case:
    id: str
    tail: str
    column: str
    value: object


TAILS = [
    Case("id", " id=1404361991", "id", 1404361991),
    Case(
        "labels with blanks",
        " labels=web,vip customer",
        "label_names",
        "web,vip customer",
    ),
    Case("helper", " helper=ftp use=1", "helper", "ftp"),
    Case("zone", " zone=5", "zone", 5),
    Case(
        "start",
        " [start=Sat Nov 21 02:34:38 2026] use=1",
        "start_ns",
        1795228478 * 10**9,
    ),
    Case("stop", " [stop=Sat Nov 21 02:37:04 2026]", "stop_ns", 1795228624 * 10**9),
    Case(
        "secctx", " secctx=system_u:object_r:x:s0", "secctx", "system_u:object_r:x:s0"
    ),
    Case("an unknown word", " colour=red", "extra", (Unknown("text.colour", b"red"),)),
]


@pytest.mark.parametrize("case", TAILS, ids=lambda case: case.id)
def test_what_may_follow_a_line_is_read(case: Case) -> None:
    assert getattr(one(TCP + case.tail), case.column) == case.value


def test_event_lines_carry_a_time_and_lose_their_tail() -> None:
    line = f"[1795228624.341094]\t    [NEW] {TCP} [USERSPACE] portid=9 progname=x"
    flow = one(line)
    assert flow.event_ns == 1795228624341094000
    assert flow.extra is None


def test_icmp_has_an_id_of_its_own_beside_the_entrys() -> None:
    flow = one(
        "icmp     1 29 src=10.0.0.2 dst=1.1.1.1 type=8 code=0 id=77 "
        "src=1.1.1.1 dst=9.9.9.9 type=0 code=0 id=78 mark=0 use=1 id=123"
    )
    assert (flow.orig.icmp_id, flow.reply.icmp_id, flow.id) == (77, 78, 123)


def test_gre_keys_zones_of_a_direction_and_unknown_protocols() -> None:
    gre = one(
        "gre      47 29 src=10.0.0.2 dst=1.1.1.1 srckey=0x11 dstkey=0x77 zone-orig=3 "
        "[UNREPLIED] src=1.1.1.1 dst=10.0.0.2 srckey=0x77 dstkey=0x11 mark=0 use=1"
    )
    assert (gre.orig.sport, gre.orig.dport, gre.orig.zone) == (0x11, 0x77, 3)
    assert gre.status == 0
    other = one("unknown  89 599 src=1.1.1.1 dst=2.2.2.2 src=2.2.2.2 dst=1.1.1.1 use=1")
    assert other.proto == 89


def test_an_offloaded_line_has_no_timeout_and_hides_assured() -> None:
    flow = one(
        "tcp      6 src=10.0.0.2 dst=1.1.1.1 sport=1 dport=2 src=1.1.1.1 dst=9.9.9.9 "
        "sport=2 dport=1 [OFFLOAD] mark=0 use=2"
    )
    assert flow.timeout is None
    assert flow.knows_status(Status.OFFLOAD)
    assert not flow.knows_status(Status.ASSURED)


def test_proc_writes_ipv6_in_full() -> None:
    full = "fd00:0000:0000:0000:0000:0000:0000:0002"
    flow = one(
        f"ipv6     10 udp      17 29 src={full} dst={full} sport=1 dport=2 "
        f"[UNREPLIED] src={full} dst={full} sport=2 dport=1 mark=0 zone=0 use=2"
    )
    assert (str(flow.orig.src), flow.zone) == ("fd00::2", 0)


def test_xml_states_of_sctp_are_read_from_the_tcp_table_as_stock_prints_them() -> None:
    text = XML.replace(
        'protonum="6" protoname="tcp"', 'protonum="132" protoname="sctp"'
    )
    assert one(text.replace("ESTABLISHED", "FIN_WAIT")).sctp_state == 4
    assert one(text.replace("ESTABLISHED", "COOKIE_WAIT")).sctp_state == 2


def test_a_saved_ping_gets_its_reply_turned_round() -> None:
    flow = one(
        "-A -t 29 -u UNSET -s 10.0.0.2 -d 1.1.1.1 -r 1.1.1.1 -q 10.0.0.2 -p icmp "
        "--icmp-type 8 --icmp-code 0 --icmp-id 77"
    )
    assert (flow.reply.icmp_type, flow.reply.icmp_id) == (0, 77)
    assert flow.status == 0


def test_formats_may_be_mixed_and_noise_is_skipped() -> None:
    noise = "conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown."
    text = "\n".join(["# a ticket", TCP, "", XML, SAVE, noise])
    flows, problems, reader = read(text)
    assert (len(flows), problems) == (3, [])
    assert reader.format == listing.PLAIN


def test_xml_of_any_shape_is_read() -> None:
    document = f'<?xml version="1.0"?>\n<conntrack>\n{XML}\n{XML}{XML}\n</conntrack>\n'
    pretty = XML.replace("><", ">\n<")
    flows, problems, _ = read(document + document + pretty + "\n" + XML)
    assert (len(flows), problems) == (8, [])


@dataclass(frozen=True)
class Bad:
    id: str
    line: str
    reason: str


BAD = [
    Bad("no listing", "hello world", "src="),
    Bad(
        "a bad address",
        TCP.replace("10.1.0.2", "10.1.0.256"),
        "'10.1.0.256' is no address",
    ),
    Bad("a port too large", TCP.replace("sport=40080", "sport=70000"), "70000"),
    Bad(
        "a port that is none",
        TCP.replace("dport=80", "dport=http"),
        "'http' is no number",
    ),
    Bad(
        "a state of another protocol", TCP.replace("ESTABLISHED", "OPENING"), "OPENING"
    ),
    Bad("one tuple", "udp 17 29 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2", "two tuples"),
    Bad(
        "two families",
        TCP.replace("src=198.51.100.2 dst=198.51.100.1", "src=::1 dst=::2"),
        "IPv6",
    ),
    Bad("a time that is none", TCP + " [start=yesterday]", "ctime"),
    Bad("an unknown option", SAVE + " --colour red", "--colour"),
    Bad("an option without its argument", SAVE + " -m", "-m"),
    Bad("a flow without an end", XML.replace("</flow>", ""), "no end"),
    Bad("xml without an address", XML.replace("<src>10.1.0.2</src>", ""), "orig_src"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_line_is_reported_by_number_and_the_rest_is_read(case: Bad) -> None:
    flows, problems, _ = read(f"{TCP}\n{case.line}\n{SAVE}\n{XML}")
    assert len(flows) >= 2
    assert case.reason in problems[0].reason
    assert problems[0].line in (2, 3, 4)


def test_a_cut_off_flow_does_not_take_the_next_with_it() -> None:
    flows, problems, _ = read(f"{XML[:300]}\n{XML}\n{XML}")
    assert (len(flows), len(problems)) == (2, 1)
    assert "line 1" in problems[0].reason
