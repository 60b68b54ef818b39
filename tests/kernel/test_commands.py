"""The commands as a user types them, against the real kernel."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from bench.fill import fill

from kernel import stock
from natscope.sources.netns import Namespace

pytestmark = pytest.mark.kernel

NATSCOPE = (sys.executable, "-m", "natscope")


def natscope(
    *words: str, stdin: str | None = None, code: int = 0, **environment: str
) -> str:
    """What a command prints; its exit code must be the expected one."""
    done = run(*words, stdin=stdin, **environment)
    assert done.returncode == code, done.stderr
    return done.stdout


def run(
    *words: str, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NATSCOPE, *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def flows(netns: Namespace) -> Namespace:
    """A namespace whose table holds every flow of stock.INSERTS."""
    stock.insert_all()
    return netns


def parts(output: str) -> list[tuple[str, ...]]:
    """(kind, inside, public, outside, target) of every object, sorted."""

    def shown(row: dict[str, dict[str, object]], name: str) -> str:
        end = row.get(name)
        return "-" if end is None else ":".join(str(part) for part in end.values())

    rows = [json.loads(line) for line in output.splitlines()]
    names = ("inside", "public", "outside", "target")
    return sorted((row["kind"], *(shown(row, name) for name in names)) for row in rows)


TRANSLATIONS = [
    ("d", "10.0.0.3:80", "203.0.113.7:8080", "192.0.2.99:4242", "10.0.0.3:80"),
    ("h", "10.0.0.2:50003", "203.0.113.7:8080", "-", "10.0.0.3:80"),
    ("s", "10.0.0.2", "203.0.113.7", "198.51.100.9", "-"),
    ("s", "10.0.0.2:1", "203.0.113.7:1", "198.51.100.9:2", "-"),
    ("s", "10.0.0.2:17", "203.0.113.7:17", "198.51.100.9:119", "-"),
    ("s", "10.0.0.2:50000", "203.0.113.7:50000", "198.51.100.9:443", "-"),
    ("s", "10.0.0.2:50001", "203.0.113.7:1024", "198.51.100.9:443", "-"),
    ("s", "10.0.0.2:77", "203.0.113.7:77", "198.51.100.9", "-"),
    ("s", "fd00::2:50000", "2001:db8:ffff::7:50000", "2001:db8::9:443", "-"),
]


def test_every_translation_is_listed_as_people_think_of_it(flows: Namespace) -> None:
    assert parts(natscope("list", "--ndjson")) == TRANSLATIONS


@pytest.mark.parametrize("form", ["", "extended", "id", "xml", "ktimestamp"])
def test_a_saved_listing_gives_what_the_live_box_gave(
    flows: Namespace, form: str
) -> None:
    saved = stock.conntrack("-L", *(("-o", form) if form else ()))
    listed = natscope("list", "-", "--ndjson", stdin="\n".join(saved) + "\n")
    expected: list[tuple[str, ...]] = list(TRANSLATIONS)
    if form == "xml":  # which prints nothing of ICMP beside the protocol
        expected = sorted(
            tuple(end.removesuffix(":77") for end in row) for row in TRANSLATIONS
        )
    assert parts(listed) == expected


def test_text_is_aligned_and_quiet_in_a_pipe(flows: Namespace) -> None:
    heading, *lines = natscope("list").splitlines()
    assert heading.split()[:4] == ["PROTO", "INSIDE", "PUBLIC", "OUTSIDE"]
    assert len(lines) == len(TRANSLATIONS)
    column = heading.index("PUBLIC")
    assert all(line[column - 1] == " " != line[column] for line in lines)
    assert "\x1b" not in heading


def test_all_shows_the_whole_table(flows: Namespace) -> None:
    listed = natscope("list", "--all", "--no-headers").splitlines()
    assert len(listed) == len(stock.INSERTS) == int(natscope("count"))


def test_a_filter_chooses_among_them(flows: Namespace) -> None:
    assert int(natscope("count", "dst", "port", "443")) == 3
    assert int(natscope("count", "tcp and not snat")) == 1
    assert int(natscope("count", "zone", "7")) == 1
    assert int(natscope("count", "ip6", "and", "udp")) == 1
    assert parts(natscope("list", "hairpin", "--ndjson")) == [TRANSLATIONS[1]]


def test_options_may_stand_between_the_words_of_a_filter(flows: Namespace) -> None:
    listed = natscope("list", "tcp", "--ndjson", "and", "public", "port", "1024")
    assert parts(listed) == [TRANSLATIONS[6]]


def test_who_names_the_host_behind_a_public_port(flows: Namespace) -> None:
    document = json.loads(natscope("who", "203.0.113.7:1024/tcp", "--json"))
    (answer,) = document["answers"]
    assert answer["host"] == {"address": "10.0.0.2", "port": 50001}
    forward = natscope("who", "203.0.113.7:8080")
    assert forward.count("10.0.0.3:80 tcp") == 2
    assert natscope("who", "203.0.113.9:1", code=1) == ""


def test_counting_by_columns_puts_the_most_first(flows: Namespace) -> None:
    rows = natscope("count", "--by", "proto", "--csv").splitlines()
    assert rows[0].startswith("proto,flows")
    counts = [int(row.split(",")[1]) for row in rows[1:]]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == len(stock.INSERTS)


def test_stats_tell_entries_limit_and_every_counter(flows: Namespace) -> None:
    document = json.loads(natscope("stats", "--json"))
    assert document["entries"] == len(stock.INSERTS)
    assert document["limit"] >= document["entries"]
    stock_names = {w.split("=")[0] for w in stock.conntrack("-S")[0].split()[1:]}
    assert stock_names == document["counters"].keys() | {"cpu"} - {"cpu"}
    inserted = sum(cpu["insert"] for cpu in document["cpus"])
    assert document["counters"]["insert"]["total"] == inserted
    changed = natscope("stats", "--interval", "0.1")
    assert "CHANGE" in changed


@pytest.fixture
def named(netns: Namespace) -> Iterator[tuple[str, str]]:
    """Two named namespaces: a router, and the server it forwards to."""
    names = [f"natscope-{os.getpid()}-{part}" for part in ("router", "server")]
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=True)


def test_every_named_namespace_is_read_as_its_own_box(named: tuple[str, str]) -> None:
    router, server = named
    inside = ["ip", "netns", "exec", router, "conntrack", "-I"]
    forward = "-p tcp -s 192.0.2.9 -d 203.0.113.7 --sport 1 --dport 80 -g 192.168.50.10"
    words = [*forward.split(), "--state", "ESTABLISHED", "-t", "100"]
    subprocess.run([*inside, *words], check=True, capture_output=True)
    own = ["ip", "-n", server, "addr", "add", "192.168.50.10/24", "dev", "lo"]
    subprocess.run(own, check=True)
    rows = [
        json.loads(x) for x in natscope("list", "--all-netns", "--ndjson").splitlines()
    ]
    # the server's address is not the router's: no redirect
    kinds = [row["kind"] for row in rows if row["netns"] == router]
    assert kinds == ["d"]
    assert natscope("count", "--all-netns", f"redirect and netns {router}") == "0\n"
    assert len(natscope("list", "--netns", router, "--ndjson").splitlines()) == 1
    answered = json.loads(natscope("who", "203.0.113.7:80", "--all-netns", "--json"))
    assert [a["netns"] for a in answered["answers"]] == [router]


@pytest.mark.parametrize("command", [("who", "203.0.113.7"), ("stats",), ("count",)])
def test_short_answers_come_in_every_format(
    flows: Namespace, command: tuple[str, ...]
) -> None:
    assert json.loads(natscope(*command, "--json"))["schema"].startswith("natscope.")
    rows = [json.loads(line) for line in natscope(*command, "--ndjson").splitlines()]
    for form, separator in (("--csv", ","), ("--tsv", "\t")):
        lines = natscope(*command, form).splitlines()
        shown = list(csv.DictReader(lines, delimiter=separator))
        assert len(shown) == len(rows)
        assert set(rows[0]) - {"cpu"} <= set(shown[0])


def test_proc_gives_what_netlink_gives(flows: Namespace) -> None:
    kinds = natscope("list", "--csv", "--columns", "kind,inside", "--sort", "inside")
    assert (
        natscope(
            "list", "--proc", "--csv", "--columns", "kind,inside", "--sort", "inside"
        )
        == kinds
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("lisst",), 2, "did you mean list"),
        (("list", "dst", "prot", "443"), 2, "^^^^"),
        (("list", "--columns", "insde"), 2, "inside"),
        (("list", "--limit", "-3"), 2, "--limit"),
        (("list", "--netns", "nowhere"), 3, "nowhere"),
        (("list", "/nonexistent/file.txt"), 2, "file.txt"),
        (("list", "--read", "/nonexistent/file.txt"), 3, "file.txt"),
        (("help", "nothing"), 2, "one of: filter"),
        (("list", "nosuch.txt"), 2, "no such file"),
        (("list", "--columns", ","), 2, "no column"),
        (("list", "--netns", ""), 2, "--netns"),
        (("list", "--watch", "nan"), 2, "--watch"),
        (("list", "--group-by", "proto", "--columns", "proto"), 2, "choose"),
        (("stats", "--interval", "nan"), 2, "--interval"),
        (("who", "203.0.113.7/"), 2, "whose"),
        (("count", " or ".join(["port 1"] * 100) + " or port x"), 2, "port x"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(
    netns: Namespace, words: tuple[str, ...], code: int, said: str
) -> None:
    done = run(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_reader_that_leaves_ends_the_listing_quietly(netns: Namespace) -> None:
    fill(20_000)
    piped = subprocess.Popen(
        [*NATSCOPE, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert piped.stdout is not None
    assert piped.stderr is not None
    piped.stdout.readline()
    piped.stdout.close()
    assert piped.stderr.read() == b""
    piped.stderr.close()
    assert piped.wait() != 0


def test_a_full_disk_is_an_error(netns: Namespace) -> None:
    fill(10)
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [*NATSCOPE, "list"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert b"No space left" in done.stderr


def test_the_wire_is_printed_on_request(flows: Namespace) -> None:
    done = run("list", NATSCOPE_DEBUG="wire")
    assert "CTA_TUPLE_ORIG" in done.stderr
    assert "sent 20 bytes" in done.stderr
    assert "CTA_TUPLE_ORIG" not in done.stdout


def test_an_empty_table_gives_a_heading_and_valid_json(netns: Namespace) -> None:
    assert len(natscope("list").splitlines()) == 1
    assert json.loads(natscope("list", "--json"))["flows"] == []


def test_without_the_capability_the_refusal_names_it(netns: Namespace) -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *NATSCOPE, "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "CAP_NET_ADMIN" in done.stderr


def test_watching_shows_one_listing_after_the_other(flows: Namespace) -> None:
    watching = subprocess.Popen(
        [*NATSCOPE, "list", "--watch", "0.2", "--columns", "inside,rate"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    headings = 0
    for line in watching.stdout:
        headings += line.startswith("INSIDE")
        if headings == 3:
            break
    watching.terminate()
    watching.communicate()
    assert headings == 3


@pytest.mark.parametrize(
    ("closed", "words", "code"),
    [
        (">&-", "list", 3),
        ("2>&-", "list bogus", 2),
        ("<&-", "list -", 3),
        (">&-", "count", 3),
    ],
)
def test_a_closed_stream_is_no_traceback(
    flows: Namespace, closed: str, words: str, code: int
) -> None:
    command = f"{sys.executable} -m natscope {words} {closed}"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_csv_is_read_back_by_a_csv_reader(flows: Namespace) -> None:
    rows = list(csv.reader(natscope("list", "--all", "--csv").splitlines()))
    assert {len(row) for row in rows} == {len(rows[0])}
    flags = rows[0].index("flags")
    assert any("," in row[flags] for row in rows[1:])


def test_zones_of_one_direction_are_shown(flows: Namespace) -> None:
    heading = natscope("list", "--all").splitlines()[0].split()
    assert {"ZONE", "ORIG-ZONE"} <= set(heading)
