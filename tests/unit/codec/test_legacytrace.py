"""Steps of iptables-legacy, from what it writes to the packet log."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from natscope import uapi
from natscope.codec import packets
from natscope.codec.legacytrace import visit
from natscope.codec.nflog import LoggedPacket
from natscope.codec.text.ruleset import parse_iptables
from natscope.model.journey import Hook, Verdict
from unit.codec.trace_messages import syn

RULES = parse_iptables(
    """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:MINE:2 - [0:0]
-A FORWARD -i eth0 -j MINE:2
-A FORWARD -g MINE:2
-A FORWARD -m comment --comment "-j DROP"
-A MINE:2 -j LOG --log-prefix "x"
-A MINE:2 -p tcp -j REJECT --reject-with tcp-reset
-A MINE:2 -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -j DNAT --to-destination 10.0.0.9
COMMIT
""",
    family="ip",
    tool="iptables-legacy",
)
LOGGED = LoggedPacket(
    uapi.AF_INET, 0, payload=packets.encode(syn()), hook=Hook.FORWARD, iif=2, oif=9
)


@dataclass(frozen=True)
class Case:
    id: str
    prefix: str
    rule: str | None
    verdict: Verdict
    target: str | None = None
    is_policy: bool = False


CASES = [
    Case(
        *("a jump", "TRACE: filter:FORWARD:rule:1 ", "-A FORWARD -i eth0 -j MINE:2"),
        *(Verdict.JUMP, "MINE:2"),
    ),
    Case(
        *("a goto", "TRACE: filter:FORWARD:rule:2 ", "-A FORWARD -g MINE:2"),
        *(Verdict.GOTO, "MINE:2"),
    ),
    Case(
        "a target that goes on",
        "TRACE: filter:MINE:2:rule:1 ",
        '-A MINE:2 -j LOG --log-prefix "x"',
        Verdict.CONTINUE,
    ),
    Case(
        "a target that ends it",
        "TRACE: filter:MINE:2:rule:2 ",
        "-A MINE:2 -p tcp -j REJECT --reject-with tcp-reset",
        Verdict.DROP,
    ),
    Case(
        "NAT",
        "TRACE: nat:PREROUTING:rule:1 ",
        "-A PREROUTING -j DNAT --to-destination 10.0.0.9",
        Verdict.ACCEPT,
    ),
    Case(
        "the end of a chain", "TRACE: filter:MINE:2:return:4 ", None, Verdict.CONTINUE
    ),
    Case(
        "a policy",
        "TRACE: filter:INPUT:policy:1 ",
        None,
        Verdict.DROP,
        is_policy=True,
    ),
    Case(
        "a rule made since the listing",
        "TRACE: filter:FORWARD:rule:9 ",
        "(rule 9)",
        Verdict.CONTINUE,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_step_is_read_with_its_rule(case: Case) -> None:
    found = visit(replace(LOGGED, prefix=case.prefix), RULES, {2: "eth0"}.get)
    assert found is not None
    assert found.rule is None or found.rule.tool == "iptables-legacy"
    assert (found.rule.text if found.rule else None) == case.rule
    assert (found.verdict, found.target) == (case.verdict, case.target)
    assert found.is_policy == case.is_policy
    assert (found.iif, found.oif) == ("eth0", "if9")


def test_a_chain_that_was_jumped_to_stands_under_the_built_in_one() -> None:
    prefix = "TRACE: filter:MINE:2:rule:1 "
    found = visit(replace(LOGGED, prefix=prefix), RULES, lambda _: None)
    assert found is not None
    assert (found.base.name, found.chain.name) == ("FORWARD", "MINE:2")
    assert found.packet is not None
    assert found.packet.dport == 80


@pytest.mark.parametrize(
    "logged",
    [
        replace(LOGGED, prefix="nf_ct_proto_6: invalid new "),
        replace(LOGGED, prefix="[UFW BLOCK] "),
        replace(LOGGED, prefix="TRACE: filter:FORWARD:rule:1 ", hook=None),
        replace(LOGGED, prefix="TRACE: filter:FORWARD:rule:1 ", family=7),
    ],
    ids=["conntrack's", "a rule's", "no hook", "a bridge's"],
)
def test_what_else_is_logged_is_none(logged: LoggedPacket) -> None:
    assert visit(logged, RULES, lambda _: None) is None
