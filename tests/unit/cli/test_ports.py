"""What ``ports``, ``timeouts`` and ``capacity`` will not be asked, and saved listings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundles import flows_of
from natscope.cli import capacity, ports, timeouts
from natscope.cli.diagnostics import UsageError
from natscope.codec import bundle
from natscope.errors import NatscopeError
from natscope.model.bundle import Bundle
from unit.views.test_portranges import nft

LINE = (
    "ipv4     2 tcp      6 {left} {state} src=10.0.0.{host} dst=198.51.100.9 "
    "sport={port} dport=443 src=198.51.100.9 dst=203.0.113.7 sport=443 dport={port} "
    "[ASSURED] mark=0 use=1\n"
)
TEN = "".join(
    LINE.format(left=100, state="ESTABLISHED", host=at % 3 + 2, port=2000 + at)
    for at in range(10)
)


@dataclass(frozen=True)
class Case:
    id: str
    run: Callable[[list[str]], int]
    words: list[str]
    said: str


CASES = [
    Case("all namespaces", ports.run, ["--all-netns"], "of one namespace"),
    Case("two boxes", ports.run, ["--bundle", "b", "--netns", "n"], "choose one"),
    Case("this box's", ports.run, ["--bundle", "b", "--proc"], "choose one"),
    Case("a file again", ports.run, ["-r", "f", "--watch", "1s"], "needs the live"),
    Case("a file twice", ports.run, ["-r", "f", "-i", "1s"], "needs the live"),
    Case("no time", ports.run, ["-i", "0.1s"], "takes 0.2"),
    Case("both", ports.run, ["-i", "1s", "-w", "1s"], "choose one"),
    Case("less than none", ports.run, ["--limit", "-1"], "from 0 up"),
    Case("a negative grant", ports.run, ["--per-host", "-1"], "from 0 up"),
    Case("upside down", ports.run, ["--raise", "50", "--clear", "60"], "per cent"),
    Case("two boxes", timeouts.run, ["--bundle", "b", "--netns", "n"], "choose one"),
    Case("two boxes", capacity.run, ["--bundle", "b", "--netns", "n"], "choose one"),
    Case("a rate alone", capacity.run, ["--rate", "5"], "go together"),
    Case("two peaks", capacity.run,
         ["--peak", "5", "--rate", "5", "--lifetime", "5s"], "choose one"),
    Case("no peak", capacity.run, ["--peak", "0"], "from 1 up"),
    Case("too much", capacity.run,
         ["--rate", "1e308", "--lifetime", "9h"], "more than any table"),
    Case("no rate", capacity.run, ["--rate", "nan", "--lifetime", "5s"], "above 0"),
    Case("no share", capacity.run, ["--share", "0"], "per cent"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.run.__module__} {c.id}")
def test_what_makes_no_sense_is_refused(case: Case) -> None:
    with pytest.raises(UsageError, match=case.said):
        case.run(case.words)


@pytest.fixture
def listing(tmp_path: Path) -> str:
    file = tmp_path / "saved.txt"
    file.write_text(TEN)
    return str(file)


@pytest.fixture
def box(tmp_path: Path) -> str:
    """A bundle of a box with a range of ten ports, and timeouts."""
    file = tmp_path / "box.json"
    made = Bundle(
        made_ns=0,
        kernel="6.1.0-18-amd64",
        rulesets=nft("meta l4proto tcp masquerade to :2000-2009").rulesets,
        sysctls={
            "net/netfilter/nf_conntrack_max": "65536",
            "net/netfilter/nf_conntrack_buckets": "65536",
            "net/netfilter/nf_conntrack_count": "50000",
            "net/netfilter/nf_conntrack_udp_timeout": "30",
        },
    )
    file.write_bytes(bundle.encode(made))
    return str(file)


@pytest.mark.parametrize(
    ("took", "rests"),
    [
        pytest.param(0.01, 0.99, id="on time"),
        pytest.param(0.25, 0.75, id="a quarter of the time"),
        pytest.param(2.0, 6.0, id="no more than that"),
    ],
)
def test_watching_rests_most_of_the_time(took: float, rests: float) -> None:
    assert ports.pause(1.0, took) == pytest.approx(rests)


def told(capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capfd.readouterr()
    return captured.out, captured.err


def test_a_listing_alone_has_the_kernels_ranges(
    listing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ports.run([listing, "--json"]) == 0
    out, err = told(capfd)
    (of,) = json.loads(out)["destinations"]
    assert (of["first"], of["used"], of["hosts"]) == (1024, 10, 3)
    assert "the rules and the kernel are not known" in err


def test_a_listing_with_the_bundle_of_its_box_has_its_ranges(
    listing: str, box: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ports.run([listing, "--bundle", box, "--json"]) == 0
    found = json.loads(told(capfd)[0])
    assert not found["evicts_closing"]  # of a kernel before 6.5
    (of,) = found["destinations"]
    assert (of["rule"], of["occupancy"], of["loss"]) == ("ip nat post rule 1", 1, 1)


def test_a_bundle_is_read_with_its_own_rules(
    box: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Path(box)
    made = bundle.decode(file.read_bytes())
    file.write_bytes(bundle.encode(replace(made, flows=flows_of(TEN))))
    for words in ([box], ["--bundle", box], [box, "--bundle", box]):
        assert ports.run([*words, "--json", "dst", "host", "198.51.100.9"]) == 0
        out, err = told(capfd)
        (of,) = json.loads(out)["destinations"]
        assert (of["rule"], of["used"], err) == ("ip nat post rule 1", 10, "")
    with pytest.raises(UsageError, match="needs the live table"):
        ports.run([box, "--watch", "5s"])


def test_a_filter_chooses_the_destinations(
    listing: str, box: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [listing, "--bundle", box, "--csv", "--no-headers"]
    assert ports.run([*words, "inside", "10.0.0.2"]) == 0
    assert ",10,10,0,10,1.0,1.0," in told(capfd)[0]
    assert ports.run([*words, "inside", "10.9.9.9"]) == 0
    assert told(capfd)[0] == ""


def test_hosts_above_their_grant_are_named(
    listing: str, box: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ports.run([listing, "--bundle", box, "--per-host", "3"]) == 0
    said = "10.0.0.2 has 4 ports of tcp 203.0.113.7 (2000-2009), more than 3\n"
    assert said in told(capfd)[0]
    assert ports.run([listing, "--bundle", box, "--per-host", "4", "--json"]) == 0
    assert json.loads(told(capfd)[0])["hosts_over"] == []


def test_a_bundle_without_flows_has_no_ports(box: str) -> None:
    with pytest.raises(NatscopeError, match="has no flows"):
        ports.run(["--bundle", box])


def test_a_bundle_with_flows_has_all_that_is_needed(
    box: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Path(box)
    made = bundle.decode(file.read_bytes())
    file.write_bytes(bundle.encode(replace(made, flows=flows_of(TEN))))
    assert ports.run(["--bundle", box]) == 0
    assert "critical: tcp from 203.0.113.7 to 198.51.100.9:443" in told(capfd)[0]
    assert timeouts.run(["--bundle", box, "--csv", "--no-headers"]) == 0
    assert told(capfd)[0].startswith("udp_timeout,30,30,0,")


def test_timeouts_of_a_bundle(box: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert timeouts.run(["--bundle", box, "--below", "--brief", "--no-headers"]) == 0
    assert told(capfd)[0] == "udp_timeout  30    -  120  below: RFC 4787 REQ-5\n"
    with pytest.raises(UsageError, match="no timeout of 'tcp'"):
        timeouts.run(["--bundle", box, "tcp"])


def test_capacity_of_a_bundle(box: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert capacity.run(["--bundle", box, "--memory", "2G", "--json"]) == 0
    found = json.loads(told(capfd)[0])
    assert (found["peak"], found["recommended_limit"]) == (50_000, 131_072)
    assert not found["entry_bytes_measured"]
