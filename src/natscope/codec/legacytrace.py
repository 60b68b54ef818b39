"""The trace of iptables-legacy: what it writes to the packet log.

For a packet with nf_trace set (meta nftrace, or target TRACE), ipt_do_table() logs
``TRACE: TABLE:CHAIN:rule|return|policy:NUMBER`` where nf_tables would send a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from natscope import uapi
from natscope.codec import packets
from natscope.codec.nflog import LoggedPacket
from natscope.codec.text.ruleset import RuleIndex
from natscope.errors import DecodeError
from natscope.model.journey import Chain, Hook, Rule, Verdict, Visit
from natscope.model.packet import Packet

_STEP = re.compile(
    r"TRACE: (?P<table>[^:]+):(?P<chain>.+):(?P<kind>\w+):(?P<number>\d+) ?$"
)
_TARGET = re.compile(r'(?:^|\s)-(?P<how>[jg]) (?P<target>"[^"]*"|\S+)')
_FAMILIES = {
    uapi.AF_INET: ("ip", "iptables-legacy"),
    uapi.AF_INET6: ("ip6", "ip6tables-legacy"),
}
_VERDICTS = {
    "ACCEPT": Verdict.ACCEPT,
    "DROP": Verdict.DROP,
    "REJECT": Verdict.DROP,
    "RETURN": Verdict.RETURN,
    "QUEUE": Verdict.QUEUE,
    "NFQUEUE": Verdict.QUEUE,
    # NAT ends its table: nf_nat_setup_info() gives NF_ACCEPT
    **dict.fromkeys(
        ("DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"), Verdict.ACCEPT
    ),
}


def visit(
    logged: LoggedPacket, ruleset: RuleIndex, name_of: Callable[[int], str | None]
) -> Visit | None:
    """A step of iptables-legacy; None for anything else that is logged.

    Args:
        logged: the packet as it was logged.
        ruleset: with the rules of iptables-legacy at that moment.
        name_of: the name of an interface by its index.
    """
    step = _STEP.match(logged.prefix)
    if step is None or logged.family not in _FAMILIES or logged.hook is None:
        return None
    family, tool = _FAMILIES[logged.family]
    table, name, number = step["table"], step["chain"], int(step["number"])
    chain = ruleset.chain(family, table, name)
    is_policy = step["kind"] == "policy"
    rule = None
    if step["kind"] == "rule":
        rule = ruleset.numbered(tool, family, table, name, number)
        rule = rule or Rule(family, table, name, f"(rule {number})", None, number, tool)
    verdict, target = _verdict(rule, ruleset)
    if is_policy:
        verdict = Verdict.ACCEPT if chain.policy is None else chain.policy
    return Visit(
        base=_base(chain, logged.hook, ruleset),
        chain=chain,
        verdict=verdict,
        rule=rule,
        target=target,
        is_policy=is_policy,
        packet=_packet(logged.payload),
        iif=_name(logged.iif, name_of),
        oif=_name(logged.oif, name_of),
        mark=logged.mark or 0,
    )


def _verdict(rule: Rule | None, ruleset: RuleIndex) -> tuple[Verdict, str | None]:
    """What a rule does, by its target: the log does not tell."""
    found = None if rule is None else _TARGET.search(rule.text)
    if rule is None or found is None:
        return Verdict.CONTINUE, None
    target = found["target"]
    if target in _VERDICTS:
        return _VERDICTS[target], None
    known = Chain(rule.family, rule.table, target)
    if any((c.family, c.table, c.name) == _place(known) for c in ruleset.chains):
        return (Verdict.GOTO if found["how"] == "g" else Verdict.JUMP), target
    return Verdict.CONTINUE, None


def _place(chain: Chain) -> tuple[str, str, str]:
    return chain.family, chain.table, chain.name


def _base(chain: Chain, hook: int, ruleset: RuleIndex) -> Chain:
    """The built-in chain of the table at the hook, which led here."""
    if chain.hook is not None:
        return chain
    for one in ruleset.chains:
        place = (one.family, one.table, one.hook)
        if place == (chain.family, chain.table, Hook(hook)):
            return one
    return chain


def _packet(payload: bytes) -> Packet | None:
    try:
        return packets.decode(payload, cut=True)
    except DecodeError:
        return None


def _name(index: int | None, name_of: Callable[[int], str | None]) -> str | None:
    return (name_of(index) or f"if{index}") if index else None
