"""The NAT rules of a box in the order packets meet them."""

from __future__ import annotations

from natscope.codec.text.natrules import nat_rules
from natscope.codec.text.ruleset import parse_nft, without_handles
from natscope.model.bundle import Bundle, Ruleset, Tool

NFT = """table ip nat {
    chain late {
        type nat hook postrouting priority srcnat; policy accept;
        counter packets 3 bytes 180 masquerade
    }
    chain filtering {
        type filter hook prerouting priority raw; policy accept;
        accept
    }
    chain forwards {
        tcp dport 80 dnat to 10.0.0.2
    }
    chain lonely {
        tcp dport 81 dnat to 10.0.0.3
    }
    chain early {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "wan" jump forwards
        udp dport 53 redirect
    }
    chain before {
        type nat hook prerouting priority dstnat - 1; policy accept;
        iifname "lan" accept
    }
}
"""
LEGACY = """*nat
:PREROUTING ACCEPT [1:60]
:DOCKER - [0:0]
[7:420] -A PREROUTING -j DOCKER
[2:120] -A DOCKER -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER -p tcp --dport 81 -j DNAT --to-destination 172.17.0.2:81
COMMIT
"""


def box(text: str, tool: Tool = "nft") -> Bundle:
    return Bundle(made_ns=0, rulesets=(Ruleset(tool, text),))


def test_chains_come_by_hook_and_priority_and_what_they_jump_to_after_the_jump() -> (
    None
):
    places = [(r.rule.chain, r.rule.number) for r in nat_rules(box(NFT))]
    assert places == [
        ("before", 1),
        ("early", 1),
        ("forwards", 1),
        ("early", 2),
        ("late", 1),
        ("lonely", 1),
    ]


def test_a_rule_has_its_own_counter_or_none() -> None:
    counters = {r.rule.chain: (r.packets, r.bytes) for r in nat_rules(box(NFT))}
    assert counters["late"] == (3, 180)
    assert counters["forwards"] == (None, None)


def test_a_text_is_without_what_the_counter_says() -> None:
    (late,) = (r.rule for r in nat_rules(box(NFT)) if r.rule.chain == "late")
    assert late.text == "counter masquerade"


def test_counters_of_iptables_save_belong_to_the_rule_of_their_line() -> None:
    found = nat_rules(box(LEGACY, "iptables-legacy"))
    assert [(r.packets, r.bytes) for r in found] == [(7, 420), (2, 120), (None, None)]
    assert [r.rule.tool for r in found] == ["iptables-legacy"] * 3


def test_a_rule_has_the_handle_the_box_knows_it_by() -> None:
    listed = NFT.replace("{\n", "{ # handle 1\n")
    for at, rule in enumerate(parse_nft(NFT).rules, 20):
        listed = listed.replace(f"  {rule.text}\n", f"  {rule.text} # handle {at}\n")
    text, handles = without_handles(listed)
    assert (text, handles) == (NFT, tuple(range(20, 27)))
    found = nat_rules(Bundle(0, rulesets=(Ruleset("nft", text, handles),)))
    told = {(r.rule.chain, r.rule.number): r.rule.handle for r in found}
    assert (told["late", 1], told["forwards", 1], told["early", 2]) == (20, 22, 25)
    unknown = nat_rules(Bundle(0, rulesets=(Ruleset("nft", text, handles[:-1]),)))
    assert {r.rule.handle for r in unknown} == {None}
    some = listed.replace(" # handle 22\n", "\n")
    assert without_handles(some) == (NFT, ())


def test_chains_that_lead_to_chains_are_followed_however_many_they_are() -> None:
    chains = "".join(
        f"chain c{at} {{ masquerade; jump c{at + 1}; }}\n" for at in range(3000)
    )
    base = "chain b { type nat hook postrouting priority 100; jump c0; }"
    bundle = Bundle(1, rulesets=(Ruleset("nft", f"table ip a {{\n{base}\n{chains}}}"),))
    assert len([nat for nat in nat_rules(bundle) if nat.gives]) == 3000


def test_a_counter_that_is_no_number_counts_nothing() -> None:
    digits = "9" * 5000
    rule = f"counter packets {digits} bytes 1 masquerade"
    base = f"chain b {{ type nat hook postrouting priority 100; {rule}; }}"
    bundle = Bundle(1, rulesets=(Ruleset("nft", f"table ip a {{\n{base}\n}}"),))
    assert [nat.packets for nat in nat_rules(bundle)] == [None]
