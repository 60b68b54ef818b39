"""The right to make a lab: root's, or a user namespace's.

Must run before NumPy is loaded: its threads would make unshare(2) of a user
namespace fail with EINVAL.
"""

from __future__ import annotations

import os
from pathlib import Path

from natscope.errors import NamespaceError
from natscope.sources.netns import CLONE_NEWNET, CLONE_NEWUSER, new_namespace, unshare

_SELF = Path("/proc/self")


def become_private() -> bool:
    """Make sure this process may make network namespaces.

    Returns:
        Whether a user namespace was needed, in which this process is root.

    Raises:
        NamespaceError: neither root nor user namespaces may; the hint says
            what to change.
    """
    try:
        new_namespace().close()
    except NamespaceError:
        _enter_user_namespace()
        return True
    return False


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    try:
        (_SELF / "setgroups").write_text("deny")
        (_SELF / "uid_map").write_text(f"0 {uid} 1")
        (_SELF / "gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise NamespaceError(
            f"cannot become root of a user namespace: {error.strerror}",
            hint="on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0, "
            "or run as root",
        ) from error
    new_namespace().close()
