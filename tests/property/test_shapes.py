"""Shapes of rules against flows: found by sorted columns, and one by one."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.codec.text.natrules import nat_rules
from natscope.model.bundle import Bundle, Link, Ruleset
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.rehearse.attribution.shapes import by_shape
from natscope.table.attribution import Origin
from natscope.table.flowtable import FlowTable

HOSTS = [IPv4Address("10.0.0.0") + n for n in range(6)]
PORTS = (0, 53, 54, 65535)
PROTOS = {"udp": uapi.IPPROTO_UDP, "tcp": uapi.IPPROTO_TCP}
LINKS = (Link("lo", 1, up=True, mtu=65536),)
Range = tuple[int, int]


@dataclass(frozen=True)
class Forward:
    """A rule for destinations; None asks nothing."""

    proto: str
    dst: Range | None
    dports: Range | None
    to: Range
    port: int | None

    def text(self) -> str:
        words = [] if self.dst is None else [f"ip daddr {_hosts(self.dst)}"]
        ports = self.dports or (0, 65535)
        words.append(f"{self.proto} dport {ports[0]}-{ports[1]}")
        port = "" if self.port is None else f":{self.port}"
        return " ".join([*words, f"dnat to {_hosts(self.to)}{port}"])

    def may_give(self, flow: Flow) -> bool:
        """Whether it could have made a flow what it is."""
        orig, reply = flow.orig, flow.reply
        dst, now = HOSTS.index(_v4(orig.dst)), HOSTS.index(_v4(reply.src))
        return (
            orig.proto == PROTOS[self.proto]
            and (self.dst is None or self.dst[0] <= dst <= self.dst[1])
            and (self.dports is None or self.dports[0] <= _port(orig) <= self.dports[1])
            and self.to[0] <= now <= self.to[1]
            and reply.sport == (orig.dport if self.port is None else self.port)
        )


def _v4(address: object) -> IPv4Address:
    assert isinstance(address, IPv4Address)
    return address


def _port(orig: FlowTuple) -> int:
    assert orig.dport is not None
    return orig.dport


def _hosts(span: Range) -> str:
    return f"{HOSTS[span[0]]}-{HOSTS[span[1]]}"


def ranges(top: int) -> st.SearchStrategy[Range]:
    pair = st.tuples(st.integers(0, top), st.integers(0, top))
    return pair.map(lambda two: (min(two), max(two)))


forwards = st.builds(
    Forward,
    st.sampled_from(sorted(PROTOS)),
    st.none() | ranges(len(HOSTS) - 1),
    st.none() | ranges(len(PORTS) - 1).map(lambda two: (PORTS[two[0]], PORTS[two[1]])),
    ranges(len(HOSTS) - 1),
    st.none() | st.sampled_from(PORTS),
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    hosts, ports = st.sampled_from(HOSTS), st.sampled_from(PORTS)
    proto = draw(st.sampled_from(sorted(PROTOS.values())))
    src, sport = draw(hosts), draw(ports)
    orig = FlowTuple(src, draw(hosts), proto, sport, draw(ports))
    return Flow(orig, FlowTuple(draw(hosts), src, proto, draw(ports), sport))


@given(st.lists(forwards, max_size=5), st.lists(flows(), max_size=12))
def test_a_flow_is_stale_exactly_when_no_rule_may_have_given_its_target(
    rules: list[Forward], rows: list[Flow]
) -> None:
    lines = "\n".join(rule.text() for rule in rules)
    text = f"table ip nat {{ chain pre {{ type nat hook prerouting priority 0\n{lines}\n}} }}"
    bundle = Bundle(0, links=LINKS, rulesets=(Ruleset("nft", text),))
    found = by_shape(FlowTable.from_flows(rows), nat_rules(bundle), bundle)
    stale = [found.makings[code].origin is Origin.STALE for code in found.of_row]
    assert stale == [
        flow.reply != flow.orig.reversed()
        and not any(rule.may_give(flow) for rule in rules)
        for flow in rows
    ]


WIDE = [
    IPv6Address(text)
    for text in ("fd00::1", "fd00::ffff:0", "fd00:0:0:1::", "fd00:0:0:1::9", "fe00::")
]


@dataclass(frozen=True)
class Pool:
    """A rule for sources of IPv6; None asks nothing."""

    src: Range | None
    to: Range

    def text(self) -> str:
        words = [] if self.src is None else [f"ip6 saddr {_wide(self.src)}"]
        return " ".join([*words, f"snat to {_wide(self.to)}"])

    def may_give(self, src: int, now: int) -> bool:
        """Whether it could have made one source another."""
        is_asked = self.src is None or self.src[0] <= src <= self.src[1]
        return is_asked and self.to[0] <= now <= self.to[1]


def _wide(span: Range) -> str:
    return f"{WIDE[span[0]]}-{WIDE[span[1]]}"


wide = ranges(len(WIDE) - 1)
numbers = st.integers(0, len(WIDE) - 1)


@given(
    st.lists(st.builds(Pool, st.none() | wide, wide), max_size=5),
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12),
)
def test_a_wide_source_is_stale_exactly_when_no_pool_may_have_given_it(
    rules: list[Pool], pairs: list[tuple[int, int]]
) -> None:
    lines = "\n".join(rule.text() for rule in rules)
    text = f"table ip6 nat {{ chain post {{ type nat hook postrouting priority 0\n{lines}\n}} }}"
    bundle = Bundle(0, links=LINKS, rulesets=(Ruleset("nft", text),))
    server, udp = IPv6Address("2001:db8::1"), uapi.IPPROTO_UDP
    rows = [
        Flow(
            FlowTuple(WIDE[src], server, udp, 5000, 53),
            FlowTuple(server, WIDE[now], udp, 53, 5000),
        )
        for src, now in pairs
    ]
    found = by_shape(FlowTable.from_flows(rows), nat_rules(bundle), bundle)
    assert found.of(Origin.STALE).tolist() == [
        src != now and not any(rule.may_give(src, now) for rule in rules)
        for src, now in pairs
    ]
