"""The stock conntrack tool as oracle, and flows put in with it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple

SYSCTLS = Path("/proc/sys/net/netfilter")

SEEN = "-u SEEN_REPLY,ASSURED"
INSERTS = (
    "-p tcp -s 10.0.0.2 -d 198.51.100.9 --sport 50000 --dport 443 "
    f"--state ESTABLISHED -t 1000 -n 203.0.113.7 {SEEN} -m 5",
    "-p tcp -s 10.0.0.2 -d 198.51.100.9 --sport 50001 --dport 443 "
    "--state SYN_SENT -t 1000 -n 203.0.113.7:1024",
    f"-p tcp -s 192.0.2.99 -d 203.0.113.7 --sport 4242 --dport 8080 "
    f"--state TIME_WAIT -t 1000 -g 10.0.0.3:80 {SEEN}",
    "-p tcp -s 10.0.0.2 -d 203.0.113.7 --sport 50003 --dport 8080 "
    f"--state CLOSE_WAIT -t 1000 -g 10.0.0.3:80 -n 10.0.0.1 {SEEN}",
    f"-p tcp -s fd00::2 -d 2001:db8::9 --sport 50000 --dport 443 "
    f"--state LAST_ACK -t 1000 -n 2001:db8:ffff::7 {SEEN}",
    "-p udp -s 10.0.0.2 -d 198.51.100.53 --sport 5353 --dport 53 -t 1000 -w 7",
    "-p udp -s 10.0.0.4 -d 198.51.100.53 --sport 5353 --dport 53 -t 1000 -u SEEN_REPLY",
    "-p udp -s fd00::2 -d 2001:db8::53 --sport 5353 --dport 53 -t 1000",
    "-p udp -s 10.0.0.9 -d 198.51.100.53 --sport 53 --dport 53 -t 1000 "
    "--orig-zone 3",
    "-p icmp -s 10.0.0.2 -d 198.51.100.9 --icmp-type 8 --icmp-code 0 --icmp-id 77 "
    f"-t 1000 -n 203.0.113.7 {SEEN}",
    "-p icmpv6 -s fd00::2 -d 2001:db8::9 --icmpv6-type 128 --icmpv6-code 0 "
    "--icmpv6-id 9 -t 1000",
    "-p gre -s 10.0.0.2 -d 198.51.100.9 --srckey 0x11 --dstkey 0x77 -t 1000 "
    "-n 203.0.113.7",
    "-p sctp -s 10.0.0.2 -d 198.51.100.9 --sport 1 --dport 2 --state ESTABLISHED "
    "--orig-vtag 11 --reply-vtag 22 -t 1000 -n 203.0.113.7",
    "-p 89 -s 10.0.0.2 -d 198.51.100.9 -t 1000",
    "-p esp -s 10.0.0.2 -d 198.51.100.9 -t 1000 -n 203.0.113.7",
)  # fmt: skip
"""One flow of every protocol, state, NAT kind, zone and family worth telling apart."""


def insert_all() -> int:
    """Put every flow of INSERTS into this namespace's table; how many."""
    for switch in ("nf_conntrack_acct", "nf_conntrack_timestamp"):
        (SYSCTLS / switch).write_text("1")
    for words in INSERTS:
        conntrack("-I", *words.split())
    return len(INSERTS)


def conntrack(*words: str) -> list[str]:
    """Lines the stock tool prints."""
    done = subprocess.run(
        ["conntrack", *words], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def line(flow: Flow) -> str:
    """A flow as ``conntrack -L -o extended,id`` prints it, timeout left out."""
    family = ("ipv4", 2) if flow.family == uapi.AF_INET else ("ipv6", 10)
    known = {1, 6, 17, 33, 47, 58, 132, 136}
    name = uapi.protocol_name(flow.proto) if flow.proto in known else "unknown"
    states = ((flow.tcp_state, uapi.TCP_STATES), (flow.sctp_state, uapi.SCTP_STATES))
    words = [f"{family[0]:<8} {family[1]}", f"{name:<8} {flow.proto}", "TIMEOUT"]
    words += [names[value] for value, names in states if value is not None]
    words += side(flow.orig, "zone-orig")
    words += counters(flow.orig_packets, flow.orig_bytes)
    status = flow.status or 0
    words += [] if status & uapi.Status.SEEN_REPLY else ["[UNREPLIED]"]
    words += side(flow.reply, "zone-reply")
    words += counters(flow.reply_packets, flow.reply_bytes)
    words += ["[ASSURED]"] if status & uapi.Status.ASSURED else []
    words += [f"mark={flow.mark}"]
    words += [f"zone={flow.zone}"] if flow.zone else []
    words += ["delta-time=AGE"] if flow.start_ns is not None else []
    return " ".join([*words, f"use={flow.use}", f"id={flow.id}"])


def side(one: FlowTuple, zone: str) -> list[str]:
    words = [f"src={one.src}", f"dst={one.dst}"]
    if one.proto == uapi.IPPROTO_GRE:
        words += [f"srckey={one.sport:#x}", f"dstkey={one.dport:#x}"]
    elif one.sport is not None:
        words += [f"sport={one.sport}", f"dport={one.dport}"]
    if one.icmp_type is not None:
        words += [f"type={one.icmp_type}", f"code={one.icmp_code}", f"id={one.icmp_id}"]
    return [*words, f"{zone}={one.zone}"] if one.zone is not None else words


def counters(packets: int | None, octets: int | None) -> list[str]:
    return [] if packets is None else [f"packets={packets}", f"bytes={octets}"]
