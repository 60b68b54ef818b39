"""The schema itself: names, types, presence bits."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.columns import ADDRESS, BIT, COLUMNS, Column


def test_no_column_is_named_twice() -> None:
    names = [column.name for column in COLUMNS]
    assert sorted(set(names)) == sorted(names)


def test_the_presence_word_has_room_for_every_optional_column() -> None:
    optional = [column.name for column in COLUMNS if not column.always]
    assert list(range(len(optional))) == [BIT[name] for name in optional]
    assert len(optional) <= 64


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_a_column_has_a_type_numpy_knows_and_a_meaning(column: Column) -> None:
    assert np.dtype(column.dtype).kind in "uiSO"
    assert column.meaning
    assert (2 if column.unit == ADDRESS else column.width) == column.width


def test_every_field_of_a_record_is_a_column_and_the_other_way_round() -> None:
    parts = [f.name for f in fields(FlowTuple) if f.name != "proto"]
    from_tuples = {f"{side}_{part}" for side in ("orig", "reply") for part in parts}
    # A master is known by addresses, ports and zone; ICMP expects nobody.
    from_tuples |= {f"master_{p}" for p in parts if not p.startswith("icmp")}
    plain = {f.name for f in fields(Flow)} - {"orig", "reply", "master"}
    derived = {"family", "proto", "reply_proto", "master_proto"}
    assert plain | from_tuples | derived == {column.name for column in COLUMNS}
