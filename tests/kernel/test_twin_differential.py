"""A twin does as its box does: thousands of packets through both, and no difference.

What no copy can have is left out, here and in packet_strategies:

* which number the kernel takes where it chooses one (``Chosen``), rules that choose
  at random, identification numbers and flow labels of what the box itself sends;
* what hangs on the clock: timeouts, limits, UDP being called ASSURED two seconds
  after it began, the pace of redirects and ICMP errors;
* other hosts: every one there is has a permanent neighbour entry;
* br_netfilter: what the translation sends back into the bridge it came from is not
  routed but bridged, a reset goes back by the port that was asked by, and headers
  are checked behind the chains of prerouting (see the test at the end).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from kernel.packet_strategies import After, Step, made, steps
from kernel.realbox import RealBox, real_box
from natscope import uapi
from natscope.codec.text.question import parse
from natscope.model.flow import Flow
from natscope.model.journey import OWN_TABLES, Outcome, Sightings, Visit
from natscope.model.packet import Packet, Question
from natscope.model.tuples import FlowTuple
from natscope.rehearse.twin import Twin
from natscope.sources.netns import Namespace
from natscope.views.journey import journey
from seeds import fresh

pytestmark = pytest.mark.kernel

RULESETS = Path(__file__).parents[1] / "rulesets"
COUNT = int(os.environ.get("NATSCOPE_PACKETS", "120"))
"""Packets of one sequence."""
CHOSEN_AT_RANDOM = {
    "numgen random": "numgen inc",
    "--mode random --probability 0.50000000000": "--mode nth --every 2 --packet 0",
}
"""What a rule leaves to chance falls out differently in two boxes."""
UNSPENT = {
    "limit rate 25/second burst 50 packets": "limit rate 25/second burst 5000 packets",
}
"""A limit counts seconds, and the two boxes do not take the same time."""


@dataclass
class Chosen:
    """The ports and ICMP ids a kernel chose, by the address that has them."""

    known: set[tuple[object, int, int | None]] = field(default_factory=set)

    def learn(self, entry: Flow | None) -> None:
        if entry is None:
            return
        orig, reply = entry.orig, entry.reply
        if reply.dport != orig.sport:
            self.known.add((reply.dst, entry.proto, reply.dport))
        if reply.icmp_id != orig.icmp_id:
            self.known.add((reply.dst, entry.proto, reply.icmp_id))

    def port(self, address: object, proto: int, port: int | None) -> object:
        return "chosen" if (address, proto, port) in self.known else port

    def ends(self, key: FlowTuple) -> tuple[object, ...]:
        ids = [self.port(end, key.proto, key.icmp_id) for end in (key.src, key.dst)]
        return (
            *(key.src, key.dst, key.proto, key.icmp_type, key.icmp_code),
            self.port(key.src, key.proto, key.sport),
            self.port(key.dst, key.proto, key.dport),
            "chosen" if "chosen" in ids else key.icmp_id,
        )

    def packet(self, packet: Packet, *, own: bool) -> tuple[object, ...]:
        quoted = packet.quoted
        rest = replace(
            packet,
            sport=None,
            dport=None,
            icmp_id=None,
            quoted=None,
            ip_id=0 if own else packet.ip_id,
            flow_label=0 if own else packet.flow_label,
        )
        about = () if quoted is None else self.packet(quoted, own=True)
        return (self.ends(replace(packet, quoted=None).tuple), rest, about)


def _entry(entry: Flow | None, chosen: Chosen) -> tuple[object, ...] | None:
    if entry is None:
        return None
    status = entry.status or 0
    if entry.proto not in (uapi.IPPROTO_TCP, uapi.IPPROTO_SCTP):
        status &= ~uapi.Status.ASSURED
    return (
        *(chosen.ends(entry.orig), chosen.ends(entry.reply)),
        *(entry.zone, entry.orig.zone, entry.reply.zone),
        uapi.status_names(status),
        *(entry.tcp_state, entry.sctp_state, entry.mark, entry.helper, entry.labels),
    )


def _visit(visit: Visit) -> tuple[object, ...]:
    tracked = visit.tracked
    state = None if tracked is None else (tracked.state, tracked.direction)
    status = 0 if tracked is None else tracked.status & ~_DONE
    return (
        *(visit.base.name, _NUMBERED.sub("", visit.chain.name), visit.verdict),
        *(visit.rule and visit.rule.text, state, status),
        *(visit.iif, visit.oif, visit.mark),
    )


_NUMBERED = re.compile(r"(?<=^__chain)\d+")
"""Chains without a name get the next number of all namespaces."""
_DONE = uapi.Status.SRC_NAT_DONE | uapi.Status.DST_NAT_DONE
"""Set meanwhile where a rule answers with a reset, which has the same entry."""


_OUTCOMES = {Outcome.UNKNOWN: Outcome.DROPPED}
"""Of the real box no counters are read, which tell why NAT or confirmation dropped."""


@dataclass(frozen=True)
class Told:
    """What is compared of a packet's way."""

    outcome: Outcome
    left: list[tuple[object, ...]]
    entry: tuple[object, ...] | None
    invalid: tuple[str, ...]
    rules: list[tuple[object, ...]]


def told(seen: Sightings, chosen: Chosen) -> Told:
    chosen.learn(seen.after)
    is_sent = seen.question is not None and seen.question.iif is None
    left = [
        (
            *(one.interface, one.is_answer),
            chosen.packet(one.packet, own=is_sent or one.is_answer),
        )
        for one in seen.departures
        # what it tells itself is not watched on the real box
        if one.interface is not None or not one.is_answer
    ]
    outcome = journey(seen).outcome
    visits = [v for v in seen.visits if not v.base.table.startswith(OWN_TABLES)]
    return Told(
        _OUTCOMES.get(outcome, outcome),
        sorted(left, key=repr),
        _entry(seen.after, chosen),
        seen.invalid,
        [_visit(visit) for visit in visits],
    )


@dataclass(frozen=True)
class Case:
    """A kind of box."""

    id: str
    rulesets: tuple[str, ...] = ()
    setup: str = ""
    sysctls: tuple[tuple[str, str], ...] = ()
    loader: str | None = None
    """Another than the usual for its rulesets."""


LOADERS = {
    ".nft": "nft",
    ".rules": "iptables-nft-restore",
    ".rules6": "ip6tables-nft-restore",
}
STRICT = tuple(
    (f"net/ipv4/conf/{name}/rp_filter", value)
    for name, value in (("eth0", "1"), ("eth1", "2"), ("docker0", "1"))
)
LOOSE = (("net/ipv4/conf/all/rp_filter", "2"),)
CASES = (
    Case("no rules"),
    Case("docker with iptables", ("docker.rules",)),
    Case("docker with nftables", ("docker.nft",)),
    Case("kube-proxy with iptables", ("kube-proxy.rules",)),
    Case("kube-proxy with nftables", ("kube-proxy.nft",)),
    Case("firewalld", ("firewalld.nft",), sysctls=STRICT),
    Case("OpenWrt", ("fw4.nft",)),
    Case("libvirt", ("libvirt.nft",)),
    Case("ufw", ("ufw.rules",), sysctls=STRICT),
    Case("NAT instance", ("nat-instance.rules",)),
    Case("gateway by hand", ("gateway.nft",)),
    Case("everything odd", ("odd.nft",)),
    Case("docker and libvirt", ("docker.rules", "libvirt.nft")),
    Case("two uplinks", ("two-uplinks.rules",), sysctls=LOOSE),
    Case("IPv6 with ip6tables", ("nat-instance.rules", "nat66.rules6")),
    Case("docker, legacy", ("docker.rules",), loader="iptables-legacy-restore"),
)


def loads(case: Case) -> Iterator[tuple[str, str]]:
    """The programs that load its rulesets, each with what it reads."""
    for name in case.rulesets:
        text = (RULESETS / name).read_text()
        for old, new in (CHOSEN_AT_RANDOM | UNSPENT).items():
            text = text.replace(old, new)
        yield case.loader or LOADERS[Path(name).suffix], text


def differences(real: RealBox, twin: Twin, todo: list[Step]) -> Iterator[str]:
    """The steps that went otherwise."""
    seen: dict[str, list[Sightings | None]] = {"real": [], "twin": []}
    chosen = {"real": Chosen(), "twin": Chosen()}
    for number, step in enumerate(todo):
        asked: dict[str, Question | None] = {}
        found: dict[str, Told | None] = {}
        for name, box in (("real", real), ("twin", twin)):
            asked[name] = question = made(step, seen[name])
            sightings = None if question is None else box.send(question)
            seen[name].append(sightings)
            found[name] = None if sightings is None else told(sightings, chosen[name])
        if found["real"] != found["twin"]:
            what = step.how if isinstance(step, After) else "fresh"
            yield f"step {number}, {what}: {asked['real']}\n" + _unlike(
                found["real"], found["twin"]
            )


def _unlike(real: Told | None, twin: Told | None) -> str:
    if real is None or twin is None:
        return f"  real {real}\n  twin {twin}"
    return "\n".join(
        f"  {name}\n    real {getattr(real, name)}\n    twin {getattr(twin, name)}"
        for name in Told.__dataclass_fields__
        if getattr(real, name) != getattr(twin, name)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_twin_does_with_every_packet_what_the_box_does(
    netns: Namespace, case: Case
) -> None:
    with (
        real_box(netns, tuple(loads(case)), case.setup, dict(case.sysctls)) as real,
        Twin(real.bundle) as twin,
    ):
        assert not twin.missing
        for chance in (len(case.id), fresh()):
            found = next(differences(real, twin, steps(chance, COUNT)), None)
            assert found is None, f"seed {chance}: {found}"


def test_a_bridge_does_not_send_a_packet_back_by_its_port_and_that_is_said(
    netns: Namespace,
) -> None:
    """What a translation sends back into a bridge is bridged there (br_netfilter)."""
    bridge = Path("/proc/sys/net/bridge")
    if not bridge.exists():
        pytest.skip("br_netfilter is not loaded")
    rules = """table ip nat {
      chain pre {
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport 8080 dnat to 172.17.0.3:80
      }
    }"""
    on = {f"net/bridge/{path.name}": "1" for path in bridge.glob("*-call-iptables")}
    question = parse("tcp 172.17.0.2:7 to 203.0.113.1:8080 in docker0")
    with (
        real_box(netns, (("nft", rules),), sysctls=on) as real,
        Twin(real.bundle) as twin,
    ):
        assert real.send(question).departures == ()
        way = journey(twin.send(question))
    assert [one.interface for one in way.departures] == ["docker0"]
    assert any("hairpin mode" in note for note in way.notes)
