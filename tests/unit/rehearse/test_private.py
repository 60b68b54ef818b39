"""Why a user may have no namespaces of its own."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import pytest

from natscope.rehearse.private import forbidden_hint


@dataclass(frozen=True)
class Case:
    id: str
    settings: dict[str, str]
    code: int
    hint: str


CASES = [
    Case(
        "Ubuntu's AppArmor",
        {"kernel/apparmor_restrict_unprivileged_userns": "1"},
        errno.EPERM,
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Case(
        "Debian's switch",
        {"kernel/unprivileged_userns_clone": "0", "user/max_user_namespaces": "9"},
        errno.EPERM,
        "sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    Case("none are left", {"user/max_net_namespaces": "9"}, errno.ENOSPC, "too many"),
    Case("a container", {}, errno.EPERM, "docker run --privileged"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_forbids_namespaces_is_named(case: Case, tmp_path: Path) -> None:
    for name, value in case.settings.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{value}\n")
    assert case.hint in forbidden_hint(case.code, tmp_path)
