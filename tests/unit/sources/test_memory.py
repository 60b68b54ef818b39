"""The host's memory and the size of an entry, from /proc."""

from __future__ import annotations

from pathlib import Path

from natscope.sources.memory import Memory, read_memory

MEMINFO = "MemTotal:       24682416 kB\nMemFree:        23229264 kB\n"
SLABINFO = """slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>
nf_conntrack_expect      0      0    208   19    1 : tunables    0    0    0
nf_conntrack         192    256    256   16    1 : tunables    0    0    0
"""


def test_memory_and_the_size_of_an_entry_are_read(tmp_path: Path) -> None:
    meminfo, slabinfo = tmp_path / "meminfo", tmp_path / "slabinfo"
    meminfo.write_text(MEMINFO)
    slabinfo.write_text(SLABINFO)
    assert read_memory(meminfo, slabinfo) == Memory(24_682_416 * 1024, 256)


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert read_memory(tmp_path / "no", tmp_path / "none") == Memory(None, None)
