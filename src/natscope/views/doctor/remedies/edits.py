"""Commands that change a chain, in the words of the tool that made it.

A rule of nft in a chain of iptables-nft makes iptables(8) refuse the whole chain.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from natscope.codec.text.natrules import shown
from natscope.model.bundle import Bundle
from natscope.model.journey import Chain, Rule

_SOURCES = (
    (re.compile(r"\bmasquerade(?! to\b)"), "masquerade to :{}"),
    (re.compile(r"\bsnat (?:ip )?to [\d.]+(?:-[\d.]+)?(?=\s|$)"), r"\g<0>:{}"),
    (re.compile(r"-j MASQUERADE\b(?!.*--to-ports)"), "-j MASQUERADE --to-ports {}"),
    (re.compile(r"--to-source [\d.]+(?:-[\d.]+)?(?=\s|$)"), r"\g<0>:{}"),
)
"""Source rules that name no ports, and the same with a range."""
_ASKS_PROTOCOL = re.compile(r"(?<!\S)(?:-p|l4proto|protocol|tcp|udp)(?!\S)")

KEEP = "put it into the file your ruleset is loaded from as well"
"""What a command alone does not do."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a rule says, after its chain; in both languages."""

    nft: str
    iptables: str


def inserting(bundle: Bundle, chain: Chain, *rules: Words) -> str:
    """The command that makes some rules the first of a chain."""
    return _command(bundle, chain, tuple(reversed(rules)), "insert", "-I")


def adding(bundle: Bundle, chain: Chain, *rules: Words) -> str:
    """The command that makes some rules the last of a chain."""
    return _command(bundle, chain, rules, "add", "-A")


def deleted(rule: Rule) -> str:
    """The command that takes a rule away; N as for :func:`replaced`."""
    if rule.text.startswith(f"-A {rule.chain} "):
        return f"{rule.tool} -t {rule.table} -D {rule.chain} {rule.number}"
    return f"nft delete rule {rule.family} {rule.table} {rule.chain} handle N"


def before(rule: Rule, text: str) -> str:
    """The command that puts other words before a rule; N as for :func:`replaced`."""
    begin = f"-A {rule.chain} "
    if text.startswith(begin):
        words = text.removeprefix(begin)
        return f"{rule.tool} -t {rule.table} -I {rule.chain} {rule.number} {words}"
    return f"nft insert rule {rule.family} {rule.table} {rule.chain} handle N {text}"


def with_ports(rule: Rule, proto: str, ports: str) -> str | None:
    """The words of a source rule with a range of ports, for one protocol.

    None where it has one already, asks for a protocol, or gives addresses in another
    way: by a map, of IPv6.
    """
    text = shown(rule.text)
    for plain, ranged in _SOURCES:
        found, count = plain.subn(ranged.format(ports), text)
        if count and not _ASKS_PROTOCOL.search(text):
            begin = f"-A {rule.chain} "
            if text.startswith(begin):
                return f"{begin}-p {proto} {found.removeprefix(begin)}"
            return f"meta l4proto {proto} {found}"
    return None


def replaced(rule: Rule, text: str) -> str:
    """The command that puts other words in a rule's place.

    Of nft, N is the rule's handle: ``nft -a list ruleset`` tells it.
    """
    begin = f"-A {rule.chain} "
    if text.startswith(begin):
        words = text.removeprefix(begin)
        return f"{rule.tool} -t {rule.table} -R {rule.chain} {rule.number} {words}"
    return f"nft replace rule {rule.family} {rule.table} {rule.chain} handle N {text}"


def _command(
    bundle: Bundle, chain: Chain, rules: tuple[Words, ...], nft: str, option: str
) -> str:
    tool = iptables_of(bundle, chain)
    if tool is None:
        where = f"{chain.family} {chain.table} {chain.name}"
        batch = (f"{nft} rule {where} {one.nft}" for one in rules)
        return f"nft {shlex.quote('; '.join(batch))}"
    where = f"-t {chain.table} {option} {shlex.quote(chain.name)}"
    return " &&\n".join(f"{tool} {where} {one.iptables}" for one in rules)


def iptables_of(bundle: Bundle, chain: Chain) -> str | None:
    """The iptables program whose chain it is; None: it is nft's own."""
    begin = {"ip": "iptables", "ip6": "ip6tables"}.get(chain.family)
    if begin is None:
        return None
    heading = re.compile(rf"^\*{re.escape(chain.table)}$", re.MULTILINE)
    for one in bundle.rulesets:
        if one.tool.startswith(begin) and heading.search(one.text):
            return one.tool
    return None
