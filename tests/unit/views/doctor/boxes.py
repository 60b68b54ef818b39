"""Snapshots made by hand, for what no private namespace can be brought to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from natscope import uapi
from natscope.model.bundle import Bundle, Link, LinkAddress, Route, Ruleset
from natscope.model.finding import Finding
from natscope.model.flow import Flow
from natscope.model.measured import Measured
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.diagnosis import Diagnosis, diagnose
from natscope.views.doctor.snapshot import Snapshot

NOW_NS = 1_790_000_000_000_000_000
INSIDE, PUBLIC, OUTSIDE = "10.0.0.2", "203.0.113.1", "198.51.100.9"
REPLIED = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED | uapi.Status.CONFIRMED
LINKS = (
    Link(
        "wan",
        2,
        up=True,
        mtu=1500,
        addresses=(LinkAddress(ip_address(PUBLIC), 24),),
    ),
    Link(
        "lan",
        3,
        up=True,
        mtu=1500,
        addresses=(LinkAddress(ip_address("10.0.0.1"), 24),),
    ),
)
ROUTES = (
    Route(ip_network("0.0.0.0/0"), 254, via=ip_address("203.0.113.254"), dev="wan"),
    Route(ip_network("10.0.0.0/24"), 254, dev="lan"),
)
TIMEOUTS = {
    "tcp_timeout_established": "432000",
    "tcp_timeout_close_wait": "60",
    "tcp_timeout_time_wait": "120",
    "udp_timeout": "30",
    "udp_timeout_stream": "120",
}
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/netfilter/nf_conntrack_acct": "1",
    "net/netfilter/nf_conntrack_timestamp": "1",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "0",
    "net/netfilter/nf_conntrack_tcp_loose": "1",
    "net/netfilter/nf_conntrack_expect_max": "1024",
    **{f"net/netfilter/nf_conntrack_{name}": told for name, told in TIMEOUTS.items()},
}


@dataclass(frozen=True)
class Box:
    """A box in order but for what a test changes."""

    flows: Sequence[Flow] = ()
    nft: str = ""
    legacy: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = LINKS
    routes: tuple[Route, ...] = ROUTES
    kernel: str = "6.18.1"
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def snapshot(self) -> Snapshot:
        """Of this box."""
        rulesets = [Ruleset("nft", self.nft)] if self.nft else []
        if self.legacy:
            rulesets.append(Ruleset("iptables-legacy", self.legacy))
        told: dict[str, Any] = {
            "interval_ms": 10_000,
            "count": len(self.flows),
            "limit": 262_144,
            "stats": {},
            "rose": {},
            "counters": {},
            "counters_rose": {},
            "listeners": (),
            "log": (),
            "nics": {},
            "nics_rose": {},
            "namespaces": (),
            "expectations": 0,
            "programs": (),
            **self.measured,
        }
        bundle = Bundle(
            NOW_NS,
            kernel=self.kernel,
            links=self.links,
            routes=self.routes,
            sysctls={**SYSCTLS, **self.sysctls},
            rulesets=tuple(rulesets),
        )
        return Snapshot(bundle, Measured(**told), FlowTable.from_flows(self.flows))

    def diagnosis(self, rule: str) -> Diagnosis:
        """What one rule says."""
        return diagnose(self.snapshot, only=[rule])

    def findings(self, rule: str) -> tuple[Finding, ...]:
        """What one rule finds; it must have been checked."""
        found = self.diagnosis(rule)
        assert found.not_checked == ()
        return found.findings


def snat(
    proto: int, sport: int, dport: int, *, public: int | None = None, **cells: Any
) -> Flow:
    """A flow of an inside host to the world, source translated."""
    ends = (ip_address(INSIDE), ip_address(OUTSIDE), ip_address(PUBLIC))
    orig = FlowTuple(ends[0], ends[1], proto, sport, dport)
    reply = FlowTuple(ends[1], ends[2], proto, dport, public or sport)
    cells = {"status": REPLIED | uapi.Status.SRC_NAT, "timeout": 100, **cells}
    return Flow(orig, reply, **cells)


def tcp(state: str, count: int, **cells: Any) -> list[Flow]:
    """Translated TCP flows in a state."""
    cells["tcp_state"] = uapi.TCP_STATES.index(state)
    return [snat(6, 1024 + at, 443, **cells) for at in range(count)]
