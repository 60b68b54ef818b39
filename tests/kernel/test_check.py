"""``natscope check``: cases put to the kernel, and what is told of them."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from conftest import unavailable
from kernel.ordinary import run_as_nobody
from natscope.cli import main
from natscope.codec import bundle as bundles
from natscope.codec.text import cases
from natscope.model.bundle import Bundle, Link, LinkAddress, Route, Ruleset
from natscope.model.cases import OUTCOMES, Expectation
from natscope.rehearse.checking import Checker
from natscope.views.checking import differences, settled

pytestmark = pytest.mark.kernel

Run = Callable[..., tuple[int, str, str]]

RULES = """
table inet box {
  chain raw {
    type filter hook prerouting priority raw; policy accept;
    udp dport 9 notrack
    tcp dport 99 tcp flags syn notrack
  }
  chain marks {
    type filter hook prerouting priority mangle; policy accept;
    meta mark 0x01020304 tcp dport 81 meta mark set 0xa ct mark set 0xb
  }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    tcp dport 22 accept
    tcp dport 99 ct state invalid,untracked synproxy mss 1460 wscale 7
  }
  chain output {
    type filter hook output priority filter; policy accept;
    udp dport 26 reject
    tcp dport 26 reject with tcp reset
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct state invalid drop comment "no such flow"
    iifname "lan" tcp dport 25 reject with tcp reset comment "no mail"
    iifname "lan" udp dport 25 reject
    iifname "lan" accept
    ct status dnat accept
  }
}
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" tcp dport { 80, 443 } dnat to 10.0.0.3
    iifname "wan" tcp dport 8080 counter dnat to 10.0.0.3:80 comment "web"
    iifname "lan" ip daddr 203.0.113.1 tcp dport 8080 dnat to 10.0.0.3:80
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" masquerade
    ct status dnat ip saddr 10.0.0.0/24 masquerade
  }
}
"""
LIMITED = """
table ip limited {
  chain forward {
    type filter hook forward priority filter; policy drop;
    udp dport 53 limit rate 1/hour burst 1 packets accept
  }
}
"""


def _link(number: int, name: str, *addresses: str) -> Link:
    return Link(
        name,
        number,
        True,
        1500,
        mac=f"02:00:00:00:00:{number:02x}",
        addresses=tuple(
            LinkAddress(ip_address(address), int(prefix))
            for address, _, prefix in (one.partition("/") for one in addresses)
        ),
    )


def _box(rules: str) -> Bundle:
    direct = {
        "203.0.113.0/24": "wan",
        "2001:db8:1::/64": "wan",
        "10.0.0.0/24": "lan",
        "2001:db8:2::/64": "lan",
    }
    gateways = {"0.0.0.0/0": "203.0.113.254", "::/0": "2001:db8:1::fe"}
    routes = [
        *(
            Route(ip_network(to), 254, dev=dev, scope="global" if ":" in to else "link")
            for to, dev in direct.items()
        ),
        *(
            Route(ip_network(to), 254, via=ip_address(via), dev="wan")
            for to, via in gateways.items()
        ),
    ]
    return Bundle(
        0,
        links=(
            _link(2, "wan", "203.0.113.1/24", "2001:db8:1::1/64"),
            _link(3, "lan", "10.0.0.1/24", "2001:db8:2::1/64"),
        ),
        routes=tuple(routes),
        sysctls={"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"},
        rulesets=(Ruleset("nft", rules),),
    )


@pytest.fixture(scope="module")
def box() -> Iterator[Path]:
    """A directory anybody may read, with the box in it.

    Not pytest's own: those it closes to others at the start of every session.
    """
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "box.json").write_bytes(bundles.encode(_box(RULES)))
        yield place


@pytest.fixture
def check(box: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Checks cases on the box; exit code, stdout and stderr."""

    def run(
        text: str, *options: str, head: str = 'box = "box.json"'
    ) -> tuple[int, str, str]:
        (box / "cases.toml").write_text(f"{head}\n{text}")
        code = main(["check", str(box / "cases.toml"), *options])
        out, err = capfd.readouterr()
        return code, out, err

    return run


def _case(text: str) -> str:
    """A case from its keys, one a line or parted by semicolons."""
    return "[[case]]\n" + "\n".join(line.strip() for line in text.split(";")) + "\n"


GOOD = {
    "port forward": 'packet = "tcp 192.0.2.9 to 203.0.113.1:8080 in wan"; '
    'expect = "forwarded"; out = "lan"; to = "10.0.0.3:80"; from = "192.0.2.9"; '
    'nat = "dnat"; reply = true; rule = "dport 8080 dnat"; comment = "web"; ct = "new"',
    "masquerade": 'packet = "udp 10.0.0.5:4000 to 9.9.9.9:53 in lan"; '
    'expect = "forwarded"; from = "203.0.113.1:1024-65535"; nat = "snat"; reply = true',
    "hairpin": 'packet = "tcp 10.0.0.5 to 203.0.113.1:8080 in lan"; nat = "both"; '
    'out = "lan"; from = "10.0.0.1"; to = "10.0.0.0/24:80"; reply = true',
    "which way is asked": 'packet = "tcp 10.0.0.5 to 9.9.9.9:443"; out = "wan"',
    "echo": 'packet = "ping 10.0.0.5 to 9.9.9.9 in lan"; reply = true; nat = "snat"',
    "to the box": 'packet = "tcp 192.0.2.9 to 203.0.113.1:22 in wan"; '
    'expect = "delivered"; nat = "none"; to = "203.0.113.1:22"; reply = true',
    "from the box": 'packet = "tcp 203.0.113.1 to 9.9.9.9:443 out"; expect = "sent"; '
    'out = "wan"; reply = true',
    "policy": 'packet = "udp 192.0.2.9 to 10.0.0.3:53 in wan"; expect = "dropped"; '
    'reason = "policy"',
    "reset": 'packet = "tcp 10.0.0.5 to 9.9.9.9:25"; expect = "rejected"; '
    'comment = "no mail"; reason = "rule"',
    "refused": 'packet = "udp 10.0.0.5 to 9.9.9.9:25"; expect = "rejected"',
    "refused, version 6": 'packet = "udp 2001:db8:2::5 to [2001:db8:9::9]:25 in lan"; '
    'expect = "rejected"',
    "version 6": 'packet = "tcp 2001:db8:2::5 to [2001:db8:9::9]:443"; out = "wan"; '
    'nat = "none"; to = "[2001:db8:9::9]:443"; reply = true',
    "invalid": 'packet = "tcp 10.0.0.5 to 9.9.9.9:443 flags rst"; ct = "invalid"; '
    'expect = "dropped"; comment = "no such flow"',
    "untracked": 'packet = "udp 10.0.0.5 to 9.9.9.9:9 in lan"; ct = "untracked"',
    "marks": 'packet = "tcp 10.0.0.5 to 9.9.9.9:81 in lan mark 0x01020304"; '
    'mark = 10; ctmark = "0xb"',
    "no mark": 'packet = "tcp 10.0.0.5 to 9.9.9.9:82 in lan"; mark = 0; ctmark = 0',
    "the last hop": 'packet = "udp 10.0.0.5 to 9.9.9.9:53 ttl 1 in lan"; '
    'expect = "rejected"; reason = "ttl"',
    "its own, refused": 'packet = "udp 203.0.113.1 to 9.9.9.9:26 out"; '
    'expect = "stopped"',
    "its own, reset": 'packet = "tcp 203.0.113.1 to 9.9.9.9:26 out"; '
    'expect = "rejected"',
    "a synproxy answers": 'packet = "tcp 192.0.2.9 to 203.0.113.1:99 in wan"; '
    'expect = "answered"',
    "an answer alone": 'packets = ["udp 10.0.0.5 to 9.9.9.9:53", "reply"]; '
    'out = "lan"; to = "10.0.0.5"; ct = "established"',
}


def test_what_is_as_expected_is_said_to_be(check: Run) -> None:
    text = "".join(_case(f'name = "{name}"; {keys}') for name, keys in GOOD.items())
    code, out, err = check(text)
    assert (code, err) == (0, "")
    told = [line.removeprefix("ok      ") for line in out.splitlines()]
    assert told[:-1] == list(GOOD)
    assert told[-1].startswith(f"{len(GOOD)} cases, all as expected, ")


@dataclass(frozen=True)
class Bad:
    """A case, the key that is not as expected, and what is told."""

    id: str
    keys: str
    told: str


FORWARD = 'packet = "tcp 192.0.2.9 to 203.0.113.1:8080 in wan"; '
BAD = [
    Bad("outcome", FORWARD + 'expect = "dropped"', "expect  expected dropped  got forwarded out lan"),
    Bad("interface", FORWARD + 'out = "wan"', "out  expected wan  got lan"),
    Bad("target", FORWARD + 'to = "10.0.0.4:80"', "to  expected 10.0.0.4:80  got 10.0.0.3:80"),
    Bad("source", FORWARD + 'from = "10.0.0.1"', "from  expected 10.0.0.1  got 192.0.2.9:40000"),
    Bad("translation", FORWARD + 'nat = "none"', "nat  expected none  got dnat"),
    Bad("state", FORWARD + 'ct = "established"', "ct  expected established  got new"),
    Bad("mark", FORWARD + "mark = 7", "mark  expected 0x7  got 0x0"),
    Bad("mark of the entry", FORWARD + "ctmark = 7", "ctmark  expected 0x7  got 0x0"),
    Bad("rule", FORWARD + 'rule = "dport 80 dnat"', "rule  expected dport 80 dnat  got ct status dnat accept"),
    Bad("comment", FORWARD + 'comment = "mail"', "comment  expected mail  got web"),
    Bad("reason", FORWARD + 'reason = "policy"', "reason  expected policy  got forwarded, for nothing stopped it"),
    Bad("reply", FORWARD + "reply = false", "reply  expected stopped  got forwarded out wan"),
    Bad("nothing leaves", 'packet = "udp 192.0.2.9 to 10.0.0.3:53 in wan"; to = "10.0.0.3"', "to  expected 10.0.0.3  got nothing left"),
    Bad("no reply to nothing", 'packet = "udp 192.0.2.9 to 10.0.0.3:53 in wan"; reply = true', "reply  expected accepted  got nothing left that could be answered"),
    Bad("no such interface", 'packet = "udp 192.0.2.9 to 10.0.0.3:53 in dmz"; expect = "dropped"', "packet  expected one that can be sent  got the box has no interface 'dmz' a packet could come in by"),
    Bad("no reply in between", 'packets = ["udp 192.0.2.9 to 10.0.0.3:53 in wan", "reply"]; expect = "dropped"', "packets  expected a reply  got packet 1 did not leave"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_what_is_not_is_shown_beside_what_is_expected(check: Run, bad: Bad) -> None:
    code, out, err = check(_case(bad.keys))
    assert (code, err) == (1, "")
    assert out.startswith("FAILED  ")
    assert f"        {bad.told}\n" in out
    assert "1 case: 1 not as expected, 0 as expected, " in out


def test_the_way_of_what_is_not_as_expected_is_shown(check: Run) -> None:
    _, out, _ = check(_case(FORWARD + 'to = "10.0.0.4:80"'))
    assert "FORWARDED out lan as tcp 192.0.2.9:40000 > 10.0.0.3:80 SYN" in out


def test_of_what_is_as_expected_only_when_asked(check: Run) -> None:
    way = "FORWARDED out lan as tcp"
    assert way not in check(_case(FORWARD + 'to = "10.0.0.3:80"'))[1]
    assert way in check(_case(FORWARD + 'to = "10.0.0.3:80"'), "--verbose")[1]


def test_each_case_begins_with_a_clean_table(check: Run) -> None:
    same = FORWARD + 'ct = "new"; reply = true'
    quick = FORWARD + 'expect = "forwarded"'
    other = 'packet = "tcp 192.0.2.9 to 203.0.113.1:8080 in wan flags ack"; ct = "new"'
    text = "".join(
        _case(f'name = "{at}"; {one}')
        for at, one in enumerate((same, quick, same, other))
    )
    assert check(text)[0] == 0


def test_a_case_may_begin_as_another_ended(check: Run) -> None:
    text = _case(f'name = "opened"; {FORWARD} reply = true')
    text += _case(f'name = "then"; after = "opened"; {FORWARD} ct = "established"')
    assert check(text)[0] == 0


def test_no_entry_stays_behind() -> None:
    text = "".join(_case(keys) for keys in GOOD.values())
    with Checker(_box(RULES), settled) as checker:
        for case in cases.parse(text).cases:
            checker.run(case)
        count = "cat /proc/sys/net/netfilter/nf_conntrack_count"
        assert checker.twin.change(count) == "0\n"


def test_what_is_rejected_many_times_is_answered_each_time(check: Run) -> None:
    many = (
        'packet = "udp 10.0.0.5:{port} to 9.9.9.9:25"; each = { port = "2000-2099" }; '
    )
    code, out, _ = check(_case(f'{many} expect = "rejected"'))
    assert (code, out.count("ok ")) == (0, 100)


@dataclass(frozen=True)
class Rules:
    """Rules, and whether a packet changes what they do to the next."""

    id: str
    rule: str
    remembers: bool


REMEMBERING = [
    Rules("limit", "udp dport 53 limit rate 1/hour burst 1 packets accept", True),
    Rules("set", "udp dport 53 add @seen { ip saddr } accept", True),
    Rules(
        "limited log", 'limit rate 1/hour burst 1 packets log prefix "a drop"', False
    ),
    Rules("nothing", "udp dport 53 accept", False),
]


@pytest.mark.parametrize("case", REMEMBERING, ids=lambda case: case.id)
def test_rules_that_remember_are_known(case: Rules) -> None:
    chain = f"chain c {{ type filter hook forward priority 0; {case.rule}\n}}"
    seen = "set seen { type ipv4_addr; flags dynamic; }"
    with Checker(_box(f"table ip t {{ {seen}\n{chain}\n}}"), None) as checker:
        assert checker.remembers == case.remembers


def test_a_limit_is_unspent_in_every_case(check: Run, box: Path) -> None:
    (box / "limited.nft").write_text(LIMITED)
    many = 'packet = "udp 10.0.0.5:{port} to 9.9.9.9:53"; each = { port = [1, 2, 3] }; '
    rules = ("--rules", str(box / "limited.nft"))
    assert check(_case(f'{many} expect = "forwarded"'), *rules)[0] == 0
    assert check(_case(f'{many} expect = "dropped"'), *rules)[1].count("FAILED") == 3


SOURCES = ["10.0.0.5", "203.0.113.1", "192.0.2.9", "10.0.0.3"]
TARGETS = ["203.0.113.1", "9.9.9.9", "10.0.0.3", "10.0.0.1", "224.0.0.1"]
KINDS = ["tcp {}:{}", "tcp {}:{} flags ack", "udp {}:{} ttl 1", "udp {}:{}", "ping {}"]


def _packets() -> Iterator[str]:
    """Packets that end in every way, each by every way into the box."""
    for kind, source, target in product(KINDS, SOURCES, TARGETS):
        proto, _, rest = kind.partition(" ")
        for port, way in product((22, 25, 8080), ("in wan", "in lan", "out")):
            yield f"{proto} {source} to {rest.format(target, port)} {way}"


def test_untraced_packets_are_never_called_good_where_traced_ones_are_not() -> None:
    asked = [cases.case(words, Expectation(reply="accepted")) for words in _packets()]
    asked = asked[::4]
    asked += cases.parse("".join(map(_case, GOOD.values()))).cases
    wrong, sure = [], 0
    with (
        Checker(_box(RULES), lambda case, seen: True) as quick,
        Checker(_box(RULES), None) as slow,
    ):
        for one in asked:
            case = replace(one, expectation=Expectation(reply="accepted"))
            fast, full = quick.run(case).seen, slow.run(case).seen
            for word, reply in product(OUTCOMES, (None, "accepted", "stopped")):
                expected = Expectation(expect=word, reply=reply)
                case = replace(one, expectation=expected)
                good = settled(case, fast)
                sure += good
                if good and differences(case, full):
                    wrong.append((one.name, word, reply))
    assert wrong == []
    assert sure >= len(asked)


def test_the_command_lines_rules_go_before_the_files(check: Run, box: Path) -> None:
    (box / "bare.nft").write_text(LIMITED)
    bare = check(
        _case(FORWARD + 'expect = "delivered"'), "--rules", str(box / "bare.nft")
    )
    its_own = check(_case(FORWARD + 'expect = "forwarded"'))
    assert (bare[0], its_own[0]) == (0, 0)


def test_some_are_chosen_by_name(check: Run) -> None:
    text = _case('name = "web in"; ' + FORWARD + 'expect = "forwarded"')
    text += _case('name = "mail in"; ' + FORWARD + 'expect = "dropped"')
    code, out, _ = check(text, "--only", "web*")
    assert (code, out.splitlines()[0]) == (0, "ok      web in")


def test_a_harness_reads_tap(check: Run) -> None:
    text = _case('name = "web # 1"; ' + FORWARD + 'to = "10.0.0.3:80"')
    text += _case('name = "mail"; ' + FORWARD + 'to = "10.0.0.4:25"')
    code, out, _ = check(text, "--tap")
    assert code == 1
    assert out.splitlines() == [
        "TAP version 14",
        "1..2",
        "ok 1 - web \\# 1",
        "not ok 2 - mail",
        "  ---",
        "  differences:",
        '    - key: "to"',
        '      expected: "10.0.0.4:25"',
        '      got: "10.0.0.3:80"',
        "  ...",
    ]


def test_a_build_server_reads_junit(check: Run, box: Path) -> None:
    text = _case(FORWARD + 'to = "10.0.0.3:80"') + _case(FORWARD + 'to = "10.0.0.4:25"')
    code, _, _ = check(text, "--junit", str(box / "checks.xml"))
    suite = ET.parse(box / "checks.xml").getroot()[0]
    assert (code, suite.get("tests"), suite.get("failures")) == (1, "2", "1")
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "to: expected 10.0.0.4:25, got 10.0.0.3:80"
    assert "FORWARDED out lan" in (failure.text or "")


def test_a_program_reads_json(check: Run) -> None:
    text = _case(FORWARD + 'to = "10.0.0.3:80"') + _case(FORWARD + 'to = "10.0.0.4:25"')
    code, out, _ = check(text, "--json")
    told = json.loads(out)
    assert (code, told["schema"], told["good"], told["bad"]) == (
        1,
        "natscope.checks/1",
        1,
        1,
    )
    good, bad = told["cases"]
    assert (good["good"], good["journeys"]) == (True, [])
    assert bad["differences"] == [
        {"key": "to", "expected": "10.0.0.4:25", "got": "10.0.0.3:80"}
    ]
    assert bad["journeys"][0]["outcome"] == "forwarded"


def test_what_is_drafted_is_as_expected(
    check: Run, box: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--write", "--bundle", str(box / "box.json")]) == 0
    drafted, _ = capfd.readouterr()
    targets = ["203.0.113.1:80 ", "203.0.113.1:443 ", "203.0.113.1:8080 "]
    assert all(f'name = "tcp {target}to 10.0.0.3:' in drafted for target in targets)
    code, out, _ = check(drafted, head="")
    assert (code, "4 cases, all as expected" in out) == (0, True)


def test_an_ordinary_user_checks_a_file(box: Path) -> None:
    possible = run_as_nobody("unshare", "-Urn", "true")
    if possible.returncode != 0:
        unavailable(f"no user namespace for an ordinary user: {possible.stderr}")
    (box / "nobody.toml").write_text(
        'box = "box.json"\n' + _case(FORWARD + 'to = "10.0.0.3:80"')
    )
    done = run_as_nobody(
        sys.executable, "-m", "natscope", "check", str(box / "nobody.toml")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok      tcp 192.0.2.9 to 203.0.113.1:8080 in wan\n")


EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "check" / "router.toml"


def test_the_example_is_as_expected(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLE)]) == 0
    assert "FAILED" not in capfd.readouterr().out
