"""``natscope insert PROTO SOURCE to DESTINATION …``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.cli import changing, diagnostics, inputs, update
from natscope.cli.diagnostics import UsageError

if TYPE_CHECKING:
    from natscope.model.flow import Flow
    from natscope.model.tuples import Address, FlowTuple

EPILOG = """\
examples:
  natscope insert tcp 10.0.0.5:51000 to 198.51.100.9:443 --snat 203.0.113.7
  natscope insert udp 192.0.2.9:4242 to 203.0.113.7:53 --dnat 10.0.0.3:53
  natscope insert icmp 10.0.0.5 to 198.51.100.9 --id 77 --timeout 30
  natscope insert gre 10.0.0.5 to 198.51.100.9 --key 0x11,0x77
The translation is one the kernel applies to the flow's packets.
"""
DEFAULT_TIMEOUT_S = 120
_ICMP = {uapi.IPPROTO_ICMP: (8, 4), uapi.IPPROTO_ICMPV6: (128, 6)}
"""Echo requests, and the version of IP they go over."""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope insert``."""
    made = inputs.command_parser("insert", "Put a flow into the table.", EPILOG)
    made.add_argument("proto", help="tcp, udp, icmp, gre …, or a number")
    made.add_argument("source", metavar="ADDRESS[:PORT]", help="where it comes from")
    made.add_argument("to", nargs="?", help="the word to")
    made.add_argument(
        "destination", nargs="?", metavar="ADDRESS[:PORT]", help="where it goes"
    )
    what = made.add_argument_group("what to set")
    what.add_argument("--snat", metavar="ADDRESS[:PORT]", help="the translated source")
    what.add_argument("--dnat", metavar="ADDRESS[:PORT]", help="the real destination")
    what.add_argument("--id", type=int, metavar="N", help="ICMP id")
    what.add_argument("--key", metavar="SRC,DST", help="GRE keys")
    what.add_argument("--zone", type=int, metavar="N", help="conntrack zone")
    update.add_settings(what)
    what.add_argument(
        "--replace", action="store_true", help="change the flow if it is there"
    )
    changing.add_options(made)
    return made


def run(argv: list[str]) -> int:
    """Insert the flow the command line describes."""
    options = parser().parse_args(argv)
    if options.to != "to" or options.destination is None:
        raise UsageError(
            "a flow goes from one address to another",
            hint="natscope insert PROTO ADDRESS[:PORT] to ADDRESS[:PORT]",
        )
    flow = _flow(options)
    from natscope.actions import plan
    from natscope.sources.kernel import Kernel

    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        planned = plan.insert(kernel, [flow], replace=options.replace)
        return changing.carry_out(options, planned)


def _flow(options: argparse.Namespace) -> Flow:
    from natscope.model.flow import Flow

    orig = _tuple(options)
    reply = orig.reversed()
    if options.snat:
        address, port = _translated(options.snat, orig)
        reply = replace(reply, dst=address, dport=reply.dport if port is None else port)
    if options.dnat:
        address, port = _translated(options.dnat, orig)
        reply = replace(reply, src=address, sport=reply.sport if port is None else port)
    versions = {end.version for one in (orig, reply) for end in (one.src, one.dst)}
    if len(versions) > 1:
        raise UsageError("IPv4 and IPv6 in one flow")
    values, mark_mask, _ = update.settings(options)
    if mark_mask is not None:
        raise UsageError("a new flow's mark has no mask")
    values.setdefault("timeout", DEFAULT_TIMEOUT_S)
    if orig.proto == uapi.IPPROTO_TCP:
        values.setdefault("tcp_state", uapi.TCP_STATES.index("ESTABLISHED"))
        from natscope.codec.request import window_flags

        flags = window_flags(values["tcp_state"]) << 8
        values["tcp_flags_orig"] = values["tcp_flags_reply"] = flags
    elif "tcp_state" in values:
        raise UsageError("--state is for tcp")
    return Flow(orig, reply, zone=options.zone, **values)


def _tuple(options: argparse.Namespace) -> FlowTuple:
    from natscope.model.tuples import FlowTuple

    proto = _proto(options.proto)
    src, sport = _end(options.source)
    dst, dport = _end(options.destination)
    if options.zone is not None and not 0 <= options.zone <= 0xFFFF:
        raise UsageError(f"zone {options.zone} is not from 0 to 65535")
    _only_for(options.proto, "--id", options.id, proto in _ICMP)
    _only_for(options.proto, "--key", options.key, proto == uapi.IPPROTO_GRE)
    if proto in uapi.PORT_PROTOCOLS:
        if None in (sport, dport):
            raise UsageError(
                f"{options.proto} needs ports: ADDRESS:PORT at both ends",
                hint="of IPv6: [ADDRESS]:PORT"
                if src.version == 6 or dst.version == 6
                else None,
            )
        return FlowTuple(src, dst, proto, sport, dport)
    if (sport, dport) != (None, None):
        raise UsageError(f"{options.proto} has no ports")
    if proto in _ICMP:
        kind, version = _ICMP[proto]
        if src.version != version:
            raise UsageError(f"{options.proto} goes over IPv{version}")
        if options.id is None:
            raise UsageError(
                f"{options.proto} needs an id: --id N",
                hint="the number ping(8) puts into each of its echo requests",
            )
        ident = options.id
        if not 0 <= ident <= 0xFFFF:
            raise UsageError(f"--id {ident} is not from 0 to 65535")
        return FlowTuple(src, dst, proto, icmp_type=kind, icmp_code=0, icmp_id=ident)
    if proto == uapi.IPPROTO_GRE:
        return FlowTuple(src, dst, proto, *_keys(options.key))
    return FlowTuple(src, dst, proto)


def _only_for(name: str, option: str, given: object, right: bool) -> None:
    if given is not None and not right:
        raise UsageError(f"{option} is not for {name}")


def _translated(text: str, orig: FlowTuple) -> tuple[Address, int | None]:
    address, port = _end(text)
    if port is not None and orig.proto not in uapi.PORT_PROTOCOLS:
        raise UsageError(f"{text!r}: {uapi.protocol_name(orig.proto)} has no ports")
    return address, port


def _proto(text: str) -> int:
    number = uapi.PROTOCOL_NUMBERS.get(text.lower())
    if number is None and text.isascii() and text.isdigit() and int(text) < 256:
        number = int(text)
    if number is None:
        raise UsageError(f"no protocol {text!r}")
    return number


def _end(text: str) -> tuple[Address, int | None]:
    """``10.0.0.5``, ``10.0.0.5:80``, ``2001:db8::1``, ``[2001:db8::1]:80``."""
    address, port = text, ""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
    elif text.count(":") == 1:
        address, colon, port = text.partition(":")
        port = colon + port
    wrong = f"{text!r} is no ADDRESS[:PORT]"
    try:
        found = ip_address(address)
    except ValueError as error:
        raise UsageError(wrong) from error
    if not port:
        return found, None
    digits = port.removeprefix(":")
    if port[0] != ":" or not (digits.isascii() and digits.isdigit()):
        raise UsageError(wrong)
    if int(digits) > 0xFFFF:
        raise UsageError(f"port {digits} is not from 0 to 65535")
    return found, int(digits)


def _keys(text: str | None) -> tuple[int, int]:
    try:
        src, dst = ((int(key, 0)) for key in (text or "0,0").split(","))
    except ValueError as error:
        raise UsageError(f"--key {text!r} is not SRC,DST") from error
    if not (0 <= src <= 0xFFFF and 0 <= dst <= 0xFFFF):
        raise UsageError("a GRE key here is from 0 to 0xffff (PPTP's call id)")
    return src, dst
