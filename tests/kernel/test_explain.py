"""``natscope explain``: the kernel's answer, in the words of an engineer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from conftest import unavailable
from kernel import stock
from kernel.ordinary import run_as_nobody
from natscope.cli import main
from natscope.codec import bundle as bundles
from natscope.codec import packets
from natscope.codec.text import question
from natscope.lab.build import Lab, built
from natscope.sources import bundle as live
from natscope.sources.netns import Namespace

pytestmark = pytest.mark.kernel

Run = Callable[..., tuple[int, str, str]]
WEB = "tcp 10.0.0.2:51000 to 198.51.100.9:443"
FORWARD = "tcp 192.0.2.99:4242 to 203.0.113.1:8080"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The lab's box and its rules; nothing is sent through it."""
    with ExitStack() as stack:
        yield stack.enter_context(built())


@pytest.fixture(scope="module")
def bundle(lab: Lab) -> Iterator[Path]:
    """The box in a file that anybody may read.

    Not in pytest's own place: that it closes to others at the start of every session.
    """
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        path = place / "box.json"
        path.write_bytes(bundles.encode(live.collect(lab.box.path)))
        yield path


@pytest.fixture
def explain(bundle: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Asks the box of the bundle; exit code, stdout and stderr."""

    def run(*words: str, box: bool = True) -> tuple[int, str, str]:
        options = ["--bundle", str(bundle)] if box else []
        code = main(["explain", *options, *words])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@dataclass(frozen=True)
class Case:
    """A packet, the stages of its answer in order, and how it ends."""

    id: str
    asked: str
    stages: str
    ends: str
    code: int = 0


CASES = [
    Case(
        "masquerade",
        WEB,
        "arrival conntrack dnat routing snat confirm",
        "FORWARDED out wan as tcp 203.0.113.1:51000 > 198.51.100.9:443 SYN",
    ),
    Case(
        "port forward",
        FORWARD,
        "arrival conntrack dnat routing snat confirm",
        "FORWARDED out lan as tcp 192.0.2.99:4242 > 10.0.0.3:80 SYN",
    ),
    Case(
        "hairpin",
        "tcp 10.0.0.2:5000 to 203.0.113.1:8080",
        "arrival conntrack dnat routing snat confirm",
        "FORWARDED out lan as tcp 10.0.0.1:5000 > 10.0.0.3:80 SYN",
    ),
    Case(
        "redirect",
        "udp 10.0.0.2:5000 to 198.51.100.9:123",
        "arrival conntrack dnat routing confirm",
        "DELIVERED to the box as udp 10.0.0.2:5000 > 10.0.0.1:123",
    ),
    Case(
        "to the box",
        "tcp 192.0.2.99:4242 to 203.0.113.1:22",
        "arrival conntrack dnat routing confirm",
        "DELIVERED to the box as tcp 192.0.2.99:4242 > 203.0.113.1:22 SYN",
    ),
    Case(
        "the box's own",
        "ping 203.0.113.1 to 198.51.100.9",
        "arrival routing conntrack snat confirm",
        "SENT out wan as icmp 203.0.113.1 > 198.51.100.9 echo-request id 1 seq 1",
    ),
    Case(
        "IPv6",
        "tcp [fd00:77::2]:5000 to [2001:db8:51::9]:443",
        "arrival conntrack dnat routing snat confirm",
        "FORWARDED out wan as tcp [2001:db8:113::1]:5000 > [2001:db8:51::9]:443 SYN",
    ),
    Case(
        "INVALID",
        f"{WEB} flags fin/syn",
        "arrival conntrack routing",
        "FORWARDED out wan as tcp 10.0.0.2:51000 > 198.51.100.9:443 SYN/FIN",
    ),
    Case(
        "time to live",
        f"{WEB} ttl 1",
        "arrival conntrack dnat routing",
        "REJECTED: its TTL is used up: the box answers with time exceeded",
        code=1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_packet_is_followed_to_its_end(explain: Run, case: Case) -> None:
    code, out, err = explain(case.asked)
    assert (code, err) == (case.code, "")
    assert re.findall(r"^ ?\d+ (\w+)", out, re.MULTILINE) == case.stages.split()
    assert case.ends in out.splitlines()


def test_the_rule_that_translates_is_named(explain: Run, lab: Lab) -> None:
    _, out, _ = explain(FORWARD)
    assert "ip daddr 203.0.113.1 tcp dport 8080 dnat to 10.0.0.3:80" in out
    document = json.loads(explain("--json", FORWARD)[1])
    (journey,) = document["journeys"]
    (dnat,) = [phase for phase in journey["phases"] if phase["stage"] == "dnat"]
    (visit,) = dnat["visits"]
    listed = lab.run("box", ["nft", "-a", "list", "chain", "ip", "nat", "prerouting"])
    assert f"{visit['rule']} # handle {visit['handle']}\n" in listed
    assert journey["entry"]["reply"]["src"] == "10.0.0.3"


def test_a_rule_has_the_handle_the_box_knows_it_by(explain: Run, lab: Lab) -> None:
    """The twin's own handles begin at 1, whatever was in the box before."""
    chain = ["ip", "nat", "prerouting"]
    other = ["ip daddr 203.0.113.1 tcp dport 8080 dnat to 10.0.0.4:80"]
    lab.run("box", ["nft", "insert", "rule", *chain, *other])
    listed = lab.run("box", ["nft", "-a", "list", "chain", *chain])
    (handle,) = re.findall(r"dnat to 10\.0\.0\.4:80 # handle (\d+)$", listed, re.M)
    try:
        live = explain("--netns", lab.box.path, FORWARD, box=False)
        assert f"# handle {handle}\n" in live[1]
    finally:
        lab.run("box", ["nft", "delete", "rule", *chain, "handle", handle])


def test_the_answer_finds_its_way_back(explain: Run) -> None:
    code, out, _ = explain("--reply", FORWARD)
    assert code == 0
    there, back = out.split("\n\n")[::2]
    assert there.startswith("tcp 192.0.2.99:4242 > 203.0.113.1:8080 SYN, in wan")
    assert back.startswith("tcp 10.0.0.3:80 > 192.0.2.99:4242 SYN/ACK, in lan")
    assert "reply direction" in back
    assert out.splitlines()[-3] == (
        "FORWARDED out wan as tcp 203.0.113.1:8080 > 192.0.2.99:4242 SYN/ACK"
    )


POLICY = (
    "nft add table ip f; nft add chain ip f forward "
    "'{ type filter hook forward priority 0; policy drop; }'"
)


def test_a_change_is_shown_beside_what_was(explain: Run, tmp_path: Path) -> None:
    code, out, _ = explain("--diff", POLICY, WEB)
    assert code == 1
    lines = out.splitlines()
    assert "+ DROPPED: the policy of ip f forward drops it" in lines
    assert lines[-1] == "forwarded → dropped"
    rules = tmp_path / "other.nft"
    rules.write_text("flush ruleset\ntable ip none {\n}\n")
    _, out, _ = explain("--diff", str(rules), WEB)
    assert "- FORWARDED out wan as tcp 203.0.113.1:51000 > 198.51.100.9:443 SYN" in out
    assert "+ FORWARDED out wan as tcp 10.0.0.2:51000 > 198.51.100.9:443 SYN" in out
    _, out, _ = explain("--diff", "true", WEB)
    assert out.splitlines()[-1] == "nothing changes"


def test_a_capture_is_played_packet_by_packet(explain: Run, tmp_path: Path) -> None:
    words = (
        f"{WEB} seq 1",
        f"{WEB} flags ack seq 2 ack 1",
        "udp 10.0.0.2 to 9.9.9.9:53",
    )
    data = b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + bytes(8) + b"\xff\xff\0\0\x65\0\0\0"
    for one in words:
        packet = packets.encode(question.parse(one).packet)
        size = len(packet).to_bytes(4, "little")
        data += bytes(8) + size + size + packet
    path = tmp_path / "some.pcap"
    path.write_bytes(data)
    code, out, err = explain("--pcap", str(path))
    assert (code, err, out.count("FORWARDED out wan")) == (0, "", 3)
    path.write_bytes(data[:-3])
    code, out, err = explain("--pcap", str(path), "in", "lan")
    assert out.count("FORWARDED out wan") == 2
    assert "what came before it is answered" in err


def test_a_flow_of_the_table_is_asked_about(
    netns: Namespace, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words in (
        "ip link add lan type veth peer name lan-peer",
        "ip addr add 10.0.0.1/24 dev lan",
        "ip link set lan up",
        "ip link set lan-peer up",
    ):
        subprocess.run(words.split(), check=True)
    rules = "table ip t {\nchain c {\ntype filter hook input priority 0\nct state new\n}\n}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    ends = "-s 10.0.0.2 -d 10.0.0.1 --sport 53 --dport 4242"
    stock.conntrack("-I", "-p", "udp", *ends.split(), "-t", "60")
    (number,) = re.findall(r"id=(\d+)", "".join(stock.conntrack("-L", "-o", "id")))
    assert main(["explain", "--flow", number]) == 0
    assert "DELIVERED to the box as udp 10.0.0.2:53" in capfd.readouterr().out
    assert main(["explain", "--flows", "--flow", number]) == 0
    assert "NEW still: entry" in capfd.readouterr().out
    assert main(["explain", "--flow", "1"]) == 3
    assert "there is no flow 1" in capfd.readouterr().err
    assert main(["explain", "--flow", "udp and dst port 4242"]) == 0
    assert "DELIVERED to the box as udp 10.0.0.2:53" in capfd.readouterr().out
    box = str(tmp_path / "box.json")
    assert main(["bundle", box, "--flows"]) == 0
    stock.conntrack("-D", "-p", "udp", *ends.split())
    assert main(["explain", "--bundle", box, "--flow", "dst port 4242"]) == 0
    assert "DELIVERED to the box as udp 10.0.0.2:53" in capfd.readouterr().out


def test_a_box_may_be_told_in_files(explain: Run, lab: Lab, tmp_path: Path) -> None:
    told = {
        "addr.json": ["ip", "-j", "-d", "addr"],
        "routes.json": ["ip", "-j", "-d", "route", "show", "table", "all"],
    }
    files = []
    for name, words in told.items():
        (tmp_path / name).write_text(lab.run("box", words))
        files += ["--ip", str(tmp_path / name)]
    rules = tmp_path / "rules.v4"
    rules.write_text(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
        "-A POSTROUTING -o wan -p tcp -j SNAT --to-source 203.0.113.7:2000-2009\nCOMMIT\n"
    )
    code, out, err = explain(*files, "--rules", str(rules), WEB, box=False)
    assert (code, err) == (0, "")
    assert (
        "-A POSTROUTING -o wan -p tcp -j SNAT --to-source 203.0.113.7:2000-2009" in out
    )
    assert re.search(r"FORWARDED out wan as tcp 203.0.113.7:200\d > ", out)


def test_without_the_rules_of_a_box_there_is_no_answer(
    explain: Run, bundle: Path, tmp_path: Path
) -> None:
    whole = bundles.decode(bundle.read_bytes())
    path = tmp_path / "part.json"

    def asked(missing: str) -> tuple[int, str, str]:
        part = replace(whole, rulesets=(), missing=(missing,))
        path.write_bytes(bundles.encode(part))
        return explain("--bundle", str(path), WEB, box=False)

    code, out, err = asked(f"{live.RULES}: Operation not permitted")
    assert (code, out) == (3, "")
    assert f"the rules of the box were not read: {live.RULES}: Operation" in err
    code, out, err = asked("IPsec policies (ip xfrm policy): 2")
    assert (code, err) == (
        0,
        "natscope: not read: IPsec policies (ip xfrm policy): 2\n",
    )
    assert "FORWARDED out wan" in out


@dataclass(frozen=True)
class Mistake:
    """Words that cannot be answered, and what is said of them."""

    id: str
    words: tuple[str, ...]
    code: int
    said: str


MISTAKES = [
    Mistake("no packet", (), 2, "what packet?"),
    Mistake("no such word", ("tcp", "10.0.0.2", "tu", "9.9.9.9:1"), 2, "tu"),
    Mistake("no port", ("tcp 10.0.0.2 to 9.9.9.9",), 2, "port"),
    Mistake("no such interface", (f"{WEB} in eth7",), 3, "lan-carol, lan"),
    Mistake("a change that fails", ("--diff", "nft add nonsense", WEB), 3, "nonsense"),
    Mistake("no such file", ("--rules", "/nowhere", WEB), 3, "/nowhere"),
    Mistake("two boxes", ("--netns", "x", WEB), 2, "--bundle"),
    Mistake("no flows", ("--flow", "tcp"), 3, "natscope bundle --flows FILE has them"),
    Mistake("an odd way", ("--pcap", "x", "by", "foot"), 2, "in INTERFACE, or out"),
]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.id)
def test_a_mistake_is_answered_with_what_to_do(explain: Run, case: Mistake) -> None:
    code, out, err = explain(*case.words)
    assert (code, out) == (case.code, "")
    assert case.said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [b"", b"no capture", bytes(24)])
def test_a_file_that_is_no_capture_answers_nothing(
    explain: Run, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "packets.pcap"
    path.write_bytes(content)
    code, out, err = explain("--pcap", str(path))
    assert (code, out) == (3, "")
    assert f"{path}: magic number" in err


def test_an_ordinary_user_asks_a_bundle(bundle: Path) -> None:
    possible = run_as_nobody("unshare", "-Urn", "true")
    if possible.returncode != 0:
        unavailable(f"no user namespace for an ordinary user: {possible.stderr}")
    natscope = (sys.executable, "-m", "natscope", "explain", "--bundle", str(bundle))
    done = run_as_nobody(*natscope, *FORWARD.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert "FORWARDED out lan as tcp 192.0.2.99:4242 > 10.0.0.3:80 SYN" in done.stdout


def test_the_box_itself_sees_nothing_of_it(explain: Run, lab: Lab) -> None:
    before = lab.run("box", ["nft", "list", "ruleset"])
    explain("--netns", lab.box.path, WEB, box=False)
    assert lab.run("box", ["nft", "list", "ruleset"]) == before
    listed = lab.run("box", ["conntrack", "-L", "-p", "tcp"])
    assert listed == ""
