"""Netlink datagrams in words, for people who debug: ``NATSCOPE_DEBUG=wire``."""

from __future__ import annotations

from collections.abc import Iterator

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.codec.schema import FLOW, Nest
from natscope.errors import DecodeError

_CONTROL = {
    uapi.NLMSG_NOOP: "NLMSG_NOOP",
    uapi.NLMSG_ERROR: "NLMSG_ERROR",
    uapi.NLMSG_DONE: "NLMSG_DONE",
    uapi.NLMSG_OVERRUN: "NLMSG_OVERRUN",
}


def describe(data: bytes) -> Iterator[str]:
    """Lines that show each message and its attribute tree; never fails."""
    try:
        for message in nlmsg.split(data):
            yield from _message(data, message)
    except DecodeError as error:
        yield f"!! {error}"


def _message(data: bytes, message: nlmsg.Message) -> Iterator[str]:
    yield (
        f"{_type_name(message.type)} flags={message.flags:#x} seq={message.seq} "
        f"portid={message.portid} length={message.end - message.start}"
    )
    if message.type in _CONTROL:
        verdict = nlmsg.ack(data, message)
        yield f"    errno={verdict.errno} extack={verdict.extack!r}"
        return
    at = message.start + nlmsg.ATTRIBUTES_AT
    if message.type >> 8 == uapi.NFNL_SUBSYS_CTNETLINK and at <= message.end:
        yield from _attributes(data, at, message.end, FLOW, "    ")
    else:
        yield "    " + data[message.payload_at : message.end].hex(" ", 4)


def _attributes(
    data: bytes, at: int, end: int, nest: Nest, indent: str
) -> Iterator[str]:
    for attribute in nla.walk(data, at, end, (nest.name,)):
        child = nest.children.get(attribute.type)
        name = child.name if child else nest.child_name(attribute.type)
        if isinstance(child, Nest):
            yield f"{indent}{name}"
            yield from _attributes(
                data, attribute.start, attribute.end, child, indent + "    "
            )
        else:
            yield f"{indent}{name} = {data[attribute.start : attribute.end].hex()}"


def _type_name(kind: int) -> str:
    if kind in _CONTROL:
        return _CONTROL[kind]
    subsystem, command = divmod(kind, 256)
    names = uapi.names(uapi.CtMsg)
    if subsystem == uapi.NFNL_SUBSYS_CTNETLINK and command in names:
        return f"IPCTNL_MSG_CT_{names[command]}"
    return f"type {kind:#x}"
