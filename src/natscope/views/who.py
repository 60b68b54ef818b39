"""Who is behind a public address and port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from natscope import uapi
from natscope.model import age
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import KIND_WORDS, Endpoint, Kind, translation
from natscope.model.tuples import Address


@dataclass(frozen=True, slots=True)
class Answer:
    """One flow behind the public endpoint, and what is known of its host."""

    flow: Flow
    host: Endpoint
    public: Endpoint
    outside: Endpoint | None
    kind: Kind
    since_ns: int | None
    age_s: int | None
    mac: str | None
    name: str | None


def answers(
    flows: Sequence[Flow],
    evidence: Evidence,
    macs: Mapping[Address, str],
    names: Mapping[Address, str],
) -> list[Answer]:
    """The hosts behind these flows, the longest-lived first.

    Args:
        flows: the flows that have the public endpoint.
        evidence: the moment and the box.
        macs: hardware address of each neighbour.
        names: host name of each inside host, where known.
    """
    found = []
    for flow in flows:
        parts = translation(flow, evidence)
        host = parts.inside or parts.target
        if host is None or parts.public is None:
            continue
        seconds = age.age_s(flow, evidence)
        found.append(
            Answer(
                flow,
                host=host,
                public=parts.public,
                outside=parts.outside,
                kind=parts.kind,
                since_ns=_since(flow, evidence, seconds),
                age_s=seconds,
                mac=macs.get(host.address),
                name=names.get(host.address),
            )
        )
    return sorted(found, key=lambda a: (a.since_ns is None, a.since_ns or 0))


def sentences(answer: Answer) -> list[str]:
    """An answer in words, the host first."""
    flow = answer.flow
    proto = uapi.protocol_name(flow.proto)
    head = f"{show(answer.host)} {proto}"
    if answer.name:
        head += f"  {answer.name}"
    if answer.mac:
        head += f"  mac {answer.mac}"
    lines = [head, f"  public   {show(answer.public)} ({KIND_WORDS[answer.kind]})"]
    if answer.outside is not None:
        lines.append(f"  outside  {show(answer.outside)}")
    if answer.since_ns is not None:
        moment = datetime.fromtimestamp(answer.since_ns // 10**9, UTC)
        lines.append(f"  since    {moment:%Y-%m-%d %H:%M:%S} UTC")
    if flow.orig_bytes is not None and flow.reply_bytes is not None:
        lines.append(f"  sent     {flow.orig_bytes} B, received {flow.reply_bytes} B")
    return lines


def record(answer: Answer) -> dict[str, Any]:
    """An answer for programs; what is not known is left out."""
    flow = answer.flow
    known: dict[str, Any] = {
        "proto": uapi.protocol_name(flow.proto),
        "kind": answer.kind.letter,
        "host": _object(answer.host),
        "public": _object(answer.public),
        "outside": _object(answer.outside),
        "since_ns": answer.since_ns,
        "age": answer.age_s,
        "mac": answer.mac,
        "name": answer.name,
        "orig_bytes": flow.orig_bytes,
        "reply_bytes": flow.reply_bytes,
        "id": flow.id,
    }
    return {name: value for name, value in known.items() if value is not None}


def show(endpoint: Endpoint) -> str:
    """``address:port``, an IPv6 address in brackets."""
    if endpoint.port is None:
        return str(endpoint.address)
    if endpoint.address.version == 6:
        return f"[{endpoint.address}]:{endpoint.port}"
    return f"{endpoint.address}:{endpoint.port}"


def _object(endpoint: Endpoint | None) -> dict[str, Any] | None:
    if endpoint is None:
        return None
    shown: dict[str, Any] = {"address": str(endpoint.address)}
    if endpoint.port is not None:
        shown["port"] = endpoint.port
    return shown


def _since(flow: Flow, evidence: Evidence, seconds: int | None) -> int | None:
    if flow.start_ns is not None:
        return flow.start_ns
    if seconds is None or evidence.now_ns is None:
        return None
    return evidence.now_ns - seconds * 10**9
