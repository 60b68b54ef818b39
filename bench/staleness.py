"""How long it takes to tell which flows are stale: a million against 5,000 rules.

    python -m bench.staleness [--flows 1000000] [--rules 5000] [--live 200000]

Four fifths of the rules are port forwards, the others give networks public addresses;
half of the flows are of each kind.  They are judged where all have their rule, and
where the rules of half of them are gone: by the rules' text, and by a rehearsal.  Then
the whole command is run on a real table, as large as the kernel's limit allows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_address, ip_network

import numpy as np
from numpy.typing import NDArray

from bench.fill import MESSAGES_PER_SEND, TIMEOUT_S
from bench.runs import command, paired, report, say
from natscope import uapi
from natscope.cli.stale import MOST_ASKED
from natscope.codec import requests
from natscope.codec.text.natrules import nat_rules
from natscope.model.bundle import Bundle, Link, LinkAddress, Route, Ruleset
from natscope.rehearse.attribution.attributor import Attributor
from natscope.rehearse.attribution.shapes import by_shape
from natscope.rehearse.twin import Twin
from natscope.sources import tools
from natscope.sources.netns import new_namespace
from natscope.sources.nlsocket import NetlinkSocket
from natscope.table.attribution import Attribution, Origin
from natscope.table.flowtable import FlowTable
from natscope.uapi import Status

FLOWS, RULES, RUNS = 1_000_000, 5_000, 3
LIVE = 200_000
NATSCOPE = (sys.executable, "-m", "natscope")
_PUBLIC, _INSIDE, _WORLD = (
    int(ip_address(one)) for one in ("203.0.113.1", "10.0.0.0", "192.0.2.0")
)
_POOL = int(ip_address("203.0.113.2"))
_POOLED = 250
"""Public addresses for sources."""
_PORT = 10_000
"""The first that is forwarded."""
Words = NDArray[np.uint64]


def measure(flows: int = FLOWS, rules: int = RULES, held: int = LIVE) -> None:
    """All of it; ``held`` flows of a real table."""
    in_memory(flows, rules)
    live(held, rules)


def in_memory(flows: int, rules: int) -> None:
    """Seconds by shape and with a rehearsal, where none is stale and where half are."""
    table = flows_of(flows, rules)
    for name, box in (("none", box_of(rules)), ("half", box_of(rules, gone=2))):
        say(f"\n{flows} flows, {rules} rules, {name} stale")
        for how, judge in (("by shape", shape), ("with a rehearsal", rehearsed)):
            took, used = [], []
            for _ in range(RUNS):
                start, cpu = time.perf_counter(), time.process_time()
                found = judge(table, box)
                took.append(time.perf_counter() - start)
                used.append(time.process_time() - cpu)
            say(
                f"  {how}: {statistics.median(took):.2f} s, of the processor "
                f"{statistics.median(used):.2f} s; {found.of(Origin.STALE).sum()} stale"
            )


def shape(table: FlowTable, box: Bundle) -> Attribution:
    """As ``natscope stale --by-shape``."""
    return by_shape(table, nat_rules(box), box)


def rehearsed(table: FlowTable, box: Bundle) -> Attribution:
    """As ``natscope stale``: the twin is built beside, asked and ended."""
    with ThreadPoolExecutor(1) as aside:
        building = aside.submit(Twin, box)
        rules = nat_rules(box)
        text = by_shape(table, rules, box)
    with building.result() as twin:
        return Attributor(twin, rules, most=MOST_ASKED).attribute(table, text)


def live(flows: int, rules: int, runs: int = RUNS) -> None:
    """Seconds of the whole command on a real table, beside a listing of it."""
    box = box_of(rules)
    with new_namespace("bench") as namespace, namespace.enter():
        for link in box.links:
            own = link.addresses[0]
            tools.run(["ip", "link", "add", link.name, "type", "bridge"])
            tools.run(["ip", "link", "set", link.name, "up"])
            tools.run(
                ["ip", "addr", "add", f"{own.local}/{own.prefix}", "dev", link.name]
            )
        tools.run(["ip", "route", "add", "default", "dev", "wan"])
        tools.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        tools.run(["nft", "-f", "-"], stdin=box.rulesets[0].text)
        taken = flows - insert(flows_of(flows, rules))
        say(f"\n{taken} flows of a real table, {rules} rules, none stale")
        listing = command("conntrack", "-L")
        for words in (("--by-shape",), ()):
            judging = command(*NATSCOPE, "stale", *words)
            ours, theirs = paired(runs, judging, listing)
            report(" ".join(("natscope stale", *words)), ours, "conntrack -L", theirs)


def insert(table: FlowTable) -> int:
    """Put flows into this namespace's table; how many the kernel did not take."""
    refused = 0
    held = np.full(len(table), TIMEOUT_S, np.uint32)
    with closing(NetlinkSocket()) as sock:
        for batch in requests.insertions(table.with_column("timeout", held)):
            for at in range(0, len(batch.messages), MESSAGES_PER_SEND):
                part = batch.messages[at : at + MESSAGES_PER_SEND]
                refused += len(sock.exchange(part.tobytes(), "filling the table"))
    return refused


def box_of(rules: int, gone: int = 0) -> Bundle:
    """A box with forwards and pools; of every ``gone`` rules one is left out."""
    kept = [n for n in range(rules) if not gone or n % gone]
    forwards = rules * 4 // 5
    pre = (forward(n) for n in kept if n < forwards)
    post = (pool(n - forwards) for n in kept if n >= forwards)
    text = (
        "table ip nat {\n"
        + chain("prerouting", "dstnat", pre)
        + chain("postrouting", "srcnat", post)
        + "}\n"
    )
    links = tuple(
        Link(name, number, True, 1500, addresses=(LinkAddress(ip_address(own), plen),))
        for number, (name, own, plen) in enumerate(
            (("wan", "203.0.113.1", 24), ("lan", "10.255.255.1", 8)), 2
        )
    )
    routes = (
        Route(ip_network("0.0.0.0/0"), 254, dev="wan", scope="link"),
        Route(ip_network("10.0.0.0/8"), 254, dev="lan", scope="link"),
    )
    return Bundle(
        0,
        links=links,
        routes=routes,
        sysctls={"net/ipv4/ip_forward": "1"},
        rulesets=(Ruleset("nft", text),),
    )


def chain(name: str, priority: str, rules: Iterator[str]) -> str:
    lines = "\n".join(f"\t\t{rule}" for rule in rules)
    head = f"type nat hook {name} priority {priority}; policy accept;"
    return f"\tchain {name} {{\n\t\t{head}\n{lines}\n\t}}\n"


def forward(number: int) -> str:
    target = ip_address(_INSIDE + number)
    return f"ip daddr 203.0.113.1 tcp dport {_PORT + number} dnat to {target}:80"


def pool(number: int) -> str:
    source = ip_address(_INSIDE + (1 << 20) + (number << 8))
    public = ip_address(_POOL + number % _POOLED)
    return f'oifname "wan" ip saddr {source}/24 snat to {public}'


def flows_of(count: int, rules: int) -> FlowTable:
    """Half of them come in by forwards, half go out by pools."""
    chance = np.random.default_rng(6)
    forwards = rules * 4 // 5
    is_in = np.arange(count) % 2 == 0
    rule = np.where(
        is_in,
        chance.integers(0, forwards, count),
        chance.integers(0, rules - forwards, count),
    )
    world = _WORLD + chance.integers(0, 1 << 8, count)
    inside = _INSIDE + np.where(
        is_in, rule, (1 << 20) + (rule << 8) + chance.integers(0, 256, count)
    )
    public = np.where(is_in, _PUBLIC, _POOL + rule % _POOLED)
    sport = chance.integers(1024, 1 << 16, count).astype(np.uint16)
    dport = np.where(is_in, _PORT + rule, 443).astype(np.uint16)
    target_port = np.where(is_in, 80, 443).astype(np.uint16)
    tcp = np.full(count, uapi.IPPROTO_TCP, np.uint8)
    status = np.where(is_in, Status.DST_NAT, Status.SRC_NAT) | Status.SEEN_REPLY
    return FlowTable(
        {
            "family": np.full(count, uapi.AF_INET, np.uint8),
            "proto": tcp,
            "reply_proto": tcp,
            "orig_src": words(np.where(is_in, world, inside)),
            "orig_dst": words(np.where(is_in, public, world)),
            "orig_sport": sport,
            "orig_dport": dport,
            "reply_src": words(np.where(is_in, inside, world)),
            "reply_dst": words(np.where(is_in, world, public)),
            "reply_sport": target_port,
            "reply_dport": sport,
            "status": status.astype(np.uint32),
        }
    )


def words(addresses: NDArray[np.int64]) -> Words:
    found = np.zeros((len(addresses), 2), np.uint64)
    found[:, 1] = addresses
    return found


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.staleness")
    parser.add_argument("--flows", type=int, default=FLOWS)
    parser.add_argument("--rules", type=int, default=RULES)
    parser.add_argument("--live", type=int, default=LIVE)
    options = parser.parse_args()
    measure(options.flows, options.rules, options.live)


if __name__ == "__main__":
    main()
