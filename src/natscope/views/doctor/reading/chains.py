"""What a ruleset does to some packets, read from the texts of its rules.

A text is read for what it surely says.  Where it may say either, it is taken to be in
order: a finding must not come of a misreading.
"""

from __future__ import annotations

import re

from natscope.codec.text.natrules import Place, place, reachable
from natscope.codec.text.ruleset import RuleIndex
from natscope.codec.text.strings import emptied
from natscope.model.journey import Chain, Hook, Rule, Verdict

_CONNTRACK = -200
"""NF_IP_PRI_CONNTRACK: chains before it know no state."""
_DROPS_INVALID = re.compile(
    r"\bct state (?:\{[^}]*\binvalid\b[^}]*\}|[\w,]*\binvalid\b[\w,]*) "
    r".*\b(?:drop|reject|jump|goto)\b"
    r"|\bct state vmap \{[^}]*\binvalid : (?:drop|jump|goto)"
    r"|(?<!! )--(?:ct)?state \S*\bINVALID\b.* -[jg] (?!ACCEPT|RETURN|N?F?LOG\b)"
)
_ACCEPTS = re.compile(r"\baccept$|-j ACCEPT\b")
_ASKS_CONNTRACK = re.compile(r"\bct \w+|-m (?:conntrack|state|connmark|connbytes)\b")
_CLAMPS = re.compile(r"\btcp option maxseg size set\b|-j TCPMSS\b")
_ZONE = re.compile(r"\bct (?P<side>original |reply )?zone set\b|--zone(?P<xt>\S*) \S+")
_HELPER = re.compile(r"\bct helper set\b|-j CT .*--helper (\S+)")
_ADDRESS = re.compile(r"\bip6? [sd]addr\b|(?<!\S)-[sd] \S+")
_NOTRACK = re.compile(r"\bnotrack\b|-j (?:NOTRACK\b|CT\b.*--notrack\b)")
_FLOWTABLE = re.compile(r"^\tflowtable (\S+) \{\n(.*?)^\t\}", re.MULTILINE | re.DOTALL)

Family = str
"""ip or ip6, as tables name them."""


def base_chains(
    ruleset: RuleIndex, family: Family, hook: Hook, kind: str | None = None
) -> list[Chain]:
    """The base chains packets of a family meet at a hook, in order.

    Args:
        ruleset: of the box.
        family: ip or ip6; those of inet see both.
        hook: where.
        kind: filter, nat or route; None: any.
    """
    return [
        chain
        for chain in ruleset.base_chains()
        if chain.hook is hook
        and chain.family in (family, "inet")
        and kind in (None, chain.type)
    ]


def arriving(ruleset: RuleIndex) -> frozenset[Place]:
    """The NAT rules that packets of others meet first; the box's own meet others."""
    rules = ruleset.by_chain
    return frozenset(
        place(rule)
        for family in ("ip", "ip6")
        for base in base_chains(ruleset, family, Hook.PREROUTING, "nat")
        for rule in reachable(rules, (base.family, base.table, base.name))
    )


def passes_invalid(ruleset: RuleIndex, family: Family, hook: Hook) -> bool:
    """Whether an INVALID packet gets through at a hook.

    Not where a rule drops INVALID there or in prerouting behind conntrack, nor where
    the policy drops what no rule accepts: on the way to the box itself its open ports
    do not matter, for a packet that was not translated back goes to a port NAT chose.
    """
    before = base_chains(ruleset, family, Hook.PREROUTING)
    here = base_chains(ruleset, family, hook)
    looked = [one for one in before if (one.priority or 0) > _CONNTRACK] + here
    texts = ruleset.by_chain
    for chain in looked:
        rules = list(reachable(texts, (chain.family, chain.table, chain.name)))
        if any(_DROPS_INVALID.search(_plain(rule)) for rule in rules):
            return False
        if chain.hook is hook and chain.policy is Verdict.DROP:
            blind = (rule for rule in rules if _accepts_blindly(rule))
            if hook is Hook.INPUT or next(blind, None) is None:
                return False
    return True


def clamps_mss(ruleset: RuleIndex, family: Family) -> bool:
    """Whether any rule sets the maximum segment size of a family's TCP."""
    return any(
        rule.family in (family, "inet") and _CLAMPS.search(_plain(rule))
        for rule in ruleset.rules
    )


def zone_rules(ruleset: RuleIndex, family: Family) -> list[Rule]:
    """Rules that put only the original direction of a family's flows in a zone."""
    found = []
    for rule in ruleset.rules:
        told = _ZONE.search(_plain(rule))
        if told is None or rule.family not in (family, "inet"):
            continue
        if told["side"] == "original " or told["xt"] == "-orig":
            found.append(rule)
    return found


def untracking_rules(ruleset: RuleIndex) -> list[Rule]:
    """Rules that keep packets from conntrack."""
    return [rule for rule in ruleset.rules if _NOTRACK.search(_plain(rule))]


def helper_rules(ruleset: RuleIndex) -> list[Rule]:
    """Rules that give a helper to flows."""
    return [rule for rule in ruleset.rules if _HELPER.search(rule.text)]


def open_helper_rules(ruleset: RuleIndex) -> list[Rule]:
    """Those of them that are for flows of any address."""
    return [rule for rule in helper_rules(ruleset) if not _ADDRESS.search(_plain(rule))]


def uncounted_flowtables(text: str) -> list[str]:
    """Names of the flowtables of an nft listing that do not count packets."""
    return [
        name for name, body in _FLOWTABLE.findall(text) if "counter" not in body.split()
    ]


def _accepts_blindly(rule: Rule) -> bool:
    text = _plain(rule)
    return bool(_ACCEPTS.search(text)) and not _ASKS_CONNTRACK.search(text)


def _plain(rule: Rule) -> str:
    return emptied(rule.text)
