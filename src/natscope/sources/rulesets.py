"""The rules of a network namespace, as its own programs list them.

nft(8) tells handles and hooks, iptables-save(8) how iptables wrote a rule.  What
is not installed is left out: its rules then are shown as nft sees them.
"""

from __future__ import annotations

from pathlib import Path

from natscope.codec.text.ruleset import RuleIndex, joined, parse_iptables, parse_nft
from natscope.errors import NatscopeError
from natscope.sources import tools
from natscope.sources.netns import Namespace, inside

_FAMILIES = {"ip": "iptables", "ip6": "ip6tables"}
_LEGACY = {
    "ip": Path("/proc/thread-self/net/ip_tables_names"),
    "ip6": Path("/proc/thread-self/net/ip6_tables_names"),
}
"""Tables of iptables-legacy that exist: asking for others would make them."""
_IPTABLES_TABLES = ("filter", "nat", "mangle", "raw", "security")


def read_ruleset(namespace: Namespace | None = None) -> RuleIndex:
    """Every chain and rule of a namespace.

    Args:
        namespace: another one; None is the calling thread's.

    Raises:
        MissingTool: nft(8) is not installed.
        NatscopeError: it failed, as without CAP_NET_ADMIN.
    """
    with inside(namespace):
        nft = parse_nft(tools.run(["nft", "-s", "-a", "list", "ruleset"]))
        return joined(nft, *_of_iptables(nft), *_legacy())


def _of_iptables(nft: RuleIndex) -> list[RuleIndex]:
    """What iptables-nft says of the tables it may have made."""
    found = []
    for family, program in _FAMILIES.items():
        tables = {chain.table for chain in nft.chains if chain.family == family}
        for table in _IPTABLES_TABLES:
            if table in tables:
                words = [f"{program}-nft-save", "-t", table]
                found.append(_saved(words, family, f"{program}-nft"))
    return [one for one in found if one is not None]


def _legacy() -> list[RuleIndex]:
    found = []
    for family, program in _FAMILIES.items():
        for table in _tables(_LEGACY[family]):
            words = [f"{program}-legacy-save", "-t", table]
            found.append(_saved(words, family, f"{program}-legacy"))
    return [one for one in found if one is not None]


def _tables(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []  # no such module, or not permitted: then there is nothing to list


def _saved(words: list[str], family: str, tool: str) -> RuleIndex | None:
    """What iptables-save prints; None where it does not understand a table."""
    if tools.find(words[0]) is None:
        return None
    try:
        text = tools.run(words)
    except NatscopeError:
        return None  # a table of nft's own under a name that iptables uses too
    return parse_iptables(text, family=family, tool=tool)
