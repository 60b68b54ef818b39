"""bpf(2), on machines whose calls are not known."""

from __future__ import annotations

import pytest

from natscope.errors import MissingTool
from natscope.trace.bpf import loader


def test_a_machine_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    assert "s390x" in (loader.available() or "")
    with pytest.raises(MissingTool, match="s390x"):
        loader.create_map(loader.MAP_ARRAY, 4, 8, 1)
