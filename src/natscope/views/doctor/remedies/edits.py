"""Commands that change a chain, in the words of the tool that made it.

A rule of nft in a chain of iptables-nft makes iptables(8) refuse the whole chain.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from natscope.codec.text.natrules import shown
from natscope.codec.text.strings import masked
from natscope.model.bundle import Bundle
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Chain, Rule

_SOURCES = (
    (re.compile(r"\bmasquerade(?! to\b)"), "masquerade to :{}"),
    (re.compile(r"\bsnat (?:ip )?to [\d.]+(?:-[\d.]+)?(?=\s|$)"), r"\g<0>:{}"),
    (re.compile(r"-j MASQUERADE\b(?!.*--to-ports)"), "-j MASQUERADE --to-ports {}"),
    (re.compile(r"--to-source [\d.]+(?:-[\d.]+)?(?=\s|$)"), r"\g<0>:{}"),
)
"""Source rules that name no ports, and the same with a range."""
_RANGES = (
    (re.compile(r"\bmasquerade to :[\d-]+"), "masquerade"),
    (re.compile(r"(\bsnat (?:ip )?to [\d.-]+):[\d-]+"), r"\1"),
    (re.compile(r"(\bsnat (?:ip6 )?to )\[([^]]*)\]:[\d-]+"), r"\1\2"),
    (re.compile(r"(-j MASQUERADE\b.*?) --to-ports \S+"), r"\1"),
    (re.compile(r"(--to-source [\d.-]+):[\d-]+"), r"\1"),
    (re.compile(r"(--to-source )\[([^]]*)\]:[\d-]+"), r"\1\2"),
)
"""Source rules with a range of ports, and the same without."""
_ADDRESSES = r"(?:[\d.]+(?:-[\d.]+)?|\[[^]]*\](?:-\[[^]]*\])?|[\da-f:]+(?:-[\da-f:]+)?)"
_GIVEN = (
    (re.compile(r"\bmasquerade(?: to (?P<ports>:[\d-]+))?"), "snat {family}to"),
    (
        re.compile(rf"\bsnat (?:ip6? )?to {_ADDRESSES}(?P<ports>:[\d-]+)?(?=\s|$)"),
        "snat {family}to",
    ),
    (
        re.compile(r"-j MASQUERADE(?: --to-ports (?P<ports>\S+))?"),
        "-j SNAT --to-source",
    ),
    (
        re.compile(rf"--to-source {_ADDRESSES}(?P<ports>:[\d-]+)?(?=\s|$)"),
        "--to-source",
    ),
)
"""What gives addresses, and the words that give others."""
_OF_NO_SHELL = re.compile(r"[\w@%+=:,./ -]*", re.ASCII)
"""What a shell hands on as it is."""
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


def lacks_handle(rule: Rule) -> bool:
    """Whether N stands in a command about a rule for the number only its box knows:
    ``nft -a list ruleset`` tells it."""
    return rule.tool == "nft" and rule.handle is None


def deleted(rule: Rule) -> str:
    """The command that takes a rule away; N as for :func:`lacks_handle`."""
    if rule.text.startswith(f"-A {rule.chain} "):
        return f"{rule.tool} -t {rule.table} -D {rule.chain} {rule.number}"
    return f"nft delete rule {_named(rule)}"


def before(rule: Rule, text: str) -> str:
    """The command that puts other words before a rule."""
    return _at(rule, text, "insert", "-I")


def replaced(rule: Rule, text: str) -> str:
    """The command that puts other words in a rule's place."""
    return _at(rule, text, "replace", "-R")


def _at(rule: Rule, text: str, nft: str, option: str) -> str:
    begin = f"-A {rule.chain} "
    if text.startswith(begin):
        where = f"{rule.tool} -t {rule.table} {option} {rule.chain} {rule.number}"
        return f"{where} {text.removeprefix(begin)}"
    words = text if _OF_NO_SHELL.fullmatch(text) else shlex.quote(text)
    return f"nft {nft} rule {_named(rule)} {words}"


def _named(rule: Rule) -> str:
    number = "N" if rule.handle is None else rule.handle
    return f"{rule.family} {rule.table} {rule.chain} handle {number}"


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


def without_ports(rule: Rule) -> str | None:
    """The words of a source rule without its range of ports; None: it has none, or
    gives it by a map."""
    text = shown(rule.text)
    for ranged, plain in _RANGES:
        if found := ranged.search(masked(text)):
            return f"{text[: found.start()]}{found.expand(plain)}{text[found.end() :]}"
    return None


def with_addresses(rule: Rule, version: int) -> str | None:
    """The words of a source rule that gives the addresses FIRST to LAST instead.

    None where it gives them in another way, as by a map.

    Args:
        rule: the rule.
        version: of the addresses, 4 or 6.
    """
    text = shown(rule.text)
    family = f"{VERSIONS[version].nft} " if rule.family == "inet" else ""
    for pattern, words in _GIVEN:
        if found := pattern.search(masked(text)):
            given = "FIRST-LAST"
            if found["ports"]:
                given = "[FIRST]-[LAST]" if version == 6 else given
                given += f":{found['ports'].lstrip(':')}"
            put = f"{words.format(family=family)} {given}"
            return f"{text[: found.start()]}{put}{text[found.end() :]}"
    return None


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
