"""``natscope drop-in``: the programs natscope stands in for, under their names."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from natscope.cli import diagnostics, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError

EPILOG = """\
examples:
  natscope drop-in conntrack                     /usr/local/sbin/conntrack
  natscope drop-in netstat-nat --to ~/bin
  natscope drop-in conntrack --remove
Nothing of a distribution is overwritten: /usr/local/sbin comes first in root's
PATH, and a file that is not such a program is refused.
"""
PROGRAMS = {
    "conntrack": "from natscope.cli.conntrack import entry",
    "netstat-nat": "from natscope.cli.netstat_nat import main as entry",
}
_MARK = "# made by: natscope drop-in"


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope drop-in``."""
    made = inputs.command_parser("drop-in", "Install a drop-in program.", EPILOG)
    made.add_argument("program", choices=PROGRAMS, help="which one")
    made.add_argument(
        "--to", metavar="DIRECTORY", default="/usr/local/sbin", help="%(default)s"
    )
    made.add_argument("--remove", action="store_true", help="take it away again")
    return made


def run(argv: list[str]) -> int:
    """Install or remove a program."""
    options = parser().parse_args(argv)
    path = Path(options.to).expanduser() / options.program
    if path.exists() and _MARK not in path.read_text(errors="replace"):
        raise UsageError(
            f"{path} is not a program natscope made", hint="--to names another place"
        )
    if options.remove:
        path.unlink()
        diagnostics.note(f"removed {path}")
        return ExitCode.DONE
    path.write_text(_text(options.program))
    path.chmod(0o755)
    output.write(os.fsencode(path) + b"\n")
    return ExitCode.DONE


def _text(program: str) -> str:
    """The program: started without a look at the user's environment."""
    return f"#!{sys.executable} -E\n{_MARK} {program}\n{PROGRAMS[program]}\n\nentry()\n"
