"""What conntrack(8) says on standard error, and its exit codes."""

from __future__ import annotations

import errno
import os

from natscope.errors import KernelError

PROGRAM = "conntrack"
VERSION = os.environ.get("NATSCOPE_CONNTRACK_VERSION") or "1.4.9"
"""The conntrack-tools this stands in for; the variable is for scripts that ask."""

DONE, FAILED, USAGE = 0, 1, 2

SUMMARIES = {
    "list": "flow entries have been shown.",
    "get": "flow entries have been shown.",
    "create": "flow entries have been created.",
    "add": "flow entries have been added.",
    "update": "flow entries have been updated.",
    "delete": "flow entries have been deleted.",
    "event": "flow events have been shown.",
    "list expect": "expectations have been shown.",
    "delete expect": "expectations have been deleted.",
    "event expect": "expectation events have been shown.",
}

_MEANINGS = (
    (None, errno.EINVAL, "invalid parameters"),
    (("create",), errno.EEXIST, "Such conntrack exists, try -U to update"),
    (
        ("create", "get", "delete", "add"),
        errno.ENOENT,
        "such conntrack doesn't exist",
    ),
    (("create", "get", "add"), errno.ENOMEM, "not enough memory"),
    (("get",), errno.EAFNOSUPPORT, "protocol not supported"),
    (("create", "add"), errno.ETIME, "conntrack has expired"),
    (("create expect",), errno.ENOENT, "master conntrack not found"),
    (
        None,
        errno.EPERM,
        "sorry, you must be root or get CAP_NET_ADMIN capability to do this",
    ),
)
"""Commands (None is all), error number, and conntrack's words for it."""


def prefixed(message: str) -> str:
    """A message as conntrack begins its own."""
    return f"{PROGRAM} v{VERSION} (conntrack-tools): {message}"


def summary(command: str, count: int) -> str:
    """How many entries a command dealt with."""
    return prefixed(f"{count} {SUMMARIES[command]}")


def try_help() -> str:
    """What follows a usage error."""
    return f"Try `{PROGRAM} -h' or '{PROGRAM} --help' for more information."


def failure(error: KernelError, command: str) -> str:
    """An error of the kernel in conntrack's words, with the kernel's own after."""
    for commands, number, words in _MEANINGS:
        if error.errno == number and (commands is None or command in commands):
            return prefixed(f"Operation failed: {words}")
    return prefixed(f"Operation failed: {os.strerror(error.errno)}")
