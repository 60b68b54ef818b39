"""The lock files hold what pyproject.toml asks for, and name no download site."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from unit.sourcetree import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {path.stem: path for path in sorted((ROOT / "requirements").glob("*.txt"))}
GROUP_OF = {"dev": "dev", "run": "build", "bench": "bench"}


def asked(group: str) -> list[Requirement]:
    """What a group asks for, with the core, included groups unfolded."""
    found = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    waiting = list(PROJECT["dependency-groups"][group])
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, dict):
            waiting += PROJECT["dependency-groups"][entry["include-group"]]
        else:
            found.append(Requirement(entry))
    return found


def locked(path: Path) -> list[tuple[Requirement, int]]:
    """Every pinned requirement of a lock file, with its number of hashes."""
    entries = re.split(
        r"\n(?=\S)", re.sub(r"^ *#.*\n?", "", path.read_text(), flags=re.M)
    )
    return [
        (Requirement(entry.split("\\")[0].strip()), entry.count("--hash=sha256:"))
        for entry in entries
        if entry.strip()
    ]


def test_there_is_a_lock_for_each_use() -> None:
    assert LOCKS.keys() == GROUP_OF.keys()


@pytest.mark.parametrize("name", GROUP_OF)
def test_what_is_asked_for_is_locked_at_a_version_that_will_do(name: str) -> None:
    pins: dict[str, list[Requirement]] = {}
    for pin, _ in locked(LOCKS[name]):
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    for want in asked(GROUP_OF[name]):
        found = pins.get(canonicalize_name(want.name), [])
        assert found, f"{want.name} is not locked: make lock"
        for pin in found:
            [exact] = pin.specifier
            assert exact.operator == "=="
            assert want.specifier.contains(exact.version), f"{pin}: make lock"


@pytest.mark.parametrize("name", GROUP_OF)
def test_every_locked_package_has_hashes(name: str) -> None:
    assert [str(pin) for pin, hashes in locked(LOCKS[name]) if hashes == 0] == []


@pytest.mark.parametrize("name", GROUP_OF)
def test_a_lock_names_no_place_to_download_from(name: str) -> None:
    assert (
        re.findall(r".*(?:://|--index|--find-links).*", LOCKS[name].read_text()) == []
    )


def test_every_lock_has_the_same_versions() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for path in LOCKS.values():
        for pin, _ in locked(path):
            key = (pin.name, str(pin.marker))
            versions.setdefault(key, set()).add(str(pin.specifier))
    assert {key: found for key, found in versions.items() if len(found) > 1} == {}
