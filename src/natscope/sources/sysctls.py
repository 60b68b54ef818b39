"""net.netfilter.nf_conntrack_events: whether flows tell of themselves at all.

The kernel decides it for each flow when it is born (nf_ct_ecache_ext_add()), and
for good.  Since 5.19 the sysctl is 2 by default: only flows that are born while
somebody listens tell anything.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from natscope.errors import KernelError, PermissionNeeded
from natscope.sources import box
from natscope.sources.netns import Namespace, open_namespace
from natscope.sources.sharing import Shared

EVENTS = "nf_conntrack_events"
OFF, ALWAYS, AUTOMATIC = 0, 1, 2
"""Values of the sysctl."""
ENSURE_EVENTS_HINT = (
    "--ensure-events sets it to 1 while listening and puts it back; "
    f"sysctl -w net.netfilter.{EVENTS}=1 sets it until the next boot"
)
"""What to do where events are hidden."""
_MEANING = {
    OFF: f"{EVENTS} is 0: flows born from now on tell nothing, neither that they "
    "began nor that they ended",
    ALWAYS: None,
    AUTOMATIC: f"{EVENTS} is 2: flows born while nobody listened tell nothing, not "
    "even their end",
}
_UNKNOWN = (
    f"there is no {EVENTS} to read: connection tracking is not loaded, or this "
    "kernel has no events (CONFIG_NF_CONNTRACK_EVENTS)"
)

_READING = f"reading net.netfilter.{EVENTS}"
_LOAD_HINT = "modprobe nf_conntrack, or any rule that uses connection tracking"
_ROOT_HINT = (
    "root alone may set it; without --ensure-events, flows born from now on "
    "tell of themselves unless it is 0"
)
_READ_ONLY_HINT = (
    "/proc/sys is read-only here, as in most containers: set it outside, "
    f"sysctl -w net.netfilter.{EVENTS}=1, or leave out --ensure-events"
)


def hidden_events(value: int | None) -> str | None:
    """What a value of nf_conntrack_events keeps from those who listen.

    Args:
        value: as ``Kernel.sysctl("nf_conntrack_events")`` gives it.

    Returns:
        One sentence for people, to stand before :data:`ENSURE_EVENTS_HINT`; None
        if nothing is hidden.
    """
    if value is None:
        return _UNKNOWN
    return _MEANING.get(value)


@contextmanager
def ensured_events(netns: str | None = None) -> Iterator[int]:
    """Have every flow born during the body tell of itself.

    Sets nf_conntrack_events to 1 and puts back the value that was found, also
    when the body raises; not when somebody else has changed it meanwhile, and
    not while another natscope still wants it: the last one puts back what the
    first one found.  A process that is killed leaves it at 1.  Flows born before
    keep silent.

    Args:
        netns: as for ``Kernel``: name, process id or path; None is the caller's.

    Yields:
        The value that was found.

    Raises:
        NamespaceError: no such namespace, or not permitted.
        KernelError: there is no such sysctl; PermissionNeeded where it cannot be
            written.
    """
    with _opened(netns) as namespace:

        def inside() -> AbstractContextManager[None]:
            return namespace.enter() if namespace else nullcontext()

        with inside():
            shared = Shared.joined(_read)
        try:
            if shared.found != ALWAYS:
                with inside():
                    _write(ALWAYS)
            yield shared.found
        finally:
            with shared.left() as first, inside():
                if first is not None and first != ALWAYS and _read() == ALWAYS:
                    _write(first)


def _opened(netns: str | None) -> AbstractContextManager[Namespace | None]:
    return nullcontext() if netns is None else open_namespace(netns)


def _read() -> int:
    value = box.read_sysctl(EVENTS)
    if value is None:
        raise KernelError(_READING, errno.ENOENT, _UNKNOWN, hint=_LOAD_HINT)
    return value


def _write(value: int) -> None:
    operation = f"setting net.netfilter.{EVENTS} to {value}"
    try:
        (box.SYSCTLS / EVENTS).write_text(str(value))
    except OSError as error:
        code, reason = error.errno or 0, error.strerror or str(error)
        if code in (errno.EACCES, errno.EPERM):
            raise PermissionNeeded(operation, code, reason, hint=_ROOT_HINT) from error
        hint = _READ_ONLY_HINT if code == errno.EROFS else None
        raise KernelError(operation, code, reason, hint=hint) from error
