"""The command line: ``natscope COMMAND …``.

Only the command asked for is imported, so that ``--help`` is instant and a
short listing costs little more than loading NumPy.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class Command:
    """A command: the module under ``cli`` whose ``run`` it is, and one line."""

    __slots__ = ("about", "module")

    def __init__(self, module: str, about: str) -> None:
        self.module = module
        self.about = about


COMMANDS = {
    "list": Command("listing", "every translation: inside, public, outside"),
    "who": Command("who", "who is behind a public address and port"),
    "count": Command("count", "how many flows, in all or by any column"),
    "stats": Command("stats", "the table's fill and the kernel's counters, explained"),
    "ports": Command("ports", "source ports in use, and when they run out"),
    "timeouts": Command("timeouts", "the timeouts in force, what they mean and hold"),
    "capacity": Command("capacity", "how large the table and its hash should be"),
    "doctor": Command("doctor", "what is wrong, the proof, and the mend"),
    "explain-counter": Command("explain_counter", "what a counter of the kernel tells"),
    "explain": Command("explain", "what would happen to a packet, and why"),
    "trace": Command("trace", "what is done with packets, as it happens"),
    "why-invalid": Command("why_invalid", "why conntrack calls packets INVALID"),
    "check": Command("check", "tests for a ruleset: packets, and what becomes of them"),
    "rules": Command("rules", "the NAT rules, and the flows that are there by each"),
    "stale": Command("stale", "flows that contradict the box, each with the reason"),
    "delete": Command("delete", "delete the flows a filter matches, with an undo"),
    "update": Command("update", "set mark, timeout, labels … of flows, with an undo"),
    "insert": Command("insert", "put a flow into the table, translation and all"),
    "flush": Command("flush", "delete every flow, when asked by name, with an undo"),
    "undo": Command("undo", "take the last change back"),
    "watch": Command("watch", "every event: opened, replied, closed after 3m12s"),
    "record": Command("record", "record the table and every change, losing nothing"),
    "export": Command("export", "send every event to a collector (IPFIX) or a log"),
    "save": Command("save", "save the table, losing nothing"),
    "restore": Command("restore", "put a saved table back"),
    "bundle": Command("bundle", "collect in one file all that decides about packets"),
    "conntrack": Command("conntrack", "as conntrack(8) 1.4.9, its defects mended"),
    "netstat-nat": Command("netstat_nat", "as netstat-nat 1.4.10, its defects mended"),
    "demo": Command("demo", "a private lab with real NAT traffic, listed"),
    "drop-in": Command("drop_in", "install conntrack or netstat-nat under their names"),
    "help": Command("help", "help on filters, columns, kinds and formats"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code of the process."""
    from natscope.cli import diagnostics

    words = list(sys.argv[1:] if argv is None else argv)
    return diagnostics.guarded(lambda: _dispatch(words))


def entry() -> NoReturn:
    """What the ``natscope`` program calls: ``main``, then the end at once.

    Taking the interpreter down in order would cost a short listing a tenth of
    its time; nothing is left to be done by then.
    """
    try:
        from natscope.cli import diagnostics, output

        code = main()
        unwritten = diagnostics.guarded(output.flush)
        diagnostics.flush()
    except KeyboardInterrupt:
        code = 130  # while the first modules were loading
        unwritten = 0
    os._exit(code or unwritten)


def _dispatch(words: list[str]) -> int:
    from natscope.cli import diagnostics, output

    if not words or words[0] in ("-h", "--help"):
        output.write(_usage().encode())
        return diagnostics.ExitCode.DONE if words else diagnostics.ExitCode.USAGE
    if words[0] in ("-V", "--version"):
        from natscope import __version__

        output.write(f"natscope {__version__}\n".encode())
        return diagnostics.ExitCode.DONE
    name, rest = words[0], words[1:]
    command = COMMANDS.get(name)
    if command is None:
        return diagnostics.unknown_command(name, COMMANDS)
    from importlib import import_module

    code: int = import_module(f"natscope.cli.{command.module}").run(rest)
    return code


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {c.about}" for name, c in COMMANDS.items()]
    return (
        "usage: natscope COMMAND [ARGUMENTS]\n\n"
        "See and change every network address translation of this box.\n\n"
        + "\n".join(lines)
        + "\n\nnatscope COMMAND --help tells more; begin with: natscope list\n"
    )
