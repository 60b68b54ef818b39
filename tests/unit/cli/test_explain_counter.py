"""What ``natscope explain-counter`` writes."""

from __future__ import annotations

import pytest

from natscope.cli import explain_counter


def test_a_counter_is_told_with_the_findings_it_feeds(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert explain_counter.run(["chainlength"]) == 0
    assert capfdbinary.readouterr().out.decode().splitlines() == [
        "chaintoolong",
        "  new flows refused because their hash chain was too long: raise",
        "  nf_conntrack_buckets",
        "  shown by   natscope stats, conntrack -S",
        "  findings   natscope doctor --only R02",
        "             R02  hash chains too long",
    ]


def test_without_a_name_every_counter_is_told(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert explain_counter.run([]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    names = {line for line in lines if not line.startswith(" ")}
    assert {"drop", "entries", "netlink.PORT.dropped", "softnet.dropped"} <= names
