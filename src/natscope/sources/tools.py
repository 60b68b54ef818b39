"""The programs of other packages: where they are, and running them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from natscope.errors import MissingTool, NatscopeError

_PLACES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
"""Looked in as well: an ordinary user's PATH leaves /usr/sbin out, a job's may be
empty, which would mean the working directory."""
_PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "ipset": "ipset",
    "iptables-nft": "iptables",
    "conntrack": "conntrack",
}


def find(name: str) -> str | None:
    """The path of a program, None if it is not installed."""
    told = filter(None, os.environ.get("PATH", "").split(os.pathsep))
    return shutil.which(name, path=os.pathsep.join((*told, *_PLACES)))


def needed(name: str) -> str:
    """The path of a program.

    Raises:
        MissingTool: it is not installed; the hint names its package.
    """
    found = find(name)
    if found is None:
        package = _PACKAGES.get(name, "iptables" if "tables" in name else name)
        raise MissingTool(
            f"{name} is needed, and is not installed",
            hint=f"ask root for: apt-get install {package}",
        )
    return found


def run(words: Sequence[str], *, stdin: str = "") -> str:
    """Run a program in the thread's namespaces; what it prints.

    Raises:
        MissingTool: it is not installed.
        NatscopeError: it failed; the message holds what it said.
    """
    return told(words, stdin=stdin)[0]


def told(words: Sequence[str], *, stdin: str = "") -> tuple[str, str]:
    """Run a program as ``run`` does; what it prints, and its warnings.

    Raises:
        MissingTool: it is not installed.
        NatscopeError: it failed; the message holds what it said.
    """
    done = subprocess.run(
        [needed(words[0]), *words[1:]],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",  # a comment may hold any bytes
        check=False,
    )
    if done.returncode != 0:
        raise NatscopeError(f"{' '.join(words[:6])}: {done.stderr.strip()}")
    return done.stdout, done.stderr
