"""Timeouts and the size of the table, asked of a real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import unavailable
from kernel import stock
from natscope.errors import MissingTool
from natscope.sources.kernel import Kernel
from natscope.sources.memory import read_memory
from natscope.sources.netns import Namespace
from natscope.trace.bpf.btf import kernel_btf
from natscope.views.capacity import ENTRY_BYTES, EXTENSION_BYTES
from natscope.views.timeoutfacts import FACTS
from natscope.views.timeouts import timeouts

pytestmark = pytest.mark.kernel

SYSCTLS = Path("/proc/sys/net/netfilter")


def natscope(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "natscope", *words, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_fresh_namespace_has_the_defaults_that_are_told(netns: Namespace) -> None:
    with Kernel() as kernel:
        found = timeouts(kernel.evidence().timeouts, kernel.table()).found
    assert [one.name for one in found if one.fact is None] == []
    assert [one.name for one in found if one.is_changed] == []
    missing = FACTS.keys() - {one.name for one in found}
    assert {name.partition("_")[0] for name in missing} <= {"dccp"}


def test_a_changed_timeout_and_the_flows_it_holds_are_told(netns: Namespace) -> None:
    stock.insert_all()
    (SYSCTLS / "nf_conntrack_udp_timeout").write_text("45")
    told = natscope("timeouts")
    by_name = {one["name"]: one for one in told["timeouts"]}
    assert by_name["udp_timeout"]["seconds"] == 45
    assert by_name["udp_timeout"]["below_rfc"]
    assert sum(one.get("flows", 0) for one in told["timeouts"]) == len(stock.INSERTS)
    # inserted with 1000 s to live: all but established TCP has more than its timeout
    assert told["overlong_flows"] == len(stock.INSERTS) - 1


EXTENSIONS = (
    *("nf_conn_nat", "nf_conn_acct", "nf_conn_tstamp", "nf_conntrack_ecache"),
    "nf_conn_labels",
)
"""What packets give an entry: masquerading, counters, timestamps, events, labels."""


def test_an_entry_takes_what_the_kernels_own_types_say() -> None:
    """A slab adds what fills up a line of the cache; extensions share one object."""
    try:
        btf = kernel_btf("nf_conntrack", "nf_conn")
    except MissingTool as error:
        unavailable(str(error))
        raise
    own = btf.struct("nf_conn").size
    assert own <= (read_memory().entry_bytes or own) < own + 64
    assert own <= ENTRY_BYTES < own + 64
    taken = sum(btf.struct(name).size for name in ("nf_ct_ext", *EXTENSIONS))
    assert taken <= EXTENSION_BYTES
    assert taken + btf.struct("nf_conn_seqadj").size > EXTENSION_BYTES


def test_the_limit_and_the_memory_are_those_of_the_kernel(netns: Namespace) -> None:
    told = natscope("capacity", "--peak", "1000")
    with Kernel() as kernel:
        assert told["limit"] == kernel.sysctl("nf_conntrack_max")
        assert told["buckets"] == kernel.sysctl("nf_conntrack_buckets")
    memory = read_memory()
    assert told["memory_bytes"] == memory.total
    assert told["bytes_per_entry"] == (memory.entry_bytes or 256) + 128
    assert told["recommended_limit"] >= 2000
