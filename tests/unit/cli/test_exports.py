"""What an export does with batches, without a kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from natscope.cli.exports import LinesToFile
from natscope.cli.stopping import Stop
from natscope.sinks.appended import AppendedFile
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

NOTHING = Events(FlowTable.empty(), np.zeros(0, np.uint8), received_ns=0)


def test_a_log_goes_on_in_the_file_that_was_while_no_new_one_can_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, away = tmp_path / "log", tmp_path / "log.1"
    export = LinesToFile(
        AppendedFile(path), lambda events: b"line\n", Stop(rotates=False)
    )
    path.rename(away)
    path.mkdir()
    export.tick()
    export.take(NOTHING)
    assert export.finish() == "1 lines"
    assert away.read_bytes() == b"line\n"
    assert f"{path}'; going on in the file that was" in capsys.readouterr().err
