"""Sightings made by hand: a packet on a box with one chain a hook."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.journey import (
    OWN_TABLES,
    Chain,
    Departure,
    Hook,
    Routed,
    Rule,
    Sightings,
    Tracked,
    Verdict,
    Visit,
)
from natscope.model.packet import Packet, Question

SYN = Packet(
    ip_address("10.0.0.2"),
    ip_address("9.9.9.9"),
    proto=6,
    sport=7,
    dport=80,
    tcp_flags=int(uapi.TcpFlag.SYN),
)
UDP6 = Packet(
    ip_address("fd00::2"), ip_address("fd00:9::9"), proto=17, sport=7, dport=8
)
ASKED = Question(SYN, "lan")
OUT = Question(SYN)
UNREACHABLE = Packet(SYN.dst, SYN.src, proto=1, icmp_type=3, icmp_code=1, quoted=SYN)
ANSWER = Departure("lan", UNREACHABLE, is_answer=True)
ONWARD = Routed("unicast", "wan", prefix="default", table="main")
NEW = Tracked(8, id=1)
ENTRY = Flow(SYN.tuple, SYN.tuple.reversed(), tcp_state=1, timeout=120, id=1)


def chain(hook: Hook, priority: int = 0, kind: str = "filter") -> Chain:
    return Chain("ip", "t", hook.name.lower(), kind, hook, priority, Verdict.ACCEPT)


def rule(text: str, hook: Hook, verdict: Verdict, **more: Any) -> Visit:
    """A rule of that hook's chain that matched."""
    base = chain(hook, more.pop("priority", 0), more.pop("kind", "filter"))
    written = Rule(base.family, base.table, base.name, text, handle=4)
    return Visit(base, base, verdict, rule=written, **more)


def policy(hook: Hook, verdict: Verdict = Verdict.ACCEPT, **more: Any) -> Visit:
    """The end of that hook's chain."""
    base = chain(hook, more.pop("priority", 0), more.pop("kind", "filter"))
    return Visit(base, base, verdict, is_policy=True, **more)


def passed(hook: Hook, priority: int = 500, **more: Any) -> Visit:
    """natscope's own chain there."""
    name = f"{hook.name.lower()}_end"
    base = Chain("inet", f"{OWN_TABLES}twin", name, "filter", hook, priority)
    return Visit(base, base, Verdict.ACCEPT, is_policy=True, **more)


BEGUN = passed(Hook.PREROUTING, -500, packet=SYN, iif="lan")
THROUGH = (
    BEGUN,
    passed(Hook.PREROUTING, packet=SYN, tracked=NEW, iif="lan"),
)
"""Through prerouting, and as far as routing."""


def seen(*visits: Visit, **more: Any) -> Sightings:
    """Sightings of ASKED, if nothing else is said."""
    return replace(Sightings(visits, question=ASKED, is_tracked=True), **more)
