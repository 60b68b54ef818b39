"""Timeouts and the size of the table, asked of a real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernel import stock
from natscope.sources.kernel import Kernel
from natscope.sources.memory import read_memory
from natscope.sources.netns import Namespace
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
    assert {one.name for one in found} == set(FACTS)


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


def test_the_limit_and_the_memory_are_those_of_the_kernel(netns: Namespace) -> None:
    told = natscope("capacity", "--peak", "1000")
    with Kernel() as kernel:
        assert told["limit"] == kernel.sysctl("nf_conntrack_max")
        assert told["buckets"] == kernel.sysctl("nf_conntrack_buckets")
    memory = read_memory()
    assert told["memory_bytes"] == memory.total
    assert told["bytes_per_entry"] == (memory.entry_bytes or 256) + 128
    assert told["recommended_limit"] >= 2000
