"""What ``natscope doctor`` will not be asked, and ``explain-counter``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from natscope.cli import bundle, doctor, explain_counter, rounds
from natscope.cli.diagnostics import UsageError
from natscope.views.doctor.diagnosis import RULES, diagnose
from natscope.views.doctor.snapshot import Snapshot
from unit.views.doctor.boxes import Box

NAT = """\
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "wan" masquerade
	}
}
"""


@dataclass(frozen=True)
class Case:
    id: str
    words: list[str]
    said: str


CASES = [
    Case("two boxes", ["--bundle", "b", "--netns", "n"], "choose one"),
    Case("a time that is over", ["--bundle", "b", "--interval", "5s"], "live box"),
    Case("to watch the past", ["--bundle", "b", "--watch"], "of the past"),
    Case("to mend the past", ["--bundle", "b", "--fix"], "of the past"),
    Case("another's flows", ["--flows", "f"], "--flows goes with --bundle"),
    Case("to watch at once", ["--watch", "--interval", "0"], "longer than 0"),
    Case("to watch and mend", ["--watch", "--fix"], "neither"),
    Case("to watch as SARIF", ["--watch", "--sarif"], "neither"),
    Case("to ask a program", ["--fix", "--json"], "asks a person"),
    Case("no namespace", ["--netns", ""], "needs a name"),
    Case("no rule", ["--only", "R03,R99"], "no rule 'R99'"),
    Case("no time", ["--interval", "soon"], "no time"),
    Case("too long", ["--interval", "2d"], "up to 86400"),
    Case("no file of thresholds", ["--thresholds", "/nowhere"], "No such file"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_contradicts_itself_is_refused(case: Case) -> None:
    with pytest.raises(UsageError, match=case.said):
        doctor.run(case.words)


def test_a_watch_says_once_what_it_cannot_read(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    box = Box(sysctls={"net/ipv4/ip_forward": "0"}, nft=NAT)
    whole = box.snapshot
    half = replace(whole, bundle=replace(whole.bundle, missing=("flows: denied",)))

    def snapshots() -> Iterator[Snapshot]:
        yield from (whole, half, half)
        raise KeyboardInterrupt

    options = doctor.parser().parse_args(["--watch", "--json"])
    with pytest.raises(KeyboardInterrupt):
        rounds.watch(options, snapshots(), lambda one: diagnose(one, only=["R12"]), 5)
    told = capfdbinary.readouterr()
    assert told.err.count(b"natscope: not read: flows: denied\n") == 1
    (raised,) = (json.loads(line) for line in told.out.splitlines())
    assert (raised["change"], raised["rule"]) == ("raise", "R12")


def test_a_watch_of_a_box_in_order_says_that_it_watches(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    def snapshots() -> Iterator[Snapshot]:
        yield from (Box(nft=NAT).snapshot,) * 2
        raise KeyboardInterrupt

    options = doctor.parser().parse_args(["--watch"])
    with pytest.raises(KeyboardInterrupt):
        rounds.watch(options, snapshots(), lambda one: diagnose(one, only=["R12"]), 5)
    told = capfdbinary.readouterr()
    assert told.out == b""
    assert told.err.decode().splitlines() == [
        "looking every 5 s: what changes is told",
        "box: uplink wan 203.0.113.1; 1 NAT rule; 0 flows, 0 translated; "
        "table 0 % of 262144",
        "nothing found; 1 rule checked",
    ]


def test_a_bundles_interval_is_the_doctors() -> None:
    with pytest.raises(UsageError, match="goes with --doctor"):
        bundle.run(["--interval", "5s", "file"])


def test_every_rule_is_listed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert doctor.run(["--list"]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        f"R{number:02}" for number in range(1, len(RULES) + 1)
    ]


def test_a_counter_is_explained(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert explain_counter.run(["ipreversepathfilter"]) == 0
    told = capfdbinary.readouterr().out.decode()
    assert told.startswith("TcpExt.IPReversePathFilter\n")
    assert "natscope doctor --only R11,R13" in told


def test_a_counter_nobody_knows_is_said_to_be_none(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert explain_counter.run(["insertfailed"]) == 1
    told = capfdbinary.readouterr()
    assert told.out == b""
    assert b"did you mean insert_failed?" in told.err


def test_a_chart_is_explained_counter_by_counter(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert explain_counter.run(["netfilter.conntrack_new"]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert names == ["new", "ignore", "invalid"]


def test_counters_are_explained_to_programs(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert explain_counter.run(["--json", "drop"]) == 0
    document = json.loads(capfdbinary.readouterr().out)
    assert document["schema"] == "natscope.counters/1"
    assert [one["name"] for one in document["counters"]] == ["drop"]
