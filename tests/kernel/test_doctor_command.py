"""``natscope doctor`` on a real box: exit codes, formats, bundles, mending."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import unavailable
from kernel.ordinary import run_as_nobody
from natscope.actions import mending
from natscope.errors import NamespaceError, NatscopeError
from natscope.lab.build import Lab, built
from natscope.lab.network import BOX
from natscope.sources.netns import Namespace

pytestmark = pytest.mark.kernel

NATSCOPE = (sys.executable, "-m", "natscope")
FORWARDING = "/proc/sys/net/ipv4/ip_forward"
QUICK = ("doctor", "--interval", "0")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of one's own."""
    try:
        with built() as made:
            yield made
    except NamespaceError as error:
        unavailable(str(error))


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    said: str


def natscope(lab: Lab, *words: str, answers: str = "", home: Path | None = None) -> Run:
    """Run the command on the box."""
    env = os.environ | ({} if home is None else {"XDG_STATE_HOME": str(home)})
    with lab.inside(BOX):
        done = subprocess.run(
            [*NATSCOPE, *words],
            input=answers,
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
    return Run(done.returncode, done.stdout, done.stderr)


def forwarding(lab: Lab, value: str | None = None) -> str:
    with lab.inside(BOX):
        path = Path("/proc/thread-self/root" + FORWARDING)
        if value is not None:
            path.write_text(value)
        return path.read_text().strip()


def test_a_box_in_order_is_told_in_two_lines(lab: Lab) -> None:
    done = natscope(lab, "doctor", "--interval", "0.1s")
    assert (done.code, done.said) == (0, "")
    box, found = done.out.splitlines()
    assert "uplink wan 203.0.113.1 203.0.113.7; 9 NAT rules; " in box
    assert found.startswith("nothing found; ")
    assert "not checked" not in found


def test_what_was_not_checked_is_not_in_order(lab: Lab) -> None:
    """For a build server, what was not asked must not be green."""
    done = natscope(lab, *QUICK)
    assert done.code == 4
    assert "R06" in done.out.partition("not checked: ")[2]
    alone = natscope(lab, *QUICK, "--only", "R02")
    assert (alone.code, alone.out.splitlines()[1]) == (
        4,
        "nothing found; 0 rules checked; not checked: R02 (needs two readings)",
    )


def test_an_ordinary_user_hears_what_could_not_be_read(lab: Lab) -> None:
    words = ("doctor", "--interval", "0.1s", "--only", "R02,R06")
    with lab.inside(BOX):
        done = run_as_nobody(*NATSCOPE, *words)
    assert (done.returncode, done.stdout.splitlines()[1]) == (
        4,
        "nothing found; 0 rules checked; "
        "not checked: R02, R06 (needs conntrack's counters)",
    )


def test_a_flow_is_shown_with_its_age_as_in_a_listing(lab: Lab) -> None:
    ends = "-p udp -s 10.0.0.2 -d 198.51.100.9 --sport 5 --dport 53 -t 60"
    lab.run(BOX, ["conntrack", "-I", *ends.split()])
    words = ("doctor", "--interval", "1s", "--only", "R08")
    lines = natscope(lab, *words).out.splitlines()
    (heading,) = [at for at, line in enumerate(lines) if "INSIDE" in line]
    flow = dict(zip(lines[heading].split(), lines[heading + 1].split(), strict=True))
    assert flow.pop("AGE") != "0s"
    assert flow == {
        "PROTO": "udp",
        "INSIDE": "10.0.0.2:5",
        "OUTSIDE": "198.51.100.9:53",
        "STATE": "UNREPLIED",
        "BYTES": "0",
    }
    (found,) = findings(natscope(lab, *words, "--json").out)
    (told,) = found["flows"]
    age = int(told["line"].partition("delta-time=")[2].partition(" ")[0])
    assert age >= 1


@dataclass(frozen=True)
class Code:
    id: str
    words: tuple[str, ...]
    code: int


CODES = [
    Code("as bad as warning", (), 1),
    Code("as bad as critical", ("--fail-on", "critical"), 1),
    Code("another rule's", ("--only", "R01"), 0),
    Code("what cannot be checked", ("--only", "R02"), 4),
    Code("its own rule's, in small letters", ("--only", "r01,r12"), 1),
    Code("no such rule", ("--only", "R99"), 2),
    Code("of a bundle and a namespace", ("--bundle", "a", "--netns", "b"), 2),
    Code("both formats", ("--json", "--sarif"), 2),
    Code("no such namespace", ("--netns", "nobody"), 3),
]


@pytest.mark.parametrize("case", CODES, ids=lambda case: case.id)
def test_the_exit_code_tells_how_bad_it_is(lab: Lab, case: Code) -> None:
    forwarding(lab, "0")
    assert natscope(lab, *QUICK, *case.words).code == case.code


def findings(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["findings"]
    return found


def test_a_bundle_is_judged_as_the_box_was(lab: Lab, tmp_path: Path) -> None:
    forwarding(lab, "0")
    file = str(tmp_path / "box.json.gz")
    written = natscope(lab, "bundle", "--doctor", "--interval", "0", file)
    assert (written.code, ", 1 ruleset, " in written.said) == (0, True)
    live = natscope(lab, *QUICK, "--json")
    forwarding(lab, "1")
    kept = natscope(lab, "doctor", "--bundle", file, "--json")
    assert findings(kept.out) == findings(live.out)
    assert [one["rule"] for one in findings(kept.out)] == ["R12"]


def test_the_flows_of_a_bundle_may_be_in_a_file_of_their_own(
    lab: Lab, tmp_path: Path
) -> None:
    box, flows = str(tmp_path / "box.json"), str(tmp_path / "flows")
    assert natscope(lab, "bundle", box).code == 0
    words = ("doctor", "--bundle", box, "--only", "R10", "--json")
    without = json.loads(natscope(lab, *words).out)
    assert without["not_checked"] == [{"rule": "R10", "needs": "flows"}]
    ends = "-p udp -s 10.0.0.2 -d 198.51.100.9 --sport 5 --dport 53 -t 60"
    lab.run("box", ["conntrack", "-I", *ends.split()])
    assert natscope(lab, "save", flows).code == 0
    with_flows = json.loads(natscope(lab, *words, "--flows", flows).out)
    assert with_flows["checked"] == ["R10"]


def test_sarif_is_written(lab: Lab) -> None:
    forwarding(lab, "0")
    log = json.loads(natscope(lab, *QUICK, "--sarif").out)
    assert [one["ruleId"] for one in log["runs"][0]["results"]] == ["R12"]


def test_other_thresholds_are_taken_from_a_file(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("table_warning = 0\n")
    done = natscope(lab, *QUICK, "--only", "R01", "--thresholds", str(file))
    assert (done.code, "R01" in done.out) == (1, True)
    file.write_text("table_waning = 0\n")
    wrong = natscope(lab, *QUICK, "--thresholds", str(file))
    assert wrong.code == 2
    assert "did you mean table_warning" in wrong.said
    file.write_text("table_warning = 60\n")
    cents = natscope(lab, *QUICK, "--thresholds", str(file))
    assert (cents.code, "is a share of 1" in cents.said) == (2, True)


def test_a_remedy_is_asked_about_run_and_taken_back(lab: Lab, tmp_path: Path) -> None:
    forwarding(lab, "0")
    refused = natscope(lab, *QUICK, "--fix", answers="n\n", home=tmp_path)
    assert "sysctl -w net.ipv4.ip_forward=1" in refused.said
    assert refused.said.endswith(": nothing was run\n")
    assert forwarding(lab) == "0"
    done = natscope(lab, *QUICK, "--fix", answers="y\n", home=tmp_path)
    assert (done.code, forwarding(lab)) == (0, "1")
    back = natscope(lab, "doctor", "--unfix", home=tmp_path)
    assert (back.code, back.out) == (0, "net.ipv4.ip_forward = 0\n")
    assert forwarding(lab) == "0"


@pytest.mark.parametrize("closing", ["</dev/null", "<&-"])
def test_with_nobody_to_ask_nothing_is_run(
    lab: Lab, tmp_path: Path, closing: str
) -> None:
    forwarding(lab, "0")
    words = shlex.join([*NATSCOPE, *QUICK, "--fix"])
    with lab.inside(BOX):
        done = subprocess.run(
            ["sh", "-c", f"{words} {closing}"],
            capture_output=True,
            text=True,
            env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
            check=False,
        )
    assert (done.returncode, forwarding(lab)) == (1, "0")
    assert done.stderr.endswith("\nnothing was run\n")


def test_settings_are_taken_back_one_by_one(lab: Lab, tmp_path: Path) -> None:
    lab.run(BOX, ["sh", "-c", "echo 0 > /proc/sys/net/netfilter/nf_conntrack_acct"])
    ends = "-p udp -s 10.0.0.2 -d 198.51.100.9 --sport 5 --dport 53 -t 60"
    lab.run(BOX, ["conntrack", "-I", *ends.split()])
    words = (*QUICK, "--fix", "--only")
    done = natscope(lab, *words, "R08,R35", answers="y\ny\n", home=tmp_path)
    assert done.said.endswith("2 done, 0 failed: look again with natscope doctor\n")
    assert "1 flow" in done.said.partition("natscope delete")[2]
    forwarding(lab, "0")
    done = natscope(lab, *words, "R12", answers="y\n", home=tmp_path)
    assert done.said.endswith("1 done, 0 failed: look again with natscope doctor\n")
    first = natscope(lab, "doctor", "--unfix", home=tmp_path)
    assert first.out == "net.ipv4.ip_forward = 0\n"
    assert first.said == "natscope doctor --unfix again takes the one before: 1\n"
    second = natscope(lab, "doctor", "--unfix", home=tmp_path)
    assert (second.out, second.said) == ("net.netfilter.nf_conntrack_acct = 0\n", "")


def test_in_a_box_in_order_there_is_nothing_to_ask(lab: Lab, tmp_path: Path) -> None:
    done = natscope(lab, *QUICK, "--fix", home=tmp_path)
    assert (done.code, done.said) == (0, "")


def test_a_pattern_and_a_look_are_not_asked_about(lab: Lab, tmp_path: Path) -> None:
    lab.run(BOX, ["ip", "link", "set", "wan", "mtu", "1400"])
    ends = "-p udp -s 10.0.0.2 -d 198.51.100.9 --sport 4789 --dport 4789 -t 60"
    lab.run(BOX, ["conntrack", "-I", *ends.split(), "-n", "203.0.113.1:4000"])
    words = (*QUICK, "--fix", "--only")
    alone = natscope(lab, *words, "R26", answers="y\n", home=tmp_path)
    assert "R26" in alone.out
    assert (alone.code, alone.said) == (
        1,
        "nothing was run; what has words to fill in, or only looks, is yours\n",
    )
    done = natscope(lab, *words, "R26,R32", answers="y\ny\ny\n", home=tmp_path)
    assert "R26" not in done.said
    assert done.said.endswith("1 done, 0 failed: look again with natscope doctor\n")
    again = natscope(lab, *QUICK, "--only", "R32")
    assert "\nnothing found" in again.out


def test_a_watch_tells_what_is_raised(lab: Lab) -> None:
    forwarding(lab, "0")
    words = [*NATSCOPE, "doctor", "--watch", "--interval", "0.1s", "--json"]
    with lab.inside(BOX):
        watch = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    with watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        assert watch.stderr.readline() == "looking every 0.1 s: what changes is told\n"
        raised = json.loads(watch.stdout.readline())
        assert (raised["change"], raised["rule"]) == ("raise", "R12")
        forwarding(lab, "1")
        cleared = json.loads(watch.stdout.readline())
        assert (cleared["change"], cleared["rule"]) == ("clear", "R12")
        watch.send_signal(signal.SIGINT)
        assert watch.wait() == 130


def test_a_setting_can_be_made_lasting_and_taken_back(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "90-natscope.conf"
    file.write_text("# of an administrator\nnet.ipv4.ip_forward = 0\n")
    name = "net.ipv4.ip_forward"
    made = mending.change(name, "1", lasting=file)
    assert (made.before, made.after) == ("0", "1")
    assert file.read_text() == "# of an administrator\nnet.ipv4.ip_forward = 1\n"
    assert mending.take_back(file).name == name
    assert file.read_text() == "# of an administrator\nnet.ipv4.ip_forward = 0\n"
    assert mending.written_down() == []


def test_a_setting_made_lasting_twice_is_taken_back_step_by_step(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "90-natscope.conf"
    name = "net.ipv4.ip_default_ttl"
    for value in ("70", "80"):
        mending.change(name, value, lasting=file)
    mending.take_back(file)
    assert file.read_text().endswith(f"\n{name} = 70\n")
    mending.take_back(file)
    assert not file.exists()


def test_a_setting_that_cannot_be_made_lasting_is_not_made(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "90-natscope.conf"
    with pytest.raises(OSError, match="No such file"):
        mending.change("net.ipv4.ip_default_ttl", "70", lasting=tmp_path / "no" / "f")
    with pytest.raises(NatscopeError):
        mending.change("net.ipv4.ip_default_ttl", "many", lasting=file)
    assert not file.exists()
    assert mending.run("cat /proc/sys/net/ipv4/ip_default_ttl") == "64\n"
    assert mending.written_down() == []


def test_settings_somebody_else_wrote_down_are_not_taken_back(
    lab: Lab, tmp_path: Path
) -> None:
    place = tmp_path / "natscope" / "settings.jsonl"
    place.parent.mkdir()
    for line in ('{"name": 1}', "no JSON", "[]", '"text"', "\xff"):
        place.write_bytes(line.encode("latin-1"))
        done = natscope(lab, "doctor", "--unfix", home=tmp_path)
        assert done.code == 3
        assert "Traceback" not in done.said
        assert "move it away" in done.said


def test_a_remedy_of_several_lines_ends_with_the_first_that_fails(
    netns: Namespace,
) -> None:
    with pytest.raises(NatscopeError):
        mending.run("false\necho 70 > /proc/sys/net/ipv4/ip_default_ttl")
    assert mending.run("cat /proc/sys/net/ipv4/ip_default_ttl") == "64\n"


def test_a_setting_somebody_changed_since_is_left_alone(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    mending.change("net.ipv4.ip_default_ttl", "70")
    mending.run("echo 80 > /proc/sys/net/ipv4/ip_default_ttl")
    with pytest.raises(NatscopeError, match="somebody has changed it"):
        mending.take_back()


def test_a_setting_that_is_none_changes_nothing(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("net.ipv4.nothing", "......etc.passwd"):
        with pytest.raises(NatscopeError):
            mending.change(name, "1")
    with pytest.raises(NatscopeError):
        mending.change("net.ipv4.ip_forward", "no number")
    assert mending.written_down() == []
