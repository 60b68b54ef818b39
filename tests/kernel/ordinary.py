"""Run a program as an ordinary user, with no right of root's left."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOBODY = "65534"
BECOME = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"


def run_as_nobody(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program as nobody.

    What root keeps in places closed to others (an interpreter under /root) is
    shown at the same path, in a mount namespace of this run alone.
    """
    needed = {Path(sys.base_prefix), Path(sys.prefix), ROOT}
    lines = ["set -e", "hold=$(mktemp -d)"]
    for number, path in enumerate(sorted(needed)):
        closed = _closed_above(path)
        if closed is None:
            continue
        place, above = shlex.quote(str(path)), shlex.quote(str(closed))
        lines += [
            f"mkdir $hold/{number}; mount --bind {place} $hold/{number}",
            f"mount -t tmpfs -o mode=755 none {above}; mkdir -p {place}",
            f"mount --move $hold/{number} {place}",
        ]
    lines.append(f"cd /; exec {BECOME} {shlex.join(words)}")
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
    )


def _closed_above(path: Path) -> Path | None:
    """The uppermost directory above a path that others may not search."""
    above = [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
    return above[-1] if above else None
