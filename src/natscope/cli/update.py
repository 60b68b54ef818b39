"""``natscope update FILTER --mark V …``."""

from __future__ import annotations

import argparse
from typing import Any

from natscope import uapi
from natscope.cli import changing, diagnostics, inputs
from natscope.cli.delete import needed_filter
from natscope.cli.diagnostics import UsageError

EPILOG = """\
examples:
  natscope update src 10.0.0.5 --mark 0x10/0xff    these bits of the mark
  natscope update udp and dst port 53 --timeout 20
  natscope update tcp and dst port 443 --label web --dry-run
  natscope undo                                    set back what was changed
A label can only be set where a rule uses connlabels; status bits can be set,
never cleared: the kernel has it so.
"""

LONGEST_TIMEOUT_S = 0x7FFF_FFFF // 1000
"""24 days: INT_MAX ticks, beyond which the kernel cuts off in silence, where it
has the most of them a second (CONFIG_HZ)."""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope update``."""
    made = inputs.command_parser("update", "Change the flows a filter matches.", EPILOG)
    made.add_argument("words", nargs="*", metavar="FILTER", help="which flows")
    add_settings(made.add_argument_group("what to set"))
    changing.add_options(made)
    return made


def add_settings(group: argparse._ArgumentGroup) -> None:
    """Add the options that name values of a flow."""
    group.add_argument(
        "--mark", metavar="VALUE[/MASK]", help="connection mark, or the mask's bits"
    )
    group.add_argument("--timeout", metavar="TIME", help="seconds, or 90s, 5m, 2h, 1d")
    group.add_argument(
        "--label", metavar="NAME[,…]", action="append", help="connlabels to set"
    )
    group.add_argument("--state", metavar="NAME", help="TCP state: ESTABLISHED …")
    group.add_argument(
        "--status", metavar="BIT[,…]", help="seen_reply, assured, fixed_timeout"
    )
    group.add_argument("--helper", metavar="NAME", help="ftp, sip, tftp, irc, pptp …")


def run(argv: list[str]) -> int:
    """Change the flows the command line names."""
    options = inputs.parse(parser(), argv)
    wanted = needed_filter(options, "update")
    values, mark_mask, labels_mask = settings(options)
    if not values:
        raise UsageError(
            "nothing to set",
            hint="--mark, --timeout, --label, --state, --status or --helper",
        )
    if "tcp_state" in values:
        wanted = f"tcp and ({wanted})"
    from natscope.actions import plan
    from natscope.sources.kernel import Kernel

    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        with changing.planning():
            planned = plan.update(
                kernel, wanted, values, mark_mask=mark_mask, labels_mask=labels_mask
            )
        return changing.carry_out(options, planned)


def settings(
    options: argparse.Namespace,
) -> tuple[dict[str, Any], int | None, int | None]:
    """Columns and values, the mark's mask and the labels' mask.

    Raises:
        UsageError: a value that is none.
    """
    values: dict[str, Any] = {}
    mark_mask = labels_mask = None
    if options.mark is not None:
        values["mark"], mark_mask = _mark(options.mark)
    if options.timeout is not None:
        values["timeout"] = _seconds(options.timeout)
    if options.label:
        values["labels"] = labels_mask = _labels(",".join(options.label))
    if options.state is not None:
        values["tcp_state"] = _state(options.state)
    if options.status is not None:
        values["status"] = _status(options.status)
    if options.helper is not None:
        values["helper"] = _helper(options.helper)
    return values, mark_mask, labels_mask


def _helper(name: str) -> str:
    sound = name.isascii() and name.isprintable() and 0 < len(name) < 16
    if not sound:
        raise UsageError(f"{name!r} is no name of a helper")
    return name


def _number(text: str, most: int, what: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise UsageError(f"{what} {text!r} is no number from 0 to {most}")
    return value


def _mark(text: str) -> tuple[int, int | None]:
    told, slash, mask_told = text.partition("/")
    value = _number(told, 0xFFFF_FFFF, "mark")
    if not slash:
        return value, None
    mask = _number(mask_told, 0xFFFF_FFFF, "mask")
    if value & ~mask:
        raise UsageError(f"mark {told} has bits outside its mask {mask_told}")
    return value, mask


def _seconds(text: str) -> int:
    from natscope.filter.values import BadValue, duration

    try:
        value = duration(text)
    except BadValue as error:
        raise UsageError(f"--timeout: {error}") from error
    if not 0 <= value <= LONGEST_TIMEOUT_S:
        raise UsageError(f"--timeout {text} is more than {LONGEST_TIMEOUT_S} s")
    return int(value)


def _labels(text: str) -> int:
    from natscope.model.labelmap import LabelMap
    from natscope.sources import labels

    try:
        known = labels.read()
    except OSError:
        known = LabelMap({})  # numbers will do
    bits = 0
    for name in text.split(","):
        bit = known.bit(name)
        if bit is None and name.isascii() and name.isdigit() and int(name) < 128:
            bit = int(name)
        if bit is None:
            raise UsageError(
                f"no label {name!r}",
                hint=f"{labels.DEFAULT} names them; a bit number from 0 to 127 will do",
            )
        bits |= 1 << bit
    return bits


def _state(text: str) -> int:
    if text.upper() not in uapi.TCP_STATES:
        known = ", ".join(uapi.TCP_STATES)
        raise UsageError(f"no TCP state {text!r}", hint=f"there are: {known}")
    return uapi.TCP_STATES.index(text.upper())


def _status(text: str) -> int:
    from natscope.codec.request import SETTABLE_STATUS

    known = {name: bit for bit, name in uapi.names(uapi.Status).items()}
    bits = 0
    for name in text.upper().replace("-", "_").split(","):
        if not known.get(name, 0) & SETTABLE_STATUS:
            can = ", ".join(uapi.status_names(SETTABLE_STATUS)).lower()
            raise UsageError(
                f"status {name.lower()!r} cannot be set", hint=f"what can: {can}"
            )
        bits |= known[name]
    return bits
