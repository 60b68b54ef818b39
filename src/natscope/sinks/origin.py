"""Where and how a recording is made: the header it begins with."""

from __future__ import annotations

import os
import time
from importlib import metadata
from pathlib import Path

from natscope.codec.recorded import Header
from natscope.sources.kernel import Kernel

_SYSCTLS = ("events", "timestamp", "acct")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def header_now(
    kernel: Kernel, filter: str, *, dumps: bool, continues_ns: int = 0
) -> Header:
    """The header of a file that is begun now.

    Args:
        kernel: the box.
        filter: which flows, in the normal form of a filter; empty is all.
        dumps: whether the table stands in the file too.
        continues_ns: see Header.

    Raises:
        KernelError: the box does not tell its addresses.
    """
    machine, evidence = os.uname(), kernel.evidence()
    told = {name: kernel.sysctl(f"nf_conntrack_{name}") for name in _SYSCTLS}
    return Header(
        start_ns=time.time_ns(),
        natscope=_version(),
        hostname=machine.nodename,
        kernel=machine.release,
        boot_id=_boot_id(),
        netns=kernel.netns,
        filter=filter,
        sysctls={name: value for name, value in told.items() if value is not None},
        timeouts=evidence.timeouts,
        addresses=tuple(str(address) for address in evidence.addresses),
        dumps=dumps,
        continues_ns=continues_ns,
    )


def _version() -> str:
    try:
        return metadata.version("natscope")
    except metadata.PackageNotFoundError:
        return ""  # run from a tree that is not installed


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""  # no /proc, as in some sandboxes
