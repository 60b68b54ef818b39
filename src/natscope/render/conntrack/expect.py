"""Expectations as conntrack(8) prints them.

Order and conditions are those of libnetfilter_conntrack's
expect/snprintf_default.c and expect/snprintf_xml.c.
"""

from __future__ import annotations

from natscope import uapi
from natscope.model.expectation import Expectation
from natscope.model.tuples import Address, FlowTuple
from natscope.render.conntrack import address, forms, line

PROLOG = b'<?xml version="1.0" encoding="utf-8"?>\n<expect>\n'
END = b"</expect>\n"

_TAGS = {"new": "    [NEW] ", "update": " [UPDATE] ", "destroy": "[DESTROY] "}
_FLAGS = (
    (uapi.ExpectFlag.PERMANENT, "PERMANENT"),
    (uapi.ExpectFlag.INACTIVE, "INACTIVE"),
    (uapi.ExpectFlag.USERSPACE, "USERSPACE"),
)


def plain(
    one: Expectation, *, event: str | None = None, time_ns: int | None = None
) -> bytes:
    """A line of ``conntrack -L expect`` or ``-E expect``, newline included.

    Args:
        one: the expectation.
        event: new, update or destroy; None where nothing happened.
        time_ns: the time to begin with, as ``-o timestamp`` has it.
    """
    words = [] if one.timeout is None else [str(one.timeout)]
    words.append(f"proto={one.expected.proto}")
    for prefix, side in (
        ("", one.expected),
        ("mask-", one.mask),
        ("master-", one.master),
    ):
        words += [f"{prefix}src={_text(side.src)}", f"{prefix}dst={_text(side.dst)}"]
        words += _beside(side)
    if one.zone is not None:
        words.append(f"zone={one.zone}")
    flags = ",".join(name for bit, name in _FLAGS if (one.flags or 0) & bit)
    if flags:
        words.append(flags)
    if one.class_ is not None:
        words.append(f"class={one.class_}")
    if one.helper is not None:
        words.append(f"helper={one.helper}")
    tag = _TAGS[event] if event else ""
    return (_moment(time_ns) + tag + " ".join(words)).encode() + b"\n"


def _moment(time_ns: int | None) -> str:
    if time_ns is None:
        return ""
    second, rest = divmod(time_ns, 10**9)
    return f"[{second:<8}.{rest // 1000:<6}]\t"


def _text(ip: Address) -> str:
    return address.text(ip.packed)


def _beside(side: FlowTuple) -> list[str]:
    """What stands beside the addresses; absent is zero here."""
    if side.proto in forms.CONDITIONS["ports"]:
        return [f"sport={side.sport or 0}", f"dport={side.dport or 0}"]
    if side.proto in forms.CONDITIONS["gre"]:
        return [f"srckey={side.sport or 0:#x}", f"dstkey={side.dport or 0:#x}"]
    if side.proto in forms.CONDITIONS["icmp"]:
        kind, code = side.icmp_type or 0, side.icmp_code or 0
        return [f"type={kind}", f"code={code}", f"id={side.icmp_id or 0}"]
    return []


def xml(
    one: Expectation, *, event: str | None = None, time_ns: int | None = None
) -> bytes:
    """The same as a ``<flow>`` element, newline included; arguments as ``plain``."""
    v4 = one.expected.src.version == 4
    number, name = (uapi.AF_INET, "ipv4") if v4 else (uapi.AF_INET6, "ipv6")
    proto = one.expected.proto
    protocol = forms.PROTOCOLS.get(proto, b"unknown").decode()
    sides = (("expected", one.expected), ("mask", one.mask), ("master", one.master))
    kind = f' type="{event}"' if event else ""
    parts = [
        f'<flow{kind}><layer3 protonum="{number}" protoname="{name}">',
        *(f"<{tag}>{_xml_ends(side)}</{tag}>" for tag, side in sides),
        f'</layer3><layer4 protonum="{proto}" protoname="{protocol}">',
        *(f"<{tag}>{_xml_beside(side)}</{tag}>" for tag, side in sides),
        f"</layer4><meta>{_xml_meta(one, time_ns)}</meta></flow>\n",
    ]
    return "".join(parts).encode()


def _xml_ends(side: FlowTuple) -> str:
    return f"<src>{_text(side.src)}</src><dst>{_text(side.dst)}</dst>"


def _xml_beside(side: FlowTuple) -> str:
    sport, dport = side.sport or 0, side.dport or 0
    if side.proto in forms.CONDITIONS["ports"]:
        return f"<sport>{sport}</sport><dport>{dport}</dport>"
    if side.proto in forms.CONDITIONS["gre"]:
        return f"<srckey>{sport:#x}</srckey><dstkey>{dport:#x}</dstkey>"
    return ""


def _xml_meta(one: Expectation, time_ns: int | None) -> str:
    parts = []
    if one.helper is not None:
        name = line.escaped(one.helper.encode()).decode()
        parts.append(f"<helper-name>{name}</helper-name>")
    for tag, value in (
        ("timeout", one.timeout),
        ("class", one.class_),
        ("zone", one.zone),
    ):
        if value is not None:
            parts.append(f"<{tag}>{value}</{tag}>")
    if time_ns is not None:
        when = line.calendar_xml(time_ns // 10**9).decode()
        parts.append(f"<when>{when}</when>")
    parts += [f"<{name.lower()}/>" for bit, name in _FLAGS if (one.flags or 0) & bit]
    return "".join(parts)
