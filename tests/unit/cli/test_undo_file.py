"""Undo files: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from natscope.actions.undo import Undo
from natscope.cli import undo_file
from natscope.cli.diagnostics import UsageError
from natscope.errors import NatscopeError
from natscope.model.expectation import Expectation
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable

_ENDS = ip_address("10.0.0.5"), ip_address("198.51.100.9")


def flow(port: int, mark: int = 0, id: int = 0) -> Flow:
    orig = FlowTuple(*_ENDS, 6, port, 443)
    return Flow(orig, orig.reversed(), timeout=60, tcp_state=3, mark=mark, id=id)


EXPECTED = Expectation(flow(1).orig, flow(2).orig, flow(3).orig, helper="ftp")
UNDO = Undo(
    "update",
    FlowTable.from_flows([flow(10, mark=1, id=7), flow(11, mark=2, id=8)]),
    FlowTable.from_flows([flow(12, mark=3, id=9)]),
    ("mark", "labels"),
    0xFF,
    1 << 127,
    (EXPECTED,),
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "undo.jsonl"
    path.write_bytes(b"".join(undo_file.text(UNDO, "edge", (4, 5))))
    undo, netns, namespace = undo_file.read(path)
    assert (netns, namespace) == ("edge", (4, 5))
    assert list(undo.table) == list(UNDO.table)
    assert list(undo.replaced) == list(UNDO.replaced)
    assert (undo.action, undo.columns) == ("update", ("mark", "labels"))
    assert (undo.mark_mask, undo.labels_mask) == (0xFF, 1 << 127)
    assert undo.expectations == (EXPECTED,)


def test_one_cut_off_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "undo.jsonl"
    lines = b"".join(undo_file.text(UNDO, None, (4, 5))).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    with pytest.raises(NatscopeError, match="cut off: 2 of 3 flows"):
        undo_file.read(path)


@dataclass(frozen=True)
class Wrong:
    id: str
    undo: object
    reason: str = "is no undo file natscope wrote"


WRONG = [
    Wrong("none", None, "is no undo file$"),
    Wrong("empty", {}, "is no undo file$"),
    Wrong("no action", {"columns": []}),
    Wrong("an action that is none", {"action": ["x"]}),
    Wrong("columns that are a number", {"action": "update", "columns": 3}),
    Wrong("an unknown column", {"action": "update", "columns": ["nope"]}),
    Wrong("a column that cannot be set", {"action": "update", "columns": ["id"]}),
    Wrong("a column in a list", {"action": "update", "columns": [["mark"]]}),
    Wrong("more replaced than there are", {"action": "insert", "replaced": 1}),
    Wrong("a mask too wide", {"action": "update", "mark_mask": 1 << 32}),
    Wrong("half a namespace", {"action": "delete", "namespace": [4]}),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_what_natscope_did_not_write_is_refused(tmp_path: Path, case: Wrong) -> None:
    path = tmp_path / "undo.jsonl"
    header = {"natscope": "save", "version": 1, "flows": 0, "undo": case.undo}
    path.write_text(json.dumps(header))
    with pytest.raises(UsageError, match=case.reason):
        undo_file.read(path)
