"""What is read in the texts of rules, and what is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.codec.text.ruleset import RuleIndex, parse_iptables, parse_nft
from natscope.model.journey import Hook
from natscope.views.doctor.reading.chains import (
    clamps_mss,
    open_helper_rules,
    passes_invalid,
    uncounted_flowtables,
    untracking_rules,
    zone_rules,
)
from natscope.views.doctor.remedies.edits import deleted, replaced


def _nft(rules: str, *, hook: str = "forward", policy: str = "accept") -> RuleIndex:
    return parse_nft(
        "table inet filter {\n"
        "\tchain other {\n\t\tct state invalid drop\n\t}\n\n"
        "\tchain base {\n"
        f"\t\ttype filter hook {hook} priority filter; policy {policy};\n"
        + "".join(f"\t\t{rule}\n" for rule in rules.split(" / ") if rule)
        + "\t}\n}\n"
    )


def _iptables(rule: str, *, policy: str = "ACCEPT") -> RuleIndex:
    text = f"*filter\n:FORWARD {policy} [0:0]\n{rule}\nCOMMIT\n"
    return parse_iptables(text, family="ip", tool="iptables-nft")


@dataclass(frozen=True)
class Case:
    id: str
    ruleset: RuleIndex
    passes: bool
    hook: Hook = Hook.FORWARD


ALL_BUT = "ct state established,related accept"
CASES = [
    Case("no rule", _nft(""), passes=True),
    Case("a drop", _nft("ct state invalid counter packets 3 bytes 9 drop"), False),
    Case("a set", _nft("ct state { invalid, untracked } drop"), False),
    Case("a list", _nft("ct state invalid,untracked drop"), False),
    Case("a reject", _nft("ct state invalid reject"), False),
    Case("a jump from the rule", _nft("ct state invalid jump judge"), False),
    Case("a map", _nft("ct state vmap { new : accept, invalid : drop }"), False),
    Case("a map that accepts", _nft("ct state vmap { invalid : accept }"), True),
    Case("a chain that is led to", _nft("jump other"), False),
    Case("a chain nobody leads to", _nft("jump elsewhere"), True),
    Case("a comment about it", _nft('accept comment "ct state invalid drop"'), True),
    Case("a drop of what is not invalid", _nft("ct state != invalid drop"), True),
    Case("a count alone", _nft("ct state invalid counter packets 0 bytes 0"), True),
    Case("a strict policy", _nft(ALL_BUT, policy="drop"), False),
    Case(
        "a policy with a rule that asks nothing",
        _nft(f'{ALL_BUT} / iifname "lan" accept', policy="drop"),
        True,
    ),
    Case(
        "an open port of the box",
        _nft(f"{ALL_BUT} / tcp dport 22 accept", hook="input", policy="drop"),
        False,
        Hook.INPUT,
    ),
    Case("input is another hook", _nft("ct state invalid drop"), True, Hook.INPUT),
    Case(
        "prerouting stops it for all",
        _nft("ct state invalid drop", hook="prerouting"),
        False,
        Hook.INPUT,
    ),
    Case("iptables", _iptables("-A FORWARD -m conntrack --ctstate INVALID -j DROP"),
         False),
    Case(
        "iptables, not",
        _iptables("-A FORWARD -m conntrack ! --ctstate INVALID -j DROP"),
        True,
    ),
    Case("a log", _iptables("-A FORWARD -m conntrack --ctstate INVALID -j LOG"), True),
    Case(
        "a state of many",
        _iptables("-A FORWARD -m state --state INVALID,NEW -j REJECT"),
        False,
    ),
    Case("iptables' policy", _iptables("-A FORWARD -s 10.0.0.0/8 -j ACCEPT",
                                       policy="DROP"), True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_ruleset_passes_invalid_packets_or_does_not(case: Case) -> None:
    assert passes_invalid(case.ruleset, "ip", case.hook) is case.passes


def test_a_raw_chain_knows_no_state() -> None:
    ruleset = parse_nft(
        "table ip t {\n\tchain c {\n\t\ttype filter hook prerouting priority raw;\n"
        "\t\tct state invalid drop\n\t}\n}\n"
    )
    assert passes_invalid(ruleset, "ip", Hook.FORWARD)


def test_rules_of_one_family_say_nothing_of_the_other() -> None:
    ruleset = _iptables("-A FORWARD -m conntrack --ctstate INVALID -j DROP")
    assert passes_invalid(ruleset, "ip6", Hook.FORWARD)


@pytest.mark.parametrize(
    ("rule", "clamps"),
    [
        ("tcp flags syn tcp option maxseg size set rt mtu", True),
        ("tcp flags syn tcp option maxseg size set 1360", True),
        ("tcp option maxseg size 1-500 drop", False),
    ],
)
def test_a_rule_sets_the_segment_size_or_only_asks(rule: str, clamps: bool) -> None:
    assert clamps_mss(_nft(rule), "ip") is clamps
    assert clamps_mss(_nft(rule), "ip6") is clamps


def test_iptables_sets_the_segment_size_of_its_family() -> None:
    rule = "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS"
    ruleset = _iptables(f"{rule} --clamp-mss-to-pmtu")
    assert clamps_mss(ruleset, "ip")
    assert not clamps_mss(ruleset, "ip6")


def test_other_words_take_the_place_of_a_rule() -> None:
    rule = _nft("ct state new counter").rules[-1]
    assert replaced(rule, "drop") == ("nft replace rule inet filter base handle N drop")
    rule = _iptables("-A FORWARD -j DROP").rules[0]
    assert replaced(rule, "-A FORWARD -s 10.0.0.1 -j DROP") == (
        "iptables-nft -t filter -R FORWARD 1 -s 10.0.0.1 -j DROP"
    )


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("ct original zone set 1", True),
        ("ct zone set 1", False),
        ("ct reply zone set 1", False),
        ("ct original zone 1 drop", False),
    ],
)
def test_a_zone_of_the_original_direction_alone(rule: str, found: bool) -> None:
    assert bool(zone_rules(_nft(rule), "ip")) is found
    assert bool(zone_rules(_iptables("-A FORWARD -j CT --zone-orig 1"), "ip"))
    assert not zone_rules(_iptables("-A FORWARD -j CT --zone 1"), "ip")


@pytest.mark.parametrize(
    ("rule", "is_open"),
    [
        ('tcp dport 21 ct helper set "ftp"', True),
        ('iifname "lan" tcp dport 21 ct helper set "ftp"', True),
        ('ip daddr 192.0.2.1 tcp dport 21 ct helper set "ftp"', False),
        ('ct helper "ftp" accept', False),
    ],
)
def test_a_helper_is_open_where_no_address_is_named(rule: str, is_open: bool) -> None:
    assert bool(open_helper_rules(_nft(rule))) is is_open


@pytest.mark.parametrize(
    ("ruleset", "found"),
    [
        (_nft('iifname "lan" notrack'), True),
        (_nft('accept comment "notrack"'), False),
        (_iptables("-A FORWARD -p udp -j CT --notrack"), True),
        (_iptables("-A FORWARD -p udp -j NOTRACK"), True),
        (_iptables("-A FORWARD -p udp -j CT --zone 1"), False),
    ],
)
def test_a_rule_keeps_packets_from_conntrack(ruleset: RuleIndex, found: bool) -> None:
    assert bool(untracking_rules(ruleset)) is found


def test_a_rule_is_taken_away_by_its_place() -> None:
    rule = _iptables("-A FORWARD -j DROP").rules[0]
    assert deleted(rule) == "iptables-nft -t filter -D FORWARD 1"
    rule = _nft("drop").rules[-1]
    assert deleted(rule) == "nft delete rule inet filter base handle N"


def test_iptables_gives_helpers_too() -> None:
    rule = "-A FORWARD {}-p tcp -m tcp --dport 21 -j CT --helper ftp"
    assert open_helper_rules(_iptables(rule.format("")))
    assert not open_helper_rules(_iptables(rule.format("-d 192.0.2.1/32 ")))


def test_flowtables_count_or_do_not() -> None:
    text = (
        "table inet f {\n"
        "\tflowtable slow {\n\t\thook ingress priority filter\n"
        "\t\tdevices = { lan, wan }\n\t\tcounter\n\t}\n\n"
        "\tflowtable fast {\n\t\thook ingress priority filter\n"
        "\t\tdevices = { lan }\n\t}\n}\n"
    )
    assert uncounted_flowtables(text) == ["fast"]
