"""Saved listings, line by line: every format, and what is wrong with a bad line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

import pytest

from natscope.codec.text import listing
from natscope.codec.text.listing import Reader, parse_listing
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
    Case("secmark", " secmark=3", "secmark", 3),
    Case(
        "a flag from a newer kernel",
        " [ROUTED]",
        "extra",
        (Unknown("text.[ROUTED]", b""),),
    ),
    Case(
        "bytes that are no text",
        " x=\udcff",
        "extra",
        (Unknown("text.x", b"\\udcff"),),
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
    assert (flow.timeout, flow.tcp_state) == (None, None)
    assert flow.status == Status.SEEN_REPLY | Status.OFFLOAD
    assert flow.knows_status(Status.OFFLOAD)
    assert not flow.knows_status(Status.ASSURED)


def test_one_flag_hides_the_others() -> None:
    flow = one(TCP.replace("[ASSURED]", "[HW_OFFLOAD]"))
    assert flow.status == Status.SEEN_REPLY | Status.HW_OFFLOAD
    assert not flow.knows_status(Status.OFFLOAD)
    assert not flow.knows_status(Status.ASSURED)


def test_a_saved_line_without_status_tells_none() -> None:
    flow = one(SAVE.replace("-u SEEN_REPLY,ASSURED ", ""))
    assert (flow.status, flow.status_mask) == (None, None)


def test_lines_of_older_kernels_are_read() -> None:
    old = one(
        "tcp      6 117 TIME_WAIT src=10.0.0.2 dst=1.1.1.1 sport=1 dport=2 "
        "[UNREPLIED] src=1.1.1.1 dst=10.0.0.2 sport=2 dport=1 use=1 "
    )
    assert (old.tcp_state, old.mark, old.use) == (7, None, 1)
    gone = one(
        "[DESTROY] tcp      6 src=10.0.0.2 dst=1.1.1.1 sport=1 dport=2 "
        "packets=1 bytes=2 src=1.1.1.1 dst=10.0.0.2 sport=2 dport=1 packets=3 bytes=4"
    )
    assert (gone.timeout, gone.tcp_state, gone.reply_bytes) == (None, None, 4)


def test_proc_writes_the_timeouts_of_gre_into_the_line() -> None:
    flow = one(
        "ipv4     2 gre      47 999 timeout=30, stream_timeout=180 src=10.0.0.2 "
        "dst=1.1.1.1 srckey=0x11 dstkey=0x77 src=1.1.1.1 dst=10.0.0.2 srckey=0x77 "
        "dstkey=0x11 mark=0 zone=0 use=2"
    )
    assert (flow.timeout, flow.orig.sport, flow.zone) == (999, 0x11, 0)


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


def test_saved_verification_tags_are_turned_round_as_stock_turns_them() -> None:
    flow = one(
        "-A -t 9 -u UNSET -s 10.0.0.2 -d 1.1.1.1 -r 1.1.1.1 -q 10.0.0.2 -p sctp "
        "--sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1 "
        "--state ESTABLISHED --orig-vtag 184549376 --reply-vtag 1"
    )
    assert (flow.sctp_vtag_orig, flow.sctp_vtag_reply) == (11, 1 << 24)


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
    Bad("a word that is no field", TCP + " hello", "'hello'"),
    Bad("a field cut off", TCP.removesuffix("e=1"), "'us' is neither"),
    Bad("a value cut off", TCP.removesuffix("1"), "use '' is no number"),
    Bad("a third tuple", TCP + " src=10.1.0.2", "told twice"),
    Bad("a word before any tuple", SAVE + " stray", "stray"),
    Bad("a number with a sign", TCP.replace("mark=42", "mark=-1"), "'-1'"),
    Bad("a number with an underscore", TCP.replace("mark=42", "mark=4_2"), "'4_2'"),
    Bad("foreign digits", TCP.replace("mark=42", "mark=\u0664"), "no number"),
    Bad("a leading zero", TCP.replace("10.1.0.2", "10.1.0.02"), "no address"),
    Bad("an address with a scope", TCP.replace("10.1.0.2", "fe80::1%eth0"), "scope"),
    Bad(
        "a time before any kernel",
        TCP + " [start=Thu Jan 01 00:00:00 1900]",
        "calendar",
    ),
    Bad("a day that is none", TCP + " [stop=Thu Feb 30 00:00:00 2026]", "calendar"),
    Bad("an event in another age", f"[99999999999.1]\t[NEW] {TCP}", "beyond"),
    Bad("an end without a beginning", "<mark>1</mark></flow>", "no beginning"),
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
    assert problems[0].line == 2


def test_a_cut_off_flow_does_not_take_the_next_with_it() -> None:
    flows, problems, _ = read(f"{XML[:300]}\n{XML}\n{XML}")
    assert len(flows) == 2
    assert [(problem.line, problem.reason) for problem in problems] == [
        (1, "the flow that begins here has no end")
    ]


def test_lines_after_a_cut_off_flow_are_lines_again() -> None:
    flows, problems, _ = read("\n".join([TCP, XML[:300], TCP, SAVE, XML[:200]]))
    assert (len(flows), [problem.line for problem in problems]) == (3, [2, 5])


def test_a_flow_without_an_end_does_not_eat_the_rest() -> None:
    rows = ["<mark>1</mark>"] * 10_000
    flows, problems, _ = read("\n".join(["<flow>", *rows, XML]))
    assert len(flows) == 1
    assert problems[0].line == 1


@pytest.mark.parametrize("name", ["expect", "html", "flows"])
def test_other_xml_is_no_listing(name: str) -> None:
    flows, problems, _ = read(f"<{name}>\n{XML}\n</{name}>")
    assert (len(flows), [problem.line for problem in problems]) == (1, [1, 3])


def test_an_xml_event_tells_its_time_in_the_zone_of_the_box() -> None:
    when = (
        "<when><hour>6</hour><min>41</min><sec>31</sec><wday>7</wday><day>21</day>"
        "<month>11</month><year>2026</year></when></flow> [USERSPACE] portid=9"
    )
    flow = one(XML.replace("</flow>", when).replace("<flow>", '<flow type="new">'))
    assert flow.event_ns == 1795243291 * 10**9


def test_names_in_xml_may_be_escaped_or_not() -> None:
    for written, name in (("a&amp;lt;b", "a&lt;b"), ("&lt;a&gt;", "<a>")):
        assert one(XML.replace("vip customer", written)).label_names == f"web,{name}"
    assert one(XML.replace("vip customer", "a&b")).label_names == "web,a&b"


def test_a_failure_of_the_stock_tool_is_a_problem_in_its_words() -> None:
    said = "conntrack v1.4.7 (conntrack-tools): Operation failed: invalid parameters"
    _, problems, _ = read(f"{TCP}\n{said}")
    assert [(problem.line, problem.reason) for problem in problems] == [
        (2, "conntrack(8) says: Operation failed: invalid parameters")
    ]


def test_flows_come_in_the_order_of_their_lines() -> None:
    kinds = [TCP, SAVE, " " + TCP, TCP + " colour=red", XML]
    many = [kinds[n % 4] for n in range(listing.LINES_AT_ONCE + 9)] + kinds
    text = "\n".join(
        line.replace("40080", str(port)) for port, line in enumerate(many, 1000)
    )
    flows, problems, _ = read(text)
    assert problems == []
    assert [flow.orig.sport for flow in flows] == list(range(1000, 1000 + len(many)))


def test_problems_are_numbered_through_all_blocks() -> None:
    text = f"{TCP}\n" * listing.LINES_AT_ONCE + "bad\n" + TCP.replace("=80", "=80000")
    flows, problems, _ = read(text)
    assert len(flows) == listing.LINES_AT_ONCE
    assert [problem.line for problem in problems] == [len(flows) + 1, len(flows) + 2]


def test_without_someone_to_tell_the_first_problem_is_an_error() -> None:
    assert sum(map(len, parse_listing([TCP, SAVE]))) == 2
    with pytest.raises(ParseError, match="ticket, line 2") as caught:
        list(parse_listing([TCP, "bad", TCP], source="ticket"))
    assert caught.value.line == 2
