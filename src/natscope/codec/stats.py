"""Statistics messages of ctnetlink: per-CPU counters and the entry count."""

from __future__ import annotations

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.errors import DecodeError
from natscope.uapi import CtaStats, CtaStatsGlobal

_PREFIX = len("CTA_STATS_")


class CpuStats:
    """struct ip_conntrack_stat of one CPU, by the names conntrack(8) prints.

    A counter this kernel does not send is absent; one that natscope does not
    know is ``unknown<n>``.
    """

    __slots__ = ("counters", "cpu")

    def __init__(self, cpu: int, counters: dict[str, int]) -> None:
        self.cpu = cpu
        self.counters = counters


def decode_cpu_stats(message: bytes) -> CpuStats:
    """Read one answer to IPCTNL_MSG_CT_GET_STATS_CPU.

    Raises:
        DecodeError: a counter that is not 32 bits.
    """
    counters = {}
    for attribute in _attributes(message, "CTA_STATS"):
        counters[_name(attribute.type)] = _be32(message, attribute)
    cpu = int.from_bytes(message[nlmsg.ATTRIBUTES_AT - 2 : nlmsg.ATTRIBUTES_AT], "big")
    return CpuStats(cpu, counters)


def decode_global_stats(message: bytes) -> tuple[int | None, int | None]:
    """Read the answer to IPCTNL_MSG_CT_GET_STATS: entries, and their limit."""
    found = {}
    for attribute in _attributes(message, "CTA_STATS_GLOBAL"):
        found[attribute.type] = _be32(message, attribute)
    return (
        found.get(CtaStatsGlobal.CTA_STATS_GLOBAL_ENTRIES),
        found.get(CtaStatsGlobal.CTA_STATS_GLOBAL_MAX_ENTRIES),
    )


def _attributes(message: bytes, name: str) -> list[nla.Attribute]:
    nlmsg.see_header(message)
    return list(nla.walk(message, nlmsg.ATTRIBUTES_AT, len(message), (name,)))


def _be32(message: bytes, attribute: nla.Attribute) -> int:
    payload = message[attribute.start : attribute.end]
    if len(payload) != 4:
        reason = f"needs 4 bytes, has {len(payload)}"
        path = (_name(attribute.type),)
        raise DecodeError(reason, path=path, offset=attribute.start)
    return int.from_bytes(payload, "big")


def _name(kind: int) -> str:
    if kind == CtaStats.CTA_STATS_CHAIN_TOOLONG:
        return "chaintoolong"  # as conntrack(8) prints it
    name = uapi.names(CtaStats).get(kind)
    return f"unknown{kind}" if name is None else name[_PREFIX:].lower()
