"""Finding the programs of other packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from natscope.errors import MissingTool
from natscope.sources import tools


def test_an_empty_path_does_not_mean_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "natscope-tool"
    planted.write_text("#!/bin/sh\n")
    planted.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ":/usr/bin", "/usr/bin:"):
        monkeypatch.setenv("PATH", path)
        assert tools.find("natscope-tool") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.find("natscope-tool") == str(planted)


def test_what_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(MissingTool) as missing:
        tools.needed("ip6tables-none-save")
    assert missing.value.hint == "ask root for: apt-get install iptables"
