"""``natscope demo``: a private lab with real NAT traffic, listed as it happens."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, output
from natscope.cli.diagnostics import ExitCode

if TYPE_CHECKING:
    from natscope.lab.build import Lab
    from natscope.lab.traffic import Example, Flow, Traffic
    from natscope.render.text import TextTable
    from natscope.sources.kernel import Kernel

EPILOG = """\
The lab is real: network namespaces of this process, nft rules, sockets.  It needs
ip (iproute2) and nft (nftables); root, or unprivileged user namespaces.  Nothing of
it is left when the demo ends.

examples:
  natscope demo            show every kind of translation, explained
  natscope demo --shell    then a shell on the NAT box: natscope list, nft, ip, …
  natscope demo --keep     then wait, and say how to look from outside
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope demo``."""
    made = inputs.command_parser(
        "demo", "A private lab with real NAT traffic, listed as it happens.", EPILOG
    )
    after = made.add_mutually_exclusive_group()
    after.add_argument("--keep", action="store_true", help="leave the lab up")
    after.add_argument(
        "--shell",
        nargs="?",
        const="box",
        metavar="HOST",
        help="a shell on the box (or alice, bob, carol, world)",
    )
    made.add_argument("--json", action="store_true", help="one JSON object a flow")
    return made


def run(argv: list[str]) -> int:
    """Build the lab, show it, take it down."""
    options = parser().parse_args(argv)
    from natscope.lab.private import become_private

    contained = become_private()  # before NumPy: see there
    from natscope.lab import network
    from natscope.lab.build import built
    from natscope.lab.traffic import Traffic

    if options.shell and options.shell not in (
        network.BOX,
        network.WORLD,
        *network.HOSTS,
    ):
        names = ", ".join((network.BOX, network.WORLD, *network.HOSTS))
        raise diagnostics.UsageError(
            f"no host {options.shell!r}", hint=f"hosts: {names}"
        )
    with built() as lab, Traffic(lab) as traffic:
        if not options.json:
            _introduce(contained=contained)
        _show(lab, traffic, as_json=options.json)
        if not options.json:
            _end()
        if options.shell:
            return _shell(lab, options.shell)
        if options.keep:
            _wait(lab)
    return ExitCode.DONE


def _introduce(*, contained: bool) -> None:
    how = "in a user namespace, without root" if contained else "as root"
    _say(
        f"A private lab, built {how}: alice, bob and carol\n"
        "(10.0.0.0/24, fd00:77::/64) behind a NAT box (203.0.113.1,\n"
        "2001:db8:113::1), and a world outside.  Each line below is what the\n"
        "kernel's table holds once the packets have passed.\n"
    )


def _show(lab: Lab, traffic: Traffic, *, as_json: bool) -> None:
    from natscope.lab.traffic import happen
    from natscope.render.text import TextTable
    from natscope.sources.kernel import Kernel

    table = TextTable(colour=output.wants_colour())
    table.at_least(_WIDTHS)
    with lab.inside("box"), Kernel(wire=diagnostics.wire()) as kernel:
        for example, flow in happen(traffic):
            if as_json:
                _object(kernel, example, flow)
            else:
                _line(kernel, table, example, flow)


_FIELDS = ("proto", "inside", "public", "outside", "target", "kind", "state", "bytes")
_WIDTHS = (6, 20, 24, 24, 16, 3, 11, 5)
"""Room for what the lab makes: the lines come one by one."""


def _line(kernel: Kernel, table: TextTable, example: Example, flow: Flow) -> None:
    from natscope.views.listing import listing
    from natscope.views.query import Query

    query = Query(columns=_FIELDS, untranslated=True)
    (page,) = listing(kernel.pieces(flow.filter()), query)
    output.write(table.head(page))
    _say(f"# {example.explanation}")
    output.write(table.write(page))


def _object(kernel: Kernel, example: Example, flow: Flow) -> None:
    from natscope.render.records import JsonLines
    from natscope.views.listing import listing
    from natscope.views.query import Query

    query = Query(everything=True, untranslated=True)
    for page in listing(kernel.pieces(flow.filter()), query):
        for line in JsonLines().write(page).splitlines():
            told = {"example": example.name, "explanation": example.explanation}
            output.write(json.dumps(told | json.loads(line)).encode() + b"\n")


def _end() -> None:
    _say(
        "\nNAT: s source, d destination (port forward), h hairpin, r redirect to\n"
        "the box, p port only.  On a NAT box of your own: natscope list,\n"
        "natscope who, natscope help"
    )


def _shell(lab: Lab, host: str) -> int:
    shell = os.environ.get("SHELL", "/bin/sh")
    diagnostics.note(f"a shell on {host}; leave it and the lab is gone")
    with lab.inside(host):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PS1": f"[{host}] \\w# "}
        subprocess.run([shell], env=environment, check=False)
    return ExitCode.DONE


def _wait(lab: Lab) -> None:
    pid = os.getpid()
    diagnostics.note("The lab stays up until Enter or Ctrl-C.  From another terminal:")
    for name, namespace in lab.namespaces.items():
        diagnostics.note(
            f"  {name:<6} nsenter -t {pid} -U --preserve-credentials "
            f"--net={shlex.quote(namespace.path)}"
        )
    diagnostics.note(f"  natscope list --netns {lab.box.path}   (as root)")
    with suppress(EOFError):
        input()


def _say(text: str) -> None:
    output.write(f"{text}\n".encode())
