"""Which source ports are in force: what the rules say, else what the kernel does."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.codec.text.natrules import nat_rules
from natscope.model.bundle import Bundle, Link, LinkAddress, Ruleset, Tool
from natscope.views.portranges import CLASSES, IDS, PortRanges, ranges_of

TCP, UDP, ICMP = uapi.IPPROTO_TCP, uapi.IPPROTO_UDP, uapi.IPPROTO_ICMP
PUBLIC = "203.0.113.7"
KERNEL = [str(r) for r in CLASSES]


def nft(*rules: str, family: str = "ip") -> Bundle:
    body = "\n".join(f"\t\t{rule}" for rule in rules)
    text = f"""table {family} nat {{
	chain post {{
		type nat hook postrouting priority srcnat; policy accept;
{body}
	}}
}}
"""
    return bundle("nft", text)


def iptables(*rules: str) -> Bundle:
    lines = "".join(f"-A POSTROUTING {rule}\n" for rule in rules)
    return bundle("iptables-nft", f"*nat\n:POSTROUTING ACCEPT [0:0]\n{lines}COMMIT\n")


def bundle(tool: Tool, text: str) -> Bundle:
    return Bundle(made_ns=0, rulesets=(Ruleset(tool, text),))


@dataclass(frozen=True)
class Case:
    id: str
    box: Bundle
    ranges: list[str]
    public: str = PUBLIC
    proto: int = TCP


CASES = [
    Case("no rule is known", Bundle(made_ns=0), KERNEL),
    Case("no ports are named", nft("masquerade"), KERNEL),
    Case("ICMP has ids", nft("masquerade"), [str(r) for r in IDS], proto=ICMP),
    Case("a range", nft("meta l4proto tcp masquerade to :2000-2009"), ["2000-2009"]),
    Case(
        "a range of another protocol",
        nft("meta l4proto tcp masquerade to :2000-2009"),
        KERNEL,
        proto=UDP,
    ),
    Case(
        "a range of several protocols",
        nft("meta l4proto { tcp, udp } snat to 203.0.113.7:5000-5999"),
        ["5000-5999"],
        proto=UDP,
    ),
    Case(
        "a range of another address",
        nft("meta l4proto tcp snat to 203.0.113.8:5000-5999"),
        KERNEL,
    ),
    Case(
        "a range for all addresses of a pool",
        nft("meta l4proto tcp snat to 203.0.113.4-203.0.113.9:5000-5999"),
        ["5000-5999"],
    ),
    Case(
        "both: a rule with ports and one without",
        nft("tcp dport 25 masquerade to :2000-2009", "masquerade"),
        ["2000-2009", *KERNEL],
    ),
    Case(
        "a rule that never has its turn",
        nft(
            'oifname "wan" meta l4proto { tcp, udp } counter masquerade to :2000-2009',
            'oifname "wan" masquerade',
        ),
        ["2000-2009"],
    ),
    Case(
        "a rule that has its turn for others",
        nft(
            'oifname "wan" meta l4proto udp masquerade to :2000-2009',
            'oifname "wan" masquerade',
        ),
        KERNEL,
    ),
    Case(
        "a rule of another interface before",
        nft(
            'oifname "dsl" meta l4proto tcp masquerade to :2000-2009',
            'oifname "wan" masquerade',
        ),
        ["2000-2009", *KERNEL],
    ),
    Case(
        "a rule of some interfaces before",
        nft('oifname "ppp*" meta l4proto tcp masquerade to :2000-2009', "masquerade"),
        ["2000-2009", *KERNEL],
    ),
    Case(
        "a rule of unknown protocols before",
        nft("meta l4proto @some masquerade to :2000-2009", "masquerade"),
        ["2000-2009", *KERNEL],
    ),
    Case(
        "a rule of a map before: it may know no address",
        nft("snat ip to ip saddr map @blocks", "masquerade to :2000-2009"),
        ["2000-2009", *KERNEL],
    ),
    Case(
        "iptables, a rule that never has its turn",
        iptables(
            "-o wan -p tcp -j MASQUERADE --to-ports 2000-2009", "-o wan -j MASQUERADE"
        ),
        ["2000-2009"],
    ),
    Case(
        "some destinations alone: the others have the kernel's",
        nft("ip daddr 198.51.100.9 meta l4proto tcp masquerade to :2000-2009"),
        ["2000-2009", *KERNEL],
    ),
    Case("one port is no range", nft("meta l4proto tcp snat to 203.0.113.7:5060"), []),
    Case("a rule of IPv6", nft("masquerade to :2000-2009", family="ip6"), KERNEL),
    Case(
        "IPv6",
        nft("meta l4proto tcp masquerade to :2000-2009", family="ip6"),
        ["2000-2009"],
        public="2001:db8::7",
    ),
    Case(
        "iptables, masquerading",
        iptables("-o wan -p tcp -j MASQUERADE --to-ports 2000-2009"),
        ["2000-2009"],
    ),
    Case(
        "iptables, SNAT",
        iptables("-p udp -j SNAT --to-source 203.0.113.7:1024-2047"),
        ["1024-2047"],
        proto=UDP,
    ),
    Case("a port forward gives no source ports", nft("dnat to 10.0.0.5:80"), KERNEL),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_range_is_what_the_rules_of_an_address_give(case: Case) -> None:
    address = ip_address(case.public)
    ranges = PortRanges(nat_rules(case.box))
    found = ranges.of(address.version, int(address), case.proto)
    assert [str(r) for r in found] == case.ranges


@dataclass(frozen=True)
class Mapped:
    id: str
    rule: str
    ranges: list[str]
    public: str = PUBLIC


ELEMENTS = (
    "10.0.0.2 : 203.0.113.7 . 1024-2047,\n\t\t\t     "
    '10.0.0.3 comment "{ 1 : 2 }" : 203.0.113.7 . 2048-3071, '
    "10.0.0.4 : 203.0.113.8-203.0.113.9 . 5060"
)
MAPPED = [
    Mapped("a block for each host", "snat ip to ip saddr map @blocks",
           ["1024-2047", "2048-3071"]),
    Mapped("one port, of one of several addresses", "snat ip to ip saddr map @blocks",
           [], "203.0.113.9"),
    Mapped("in the rule", f"snat ip to ip saddr map {{ {ELEMENTS} }}",
           ["1024-2047", "2048-3071"]),
    Mapped("of another table", "snat ip to ip saddr map @others", KERNEL),
    Mapped("addresses alone", "snat to ip saddr map { 10.0.0.2 : 203.0.113.7 }",
           KERNEL),
]  # fmt: skip


@pytest.mark.parametrize("mapped", MAPPED, ids=lambda mapped: mapped.id)
def test_a_map_gives_blocks_of_ports(mapped: Mapped) -> None:
    (ruleset,) = nft(mapped.rule).rulesets
    head, _, rest = ruleset.text.partition("\n")
    named = "\tmap blocks {\n\t\ttype ipv4_addr : interval ipv4_addr . inet_service\n"
    named += f"\t\telements = {{ {ELEMENTS} }}\n\t}}\n"
    other = named.replace("map blocks", "map others")
    text = f"{head}\n{named}{rest}table ip more {{\n{other}}}\n"
    found = ranges_of(bundle("nft", text))
    assert told(found, mapped.public) == mapped.ranges


def test_masquerading_gives_the_addresses_of_its_interface() -> None:
    """Where they are known; an interface without any borrows another's."""
    box = nft('oifname "a" meta l4proto tcp masquerade to :2000-2009',
              'oifname "b" masquerade')  # fmt: skip
    links = [line("a", PUBLIC), line("b", "203.0.113.8")]
    both = ["2000-2009", *KERNEL]
    known = PortRanges(nat_rules(box), links)
    assert told(known, PUBLIC) == ["2000-2009"]
    assert told(known, "203.0.113.8") == KERNEL
    unnumbered = PortRanges(nat_rules(box), [line("a"), links[1]])
    assert told(unnumbered, "203.0.113.8") == both
    assert told(PortRanges(nat_rules(box)), PUBLIC) == both


def line(name: str, *addresses: str) -> Link:
    own = tuple(LinkAddress(ip_address(text), 24) for text in addresses)
    return Link(name, 2, True, 1500, addresses=own)


def told(ranges: PortRanges, public: str) -> list[str]:
    return [str(r) for r in ranges.of(4, int(ip_address(public)), TCP)]


def test_a_rule_loaded_again_gives_the_same_range() -> None:
    rule = "meta l4proto tcp masquerade to :2000-2009"
    (old,), (new,) = (
        PortRanges(nat_rules(box)).of(4, int(ip_address(PUBLIC)), TCP)
        for box in (nft(rule), nft("tcp dport 1 accept", rule))
    )
    assert old == new
    assert (old.rule, new.rule) == ("ip nat post rule 1", "ip nat post rule 2")


def test_a_range_names_its_rule() -> None:
    box = nft("tcp dport 25 masquerade to :2000-2009", "masquerade")
    ours, *others = PortRanges(nat_rules(box)).of(4, int(ip_address(PUBLIC)), TCP)
    assert (ours.rule, {r.rule for r in others}) == ("ip nat post rule 1", {""})
