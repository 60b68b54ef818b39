"""conntrack(8), whole and right: ``natscope conntrack …``, or a program of that name.

``parse`` turns a command line into a Request, or into the error conntrack
prints; ``commands`` carries it out.  Commands about one entry load little.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def run(argv: list[str]) -> int:
    """Run one conntrack command line; its exit code."""
    from natscope.cli.conntrack.commands import main

    return main(argv)


def entry() -> NoReturn:
    """What a program named ``conntrack`` calls."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    os._exit(code)
