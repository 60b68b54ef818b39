"""One conntrack command line, given to the stock tool and to ours, compared.

Our messages carry the stock tool's version for the length of a run, so that
every byte can be compared but those of clocks that run between two listings.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

OURS = (sys.executable, "-m", "natscope", "conntrack")

_CLOCKS = (
    (re.compile(rb"^((?:\[.{9}\] )?(?:ipv[46] +\d+ )?[a-z0-9]+ +\d+) \d+ ", re.M), rb"\1 T "),
    (re.compile(rb"^(-[AUD] -t) \d+ ", re.M), rb"\1 T "),
    (re.compile(rb"<timeout>\d+<"), rb"<timeout>T<"),
    (re.compile(rb"(delta-?time[=>])\d+"), rb"\1T"),
)  # fmt: skip

ID = re.compile(rb"(\bid[=>])\d+")
"""The kernel's id of an entry, another one in each run."""


@dataclass(frozen=True)
class Said:
    """What a run printed, and its exit code; clocks as T."""

    stdout: bytes
    stderr: bytes
    code: int

    def any_order(self) -> Said:
        """The lines of stdout sorted, for tables in two namespaces."""
        lines = sorted(self.stdout.splitlines(keepends=True))
        return Said(b"".join(lines), self.stderr, self.code)


@cache
def stock_version() -> str:
    """1.4.7 or what is installed."""
    told = subprocess.run(["conntrack", "-V"], capture_output=True, check=True)
    found = re.search(rb" v(\S+) ", told.stdout)
    assert found is not None
    return found[1].decode()


def stock(*words: str, stdin: bytes = b"") -> Said:
    """What the stock tool says."""
    return _run(("conntrack", *words), stdin)


def ours(*words: str, stdin: bytes = b"") -> Said:
    """What ours says."""
    return _run((*OURS, *words), stdin)


def _run(command: tuple[str, ...], stdin: bytes) -> Said:
    environment = os.environ | {"NATSCOPE_CONNTRACK_VERSION": stock_version()}
    done = subprocess.run(
        command, input=stdin, capture_output=True, check=False, env=environment
    )
    return Said(masked(done.stdout), done.stderr, done.returncode)


def masked(text: bytes) -> bytes:
    """Output with its clocks as T."""
    for clock, instead in _CLOCKS:
        text = clock.sub(instead, text)
    return text
