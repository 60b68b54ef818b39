"""What a bundle holds, in a few lines for people and as one object for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from natscope.codec.text.printable import printable
from natscope.codec.text.ruleset import parse_iptables, parse_nft
from natscope.model.bundle import Bundle, Link, Ruleset
from natscope.uapi import rtnetlink

_TABLES = {
    rtnetlink.RT_TABLE_DEFAULT: "default",
    rtnetlink.RT_TABLE_MAIN: "main",
    rtnetlink.RT_TABLE_LOCAL: "local",
}
_FORWARDING = {
    "IPv4": "net/ipv4/ip_forward",
    "IPv6": "net/ipv6/conf/all/forwarding",
}
_WIDTH = 12


def summary_json(bundle: Bundle) -> bytes:
    """The summary as a JSON object, one line."""
    told = {
        "made_ns": bundle.made_ns,
        "natscope": bundle.natscope,
        "hostname": bundle.hostname,
        "kernel": bundle.kernel,
        "is_redacted": bundle.is_redacted,
        "links": [_link(link) for link in bundle.links],
        "routes": _routes(bundle),
        "routing_rules": len(bundle.rules),
        "neighbours": len(bundle.neighbours),
        "sysctls": len(bundle.sysctls),
        "forwarding": {
            family.lower(): bundle.sysctls[path] != "0"
            for family, path in _FORWARDING.items()
            if path in bundle.sysctls
        },
        "rules": _rules(bundle),
        "flows": None if bundle.flows is None else bundle.flows.count,
        "missing": list(bundle.missing),
    }
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


def summary_text(bundle: Bundle) -> str:
    """The summary as aligned lines."""
    lines = (f"{label:<{_WIDTH}}{told}" for label, told in _parts(bundle))
    return "".join(f"{printable(line)}\n" for line in lines)


def _parts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    made = datetime.fromtimestamp(bundle.made_ns // 10**9, UTC)
    by = f" by natscope {bundle.natscope}" if bundle.natscope else ""
    redacted = ", redacted" if bundle.is_redacted else ""
    yield "made", f"{made:%Y-%m-%d %H:%M:%S} UTC{by}{redacted}"
    host = bundle.hostname or "not known"
    yield "host", f"{host}, Linux {bundle.kernel}" if bundle.kernel else host
    for link in bundle.links:
        state = "up" if link.up else "down"
        places = [f"{one.local}/{one.prefix}" for one in link.addresses]
        yield "link", " ".join(filter(None, [link.name, state, link.kind, *places]))
    routes = [f"{count} in {table}" for table, count in _routes(bundle).items()]
    yield "routes", ", ".join(routes) or "none"
    yield "ip rules", str(len(bundle.rules))
    yield "neighbours", str(len(bundle.neighbours))
    yield "settings", ", ".join([str(len(bundle.sysctls)), *_forwarding(bundle)])
    rules = [f"{count} of {tool}" for tool, count in _rules(bundle).items()]
    yield "rules", ", ".join(rules) or "none"
    if bundle.flows is not None:
        yield "flows", str(bundle.flows.count)
    for one in bundle.missing:
        yield "missing", one


def _link(link: Link) -> dict[str, object]:
    return {
        "name": link.name,
        "up": link.up,
        "kind": link.kind,
        "addresses": [f"{one.local}/{one.prefix}" for one in link.addresses],
    }


def _routes(bundle: Bundle) -> dict[str, int]:
    """Routes of each table."""
    counts = Counter(route.table for route in bundle.routes)
    named = sorted(counts.items(), reverse=True)
    return {_TABLES.get(table, str(table)): count for table, count in named}


def _forwarding(bundle: Bundle) -> Iterator[str]:
    for family, path in _FORWARDING.items():
        if path in bundle.sysctls:
            state = "off" if bundle.sysctls[path] == "0" else "on"
            yield f"{family} forwarding {state}"


def _rules(bundle: Bundle) -> dict[str, int]:
    """Rules of each tool; of ipset, sets."""
    counts: Counter[str] = Counter()
    for ruleset in bundle.rulesets:
        counts[ruleset.tool] += _count(ruleset)
    return dict(counts)


def _count(ruleset: Ruleset) -> int:
    if ruleset.tool == "nft":
        return len(parse_nft(ruleset.text).rules)
    if ruleset.family is None:
        return sum(line.startswith("create ") for line in ruleset.text.splitlines())
    found = parse_iptables(ruleset.text, family=ruleset.family, tool=ruleset.tool)
    return len(found.rules)
