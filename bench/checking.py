"""How many cases ``natscope check`` puts to a twin in a second.

    python -m bench.checking

The ruleset is Docker's, with one published port.  Each case has a source port of its
own; what a file takes to read is told beside.
"""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from pathlib import Path

from bench.runs import say
from natscope.codec.text import cases
from natscope.model.bundle import Bundle, Link, LinkAddress, Route, Ruleset
from natscope.model.cases import Case
from natscope.rehearse.checking import Checker
from natscope.views.checking import settled

DOCKER = Path(__file__).parents[1] / "tests" / "rulesets" / "docker.nft"
COUNT, TURNS = 1000, 3
FILE = """
[[case]]
packet = "tcp 192.0.2.9:{{port}} to 203.0.113.1:{target} in wan"
each = {{ port = "1024-{last}" }}
{expected}
"""
KINDS = {
    "a port forward": (8080, 'to = "172.17.0.2:80"\nnat = "dnat"'),
    "and its reply": (8080, 'to = "172.17.0.2:80"\nreply = true'),
    "to the box": (22, 'expect = "delivered"'),
    "with its rule": (8080, 'to = "172.17.0.2:80"\nrule = "dport 8080 dnat"'),
}


def measure() -> None:
    """Cases a second, each kind for itself."""
    for name, (target, expected) in KINDS.items():
        text = FILE.format(target=target, last=1023 + COUNT, expected=expected)
        start = time.perf_counter()
        found = cases.parse(text).cases
        read = time.perf_counter() - start
        rate = COUNT / min(_taken(found) for _ in range(TURNS))
        say(f"{name}: {rate:.0f} cases/s, read at {COUNT / read:.0f}/s")


def _taken(found: tuple[Case, ...]) -> float:
    with Checker(box(), settled) as checker:
        start = time.perf_counter()
        for case in found:
            checker.run(case)
        return time.perf_counter() - start


def box() -> Bundle:
    """A box with Docker's rules, two interfaces and a default route."""
    addresses = {"wan": "203.0.113.1/24", "docker0": "172.17.0.1/16"}
    links = []
    routes = [Route(ip_network("0.0.0.0/0"), 254, dev="wan", scope="link")]
    for number, (name, text) in enumerate(addresses.items(), 2):
        address, _, prefix = text.partition("/")
        own = LinkAddress(ip_address(address), int(prefix))
        links.append(Link(name, number, True, 1500, addresses=(own,)))
        network = ip_network(text, strict=False)
        routes.append(Route(network, 254, dev=name, scope="link"))
    return Bundle(
        0,
        links=tuple(links),
        routes=tuple(routes),
        sysctls={"net/ipv4/ip_forward": "1"},
        rulesets=(Ruleset("nft", DOCKER.read_text()),),
    )


if __name__ == "__main__":
    measure()
