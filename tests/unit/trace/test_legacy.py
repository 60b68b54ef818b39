"""Steps of iptables-legacy put between those of nft, packet by packet."""

from __future__ import annotations

from dataclasses import replace

from natscope import uapi
from natscope.codec import packets
from natscope.codec.nflog import LoggedPacket
from natscope.codec.text.ruleset import parse_iptables
from natscope.model.journey import Chain, Hook, Verdict, Visit
from natscope.model.packet import Packet
from natscope.trace.legacy import LegacySteps, has_rules
from unit.codec.trace_messages import syn

RULES = parse_iptables(
    "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp\n-A FORWARD -j DROP\nCOMMIT\n",
    family="ip",
    tool="iptables-legacy",
)


def steps(*packets_seen: Packet) -> LegacySteps:
    """Both rules of FORWARD, by each packet."""
    made = LegacySteps(RULES, lambda _: None)
    for packet in packets_seen:
        for number in (1, 2):
            made.add(
                LoggedPacket(
                    uapi.AF_INET,
                    0,
                    f"TRACE: filter:FORWARD:rule:{number} ",
                    packets.encode(packet),
                    Hook.FORWARD,
                )
            )
    return made


def seen(hook: Hook, priority: int, packet: Packet | None) -> Visit:
    chain = Chain("inet", "own", hook.name, "filter", hook, priority, Verdict.ACCEPT)
    return Visit(chain, chain, Verdict.ACCEPT, is_policy=True, packet=packet)


def names(visits: tuple[Visit, ...]) -> list[str]:
    return [
        visit.base.name if visit.rule is None else visit.rule.text for visit in visits
    ]


BEGIN = (seen(Hook.PREROUTING, -500, syn()), seen(Hook.FORWARD, -500, syn()))
LEGACY = ["-A FORWARD -p tcp", "-A FORWARD -j DROP"]


def test_steps_stand_where_their_chain_is_on_the_way() -> None:
    visits = (*BEGIN, seen(Hook.FORWARD, 500, syn()))
    found = steps(syn()).merged(visits)
    assert names(found) == ["PREROUTING", "FORWARD", *LEGACY, "FORWARD"]


def test_a_packet_is_known_again_after_translation() -> None:
    translated = replace(syn(), dst=syn().src, dport=8080, ttl=63)
    assert names(steps(translated).merged(BEGIN))[2:] == LEGACY


def test_another_packets_steps_are_left_alone() -> None:
    made = steps(syn(seq=99))
    assert made.merged(BEGIN) == BEGIN
    other = (seen(Hook.FORWARD, -500, syn(seq=99)),)
    assert names(made.merged(other))[1:] == LEGACY


def test_the_same_packet_again_has_its_own_steps() -> None:
    made = steps(syn(), syn())
    assert [names(made.merged(BEGIN))[2:] for _ in range(3)] == [LEGACY, LEGACY, []]


def test_headers_stand_in_the_first_step_of_a_chain_alone() -> None:
    _, _, one, two = steps(syn()).merged(BEGIN)
    assert one.packet is not None
    assert two.packet is None


def test_whether_there_are_rules_of_iptables_legacy() -> None:
    assert has_rules(RULES)
    assert not has_rules(parse_iptables("", family="ip", tool="iptables-legacy"))
