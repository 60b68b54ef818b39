"""What a data frame says of a table."""

from __future__ import annotations

import sys

import pyarrow as pa
import pytest

from natscope.errors import MissingTool
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.table.interchange import to_arrow, to_pandas, to_polars
from unit.table.flows import FLOWS, tcp

TABLE = FlowTable.from_flows(FLOWS)


def test_absent_is_null_and_zero_is_zero() -> None:
    assert to_arrow(TABLE)["mark"].to_pylist() == [0, None, None]


def test_addresses_are_text() -> None:
    arrow = to_arrow(TABLE)
    assert arrow["orig_src"].to_pylist() == ["10.0.0.5", "2001:db8::5", "10.0.0.5"]
    assert arrow["master_src"].to_pylist() == [None, "2001:db8::5", None]
    assert pa.string() == arrow.schema.field("orig_src").type


def test_an_ipv4_address_is_told_from_the_ipv6_one_of_the_same_words() -> None:
    six = Flow(orig=tcp("::1", 1, "::2", 2), reply=tcp("::2", 2, "::1", 1))
    four = Flow(orig=tcp("0.0.0.1"), reply=tcp("192.0.2.1"))
    arrow = to_arrow(FlowTable.from_flows([six, four]))
    assert arrow["orig_src"].to_pylist() == ["::1", "0.0.0.1"]


def test_numbers_keep_all_their_bits() -> None:
    arrow = to_arrow(TABLE)
    assert arrow["orig_bytes"].to_pylist() == [1 << 60, None, None]
    assert arrow["seqadj_orig_before"].to_pylist() == [None, -4, None]
    labels = ["0x80000000000000000000000000000001", None, None]
    assert labels == arrow["labels"].to_pylist()


def test_numbers_the_kernel_names_get_their_names_beside_them() -> None:
    arrow = to_arrow(TABLE)
    assert arrow["proto_name"].to_pylist() == ["tcp", "udp", "icmp"]
    assert arrow["tcp_state_name"].to_pylist() == ["ESTABLISHED", None, None]
    names = arrow.column_names
    assert names.index("proto_name") == names.index("proto") + 1


def test_two_protocols_of_one_name_share_a_dictionary_entry() -> None:
    flows = [Flow(orig=tcp(proto=n), reply=tcp(proto=n)) for n in (4, 94, 250)]
    names = to_arrow(FlowTable.from_flows(flows))["proto_name"]
    assert names.to_pylist() == ["ipip", "ipip", "250"]
    assert names.chunk(0).dictionary.to_pylist() == ["250", "ipip"]


def test_unknown_attributes_pass_through() -> None:
    kept = [{"path": "CTA_99", "payload": b"\x01\x02"}]
    assert [None, kept, None] == to_arrow(TABLE)["extra"].to_pylist()


def test_a_field_says_what_it_means() -> None:
    facts = to_arrow(TABLE).schema.field("timeout").metadata
    assert facts[b"kernel"] == b"CTA_TIMEOUT"
    assert facts[b"unit"] == b"s"


def test_an_empty_table_has_the_columns_that_are_always_there() -> None:
    arrow = FlowTable.empty().to_arrow()
    assert arrow.num_rows == 0
    assert {"family", "orig_src", "reply_dst"} <= set(arrow.column_names)


@pytest.mark.slow
def test_pandas_keeps_null_and_every_bit() -> None:
    frame = TABLE.to_pandas()
    assert frame["orig_bytes"][0] == 1 << 60
    assert frame["mark"].notna().tolist() == [True, False, False]
    assert frame["proto_name"].tolist() == ["tcp", "udp", "icmp"]
    assert frame.equals(to_pandas(TABLE))


@pytest.mark.slow
def test_polars_keeps_null_and_every_bit() -> None:
    frame = TABLE.to_polars()
    assert frame["orig_bytes"].to_list() == [1 << 60, None, None]
    assert frame["proto_name"].to_list() == ["tcp", "udp", "icmp"]
    assert frame.equals(to_polars(TABLE))


@pytest.mark.parametrize(
    ("library", "convert", "extra"),
    [
        ("pyarrow", to_arrow, "arrow"),
        ("pandas", to_pandas, "pandas"),
        ("polars", to_polars, "polars"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    library: str,
    convert: object,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert callable(convert)
    with pytest.raises(MissingTool, match=library) as refused:
        convert(TABLE)
    assert refused.value.hint == f"pip install 'natscope[{extra}]'"
