"""Boxes of every size and shape in a twin: large rulesets, odd priorities, changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from conftest import unavailable
from kernel.ordinary import run_as_nobody
from natscope.codec import bundle as bundles
from natscope.codec.text import question
from natscope.errors import NatscopeError
from natscope.model.bundle import Bundle, Link, LinkAddress, Route, Ruleset
from natscope.model.journey import OWN_TABLES, Journey, Outcome, Rule, Stage
from natscope.rehearse.twin import Twin
from natscope.views.journey import journey

pytestmark = pytest.mark.kernel

GATEWAY = ip_address("203.0.113.254")
FORWARD = "tcp 192.0.2.9:5 to 203.0.113.1:8080 in wan"


def link(name: str, index: int, *addresses: str, **more: str) -> Link:
    told = (one.split("/") for one in addresses)
    found = tuple(LinkAddress(ip_address(a), int(width)) for a, width in told)
    kind, master = more.get("kind"), more.get("master")
    return Link(name, index, True, 1500, kind=kind, master=master, addresses=found)


def box(*rulesets: Ruleset) -> Bundle:
    """A router with a bridge, and a port on it."""
    return Bundle(
        made_ns=0,
        links=(
            link("wan", 2, "203.0.113.1/24"),
            link("br0", 3, "10.0.0.1/16", kind="bridge"),
            link("port", 4, kind="veth", master="br0"),
        ),
        routes=(
            Route(ip_network("10.0.0.0/16"), 254, dev="br0", scope="link"),
            Route(ip_network("203.0.113.0/24"), 254, dev="wan", scope="link"),
            Route(ip_network("0.0.0.0/0"), 254, via=GATEWAY, dev="wan"),
        ),
        sysctls={
            "net/ipv4/ip_forward": "1",
            "net/ipv4/conf/all/forwarding": "1",
            "net/ipv4/conf/wan/forwarding": "1",
            "net/ipv4/conf/br0/forwarding": "1",
        },
        rulesets=rulesets,
    )


@contextmanager
def twin(*rulesets: Ruleset) -> Iterator[Twin]:
    with Twin(box(*rulesets)) as made:
        yield made


def ask(made: Twin, words: str) -> Journey:
    return journey(made.send(question.parse(words)))


def own(made: Twin) -> list[Rule]:
    """The rules of the box alone."""
    return [rule for rule in made.rules if not rule.table.startswith(OWN_TABLES)]


def said(way: Journey, stage: Stage) -> str:
    (found,) = [phase.said for phase in way.phases if phase.stage == stage]
    return found


def large_nft() -> Ruleset:
    rules = [
        f"tcp dport {n} dnat to 10.0.{n >> 8}.{n & 255}:80" for n in range(1, 3000)
    ]
    blocked = ", ".join(f"11.{n >> 8}.{n & 255}.0/25" for n in range(5000))
    lines = "\n".join(rules)
    text = f"""flush ruleset
table ip t {{
  set bad {{ type ipv4_addr; flags interval; elements = {{ {blocked} }}
  }}
  chain pre {{ type nat hook prerouting priority dstnat; policy accept
    {lines}
  }}
  chain forward {{ type filter hook forward priority filter; policy accept;
    ip saddr @bad drop
  }}
}}
"""
    return Ruleset("nft", text)


def large_iptables() -> Ruleset:
    """As kube-proxy writes them."""
    services = "\n".join(
        f"-A SERVICES -d 10.0.{n >> 8}.{n & 255}/32 -p tcp -m comment --comment "
        f'"default/service-{n}:http cluster IP" -m tcp --dport 80 -j SVC'
        for n in range(1, 3000)
    )
    text = (
        "*nat\n:PREROUTING ACCEPT [0:0]\n:SERVICES - [0:0]\n:SVC - [0:0]\n"
        f"-A PREROUTING -j SERVICES\n{services}\n"
        "-A SVC -p tcp -j DNAT --to-destination 10.0.200.1:8080\nCOMMIT\n"
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -d 10.0.200.1/32 -j ACCEPT\nCOMMIT\n"
    )
    return Ruleset("iptables-nft", text)


def test_a_ruleset_of_nft_may_be_larger_than_one_message() -> None:
    with twin(large_nft()) as made:
        assert len(own(made)) == 3000
        way = ask(made, "tcp 192.0.2.9 to 203.0.113.1:2999 in wan")
        assert way.outcome == Outcome.FORWARDED
        assert way.departures[0].packet.dst == ip_address("10.0.11.183")
        way = ask(made, "tcp 11.19.135.9 to 203.0.113.1:7 in wan")
        assert way.by is not None
        assert way.by.rule is not None
        assert way.by.rule.text == "ip saddr @bad drop"


def test_a_ruleset_of_iptables_may_be_larger_than_one_message() -> None:
    with twin(large_iptables()) as made:
        assert len(own(made)) == 3002
        way = ask(made, "tcp 192.0.2.9 to 10.0.11.183:80 in wan")
        assert way.outcome == Outcome.FORWARDED
        assert way.departures[0].packet.dst == ip_address("10.0.200.1")
        assert ask(made, "tcp 192.0.2.9 to 10.0.11.184:80 in wan").reason == "policy"


@dataclass(frozen=True)
class Large:
    """A large ruleset, and what becomes of a packet that meets its last rules."""

    id: str
    rules: Ruleset
    words: str
    said: str


LARGE = [
    Large(
        "nft",
        large_nft(),
        "tcp 11.19.135.9:5 to 203.0.113.1:2999 in wan",
        "DROPPED: dropped by a rule of ip t forward: ip saddr @bad drop",
    ),
    Large(
        "iptables",
        large_iptables(),
        "tcp 192.0.2.9:5 to 10.0.11.183:80 in wan",
        "FORWARDED out br0 as tcp 192.0.2.9:5 > 10.0.200.1:8080 SYN",
    ),
]


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.id)
def test_an_ordinary_user_loads_a_large_ruleset_too(case: Large) -> None:
    """In portions: only root of the machine may have a larger send buffer."""
    possible = run_as_nobody("unshare", "-Urn", "true")
    if possible.returncode != 0:
        unavailable(f"no user namespace for an ordinary user: {possible.stderr}")
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        path = Path(name) / "box.json"
        path.write_bytes(bundles.encode(box(case.rules)))
        words = ("-m", "natscope", "explain", "--bundle", str(path), case.words)
        done = run_as_nobody(sys.executable, *words)
    assert done.stderr == ""
    assert case.said in done.stdout


def test_rules_nft_refuses_are_refused_with_its_words() -> None:
    with pytest.raises(NatscopeError, match="syntax error"), twin(Ruleset("nft", "x")):
        pass


def test_a_nat_chain_after_the_usual_ones_translates_too() -> None:
    """As firewalld's do (priority dstnat + 10)."""
    text = """table inet f {
  chain pre { type nat hook prerouting priority dstnat + 10
    iifname "wan" jump forwards
  }
  chain forwards { tcp dport 8080 dnat ip to 10.0.0.2:80
  }
}
"""
    with twin(Ruleset("nft", text)) as made:
        way = ask(made, FORWARD)
    assert said(way, Stage.DNAT) == "destination translated"
    (dnat,) = [phase for phase in way.phases if phase.stage == Stage.DNAT]
    assert dnat.packet is not None
    assert (dnat.packet.dst, dnat.packet.dport) == (ip_address("10.0.0.2"), 80)


def test_a_change_that_begins_connection_tracking_is_seen() -> None:
    with twin() as made:
        assert said(ask(made, FORWARD), Stage.CONNTRACK).startswith("off")
        made.change(
            "nft 'add table ip n; add chain ip n p { type nat hook postrouting "
            "priority srcnat; }; add rule ip n p masquerade'"
        )
        assert said(ask(made, FORWARD), Stage.CONNTRACK) == "NEW: no entry yet"


def test_a_change_of_settings_and_links_is_the_reason_given() -> None:
    onward = "tcp 192.0.2.9:5 to 10.0.0.2:80 in wan"
    with twin() as made:
        assert ask(made, onward).outcome == Outcome.FORWARDED
        made.change("echo 0 > /proc/sys/net/ipv4/ip_forward")
        assert ask(made, onward).reason == "forwarding-off"
        made.change("ip link set wan down")
        assert ask(made, onward).reason == "interface-down"


def test_what_comes_by_a_port_comes_by_its_bridge() -> None:
    with twin() as made, pytest.raises(NatscopeError, match="a port of br0") as caught:
        ask(made, "tcp 10.0.0.2 to 9.9.9.9:443 in port")
    assert "in br0" in str(caught.value.hint)


def test_a_broadcast_is_routed_to_the_box_and_beyond() -> None:
    with twin() as made:
        way = ask(made, "udp 10.0.0.2:68 to 255.255.255.255:67 in br0")
        assert way.outcome == Outcome.DELIVERED
        assert said(way, Stage.ROUTING).startswith("broadcast")
        way = ask(made, "udp 10.0.0.1:9 to 10.0.255.255:9 out")
        assert way.outcome == Outcome.SENT


def test_the_box_may_send_with_a_source_that_is_not_its_own() -> None:
    with twin() as made:
        way = ask(made, "udp 192.0.2.77:9 to 9.9.9.9:9 out")
    assert way.outcome == Outcome.SENT
    assert said(way, Stage.ROUTING) == "out wan"


def test_an_invalid_packet_has_no_entry() -> None:
    """Also where a flow with its addresses is open in another zone."""
    text = """table ip t {
  chain raw { type filter hook prerouting priority raw
    iifname "br0" ct zone set 7
  }
  chain f { type filter hook forward priority filter
    ct state new accept
  }
}
"""
    with twin(Ruleset("nft", text)) as made:
        assert ask(made, "tcp 10.0.0.2:5 to 9.9.9.9:443 in br0").entry is not None
        way = ask(made, "tcp 9.9.9.9:443 to 10.0.0.2:5 in wan flags syn/ack")
    assert said(way, Stage.CONNTRACK).startswith("INVALID")
    assert way.entry is None
    assert Stage.CONFIRM not in [phase.stage for phase in way.phases]


def test_conntrack_works_for_the_family_that_asks_for_it() -> None:
    text = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m state --state NEW\nCOMMIT\n"
    with twin(Ruleset("ip6tables-nft", text)) as made:
        assert said(ask(made, FORWARD), Stage.CONNTRACK).startswith("off")
    with twin(Ruleset("iptables-nft", text)) as made:
        assert said(ask(made, FORWARD), Stage.CONNTRACK) == "NEW: no entry yet"
