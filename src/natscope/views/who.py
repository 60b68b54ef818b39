"""Who is behind a public address and port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from natscope import uapi
from natscope.model import age
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import KIND_WORDS, End, Endpoint, Kind, classify, endpoint
from natscope.model.tuples import Address

OUTSIDE_SHOWN = 5
"""Remote ends named in words before the rest are counted."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the box knows of a host beside its flows."""

    mac: str | None = None
    name: str | None = None


@dataclass(slots=True)
class Answer:
    """A host behind the public endpoint, with all its flows through it."""

    proto: int
    host: Endpoint
    public: Endpoint
    kind: Kind
    netns: str | None = None
    flows: list[Flow] = field(default_factory=list)
    outside: list[Endpoint] = field(default_factory=list)
    since_ns: int | None = None
    until_ns: int | None = None
    """When the last of the flows ended; None if one has not, or nobody knows."""
    about: Host = field(default_factory=Host)

    def total(self, column: str) -> int | None:
        """The sum of a counter over the flows that have it."""
        values = [getattr(flow, column) for flow in self.flows]
        known = [value for value in values if value is not None]
        return sum(known) if known else None


def answers(pieces: Iterable[tuple[Iterable[Flow], Evidence]]) -> list[Answer]:
    """The hosts behind these flows, the earliest first.

    Args:
        pieces: flows, with what their own box told.
    """
    found: dict[tuple[object, ...], Answer] = {}
    told = ((flow, evidence) for flows, evidence in pieces for flow in flows)
    for flow, evidence in told:
        kind, ends = classify(flow, evidence)
        # behind a public destination stands its target, also in a hairpin
        behind = ends.target if ends.public is End.ORIG_DST else ends.inside
        remote = End.ORIG_SRC if ends.public is End.ORIG_DST else ends.outside
        host, public = endpoint(flow, behind), endpoint(flow, ends.public)
        if host is None or public is None:
            continue
        key = (flow.proto, host, public, kind, flow.netns)
        if key not in found:
            found[key] = Answer(flow.proto, host, public, kind, flow.netns)
        answer = found[key]
        answer.flows.append(flow)
        outside = endpoint(flow, remote)
        if outside is not None:
            answer.outside.append(outside)
        born = _since(flow, evidence)
        if born is not None:
            answer.since_ns = min(born, answer.since_ns or born)
    for answer in found.values():
        ends_ns = [flow.stop_ns for flow in answer.flows]
        known = [end_ns for end_ns in ends_ns if end_ns is not None]
        if len(known) == len(ends_ns):
            answer.until_ns = max(known)
    return sorted(found.values(), key=lambda a: (a.since_ns is None, a.since_ns or 0))


def name_hosts(found: Iterable[Answer], hosts: Mapping[Address, Host]) -> None:
    """Put what the box knows of each host into its answers."""
    for answer in found:
        answer.about = hosts.get(answer.host.address, answer.about)


def sentences(answer: Answer) -> list[str]:
    """An answer in words, the host first."""
    head = f"{show(answer.host, answer.proto)} {uapi.protocol_name(answer.proto)}"
    if answer.netns:
        head += f"  in {answer.netns}"
    if answer.about.name:
        head += f"  {answer.about.name}"
    if answer.about.mac:
        head += f"  mac {answer.about.mac}"
    lines = [
        head,
        f"  public   {show(answer.public, answer.proto)} ({KIND_WORDS[answer.kind]})",
    ]
    if answer.outside:
        shown = ", ".join(
            show(end, answer.proto) for end in answer.outside[:OUTSIDE_SHOWN]
        )
        more = len(answer.outside) - OUTSIDE_SHOWN
        lines.append(f"  outside  {shown}" + (f" and {more} more" if more > 0 else ""))
    for word, time_ns in (("since", answer.since_ns), ("until", answer.until_ns)):
        if time_ns is not None:
            moment = datetime.fromtimestamp(time_ns // 10**9, UTC)
            lines.append(f"  {word}    {moment:%Y-%m-%d %H:%M:%S} UTC")
    sent, received = answer.total("orig_bytes"), answer.total("reply_bytes")
    if sent is not None and received is not None:
        lines.append(f"  sent     {sent} B, received {received} B")
    return lines


def record(answer: Answer) -> dict[str, Any]:
    """An answer for programs; what is not known is left out."""
    known: dict[str, Any] = {
        "proto": uapi.protocol_name(answer.proto),
        "kind": answer.kind.letter,
        "netns": answer.netns,
        "host": _object(answer.host, answer.proto),
        "public": _object(answer.public, answer.proto),
        "outside": [_object(end, answer.proto) for end in answer.outside],
        "flows": len(answer.flows),
        "since_ns": answer.since_ns,
        "until_ns": answer.until_ns,
        "mac": answer.about.mac,
        "name": answer.about.name,
        "orig_bytes": answer.total("orig_bytes"),
        "reply_bytes": answer.total("reply_bytes"),
    }
    return {name: value for name, value in known.items() if value is not None}


def show(endpoint: Endpoint, proto: int) -> str:
    """``address:port`` as listings show it, an IPv6 address in brackets."""
    if endpoint.port is None:
        return str(endpoint.address)
    address = str(endpoint.address)
    whole = f"[{address}]" if endpoint.address.version == 6 else address
    word = _WORDS.get(proto, "port")
    if word == "port":
        return f"{whole}:{endpoint.port}"
    number = hex(endpoint.port) if word == "key" else str(endpoint.port)
    return f"{whole}:{word}={number}"


_WORDS = {
    uapi.IPPROTO_ICMP: "id",
    uapi.IPPROTO_ICMPV6: "id",
    uapi.IPPROTO_GRE: "key",
}
"""What tells the users of an address apart, where it is no port."""


def _object(endpoint: Endpoint, proto: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"address": str(endpoint.address)}
    if endpoint.port is not None:
        shown[_WORDS.get(proto, "port")] = endpoint.port
    return shown


def _since(flow: Flow, evidence: Evidence) -> int | None:
    if flow.start_ns is not None:
        return flow.start_ns
    seconds = age.age_s(flow, evidence)
    if seconds is None or evidence.now_ns is None:
        return None
    return evidence.now_ns - seconds * age.NS_PER_S
