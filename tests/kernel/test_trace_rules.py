"""Packets traced by their rules in the lab, and natscope's table gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from conftest import unavailable
from natscope.errors import NamespaceError
from natscope.filter import parse
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.traffic import Traffic
from natscope.model.journey import OWN_TABLES, Hook, Outcome, Sightings
from natscope.sources import tools
from natscope.sources.netns import Namespace
from natscope.trace import watching
from natscope.trace.needles import needles
from natscope.trace.rules import SETTLED_S, Rules
from natscope.views.journey import journey

pytestmark = pytest.mark.kernel

NATSCOPE = (sys.executable, "-m", "natscope", "trace", "--method", "nft")
ALICE, SERVER = network.HOSTS["alice"].v4, network.SERVER_V4
WEB = (network.PUBLIC_V4, 8080)
IPTABLES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p udp -m udp --dport 999 -m comment --comment "not this" -j DROP
COMMIT
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    try:
        with built() as made:
            yield made
    except NamespaceError as error:
        unavailable(f"no private namespace: {error}")


FILTERS = """\
tcp and dst port 443
inside 10.0.0.0/8,fd00::/8
host 10.0.0.1-10.0.0.77
src 2001:db8::/32 and dst port 1-1024,8080 and udp
public 203.0.113.7:41234
icmp or udp
not assured and snat
proto 1,6,17,132 and src port 5 and dst port 6 and src 10.0.0.1 and dst 10.0.0.2
zone 5 and mark 1
outside 192.0.2.0/24,192.0.2.128/25 and port 50-60,55-70
"""


@pytest.mark.parametrize("text", FILTERS.splitlines())
def test_nft_takes_the_rules_of_a_filter(netns: Namespace, text: str) -> None:
    rules = watching.ruleset("natscope_trace_1", needles(parse(text).tree))
    tools.run(["nft", "-f", "-"], stdin=rules)
    listed = tools.run(["nft", "list", "table", "inet", "natscope_trace_1"])
    assert listed.count("jump traced") == rules.count("jump traced")


def packets(
    lab: Lab, filter: str, make: Callable[[Traffic], object]
) -> list[Sightings]:
    """Of a filter, the packets of some traffic; forwarding is done when it is."""
    with Rules(lab.box.path, filter, packets=100) as rules, Traffic(lab) as traffic:
        make(traffic)
        found = rules.read(all=True)
        assert rules.lost == 0
    return found


def web_of_alice(traffic: Traffic) -> None:
    traffic.tcp("alice", (SERVER, 443), network.WORLD, (SERVER, 443))


def web_of_bob(traffic: Traffic) -> None:
    traffic.tcp(network.WORLD, WEB, "bob", ("", 80), network.VISITOR_V4)


def ends(found: list[Sightings]) -> set[tuple[str, str]]:
    """Source and destination of packets as they came."""
    firsts = [seen.visits[0].packet for seen in found]
    return {(str(p.src), str(p.dst)) for p in firsts if p is not None}


@pytest.mark.parametrize(
    "filter",
    [
        f"inside {ALICE}",
        f"src {ALICE} and dst port 443",
        f"outside {SERVER}",
        f"public {network.PUBLIC_V4} and dst port 443",
        "snat and tcp",
    ],
)
def test_both_directions_are_traced_before_and_after_translation(
    lab: Lab, filter: str
) -> None:
    def all_of_it(traffic: Traffic) -> None:
        web_of_alice(traffic)
        web_of_bob(traffic)

    found = packets(lab, filter, all_of_it)
    assert ends(found) == {(ALICE, SERVER), (SERVER, network.PUBLIC_V4)}
    assert {journey(seen).outcome for seen in found} == {Outcome.FORWARDED}


def test_an_answer_with_another_port_is_found_by_its_entry(lab: Lab) -> None:
    found = packets(lab, "dst port 8080", web_of_bob)
    bob = network.HOSTS["bob"].v4
    assert ends(found) == {
        (network.VISITOR_V4, network.PUBLIC_V4),
        (bob, network.VISITOR_V4),
    }


def test_ipv6_is_traced_like_ipv4(lab: Lab) -> None:
    def both(traffic: Traffic) -> None:
        web = (network.PUBLIC_V6, 8080)
        traffic.tcp(network.WORLD, web, "bob", ("", 80), network.VISITOR_V6)
        traffic.tcp(
            "alice", (network.SERVER_V6, 80), network.WORLD, (network.SERVER_V6, 80)
        )

    found = packets(lab, "ip6 and dst port 8080", both)
    bob = network.HOSTS["bob"].v6
    assert ends(found) == {
        (network.VISITOR_V6, network.PUBLIC_V6),
        (bob, network.VISITOR_V6),
    }
    assert {journey(seen).outcome for seen in found} == {Outcome.FORWARDED}


def test_a_rule_that_is_made_meanwhile_is_named_too(lab: Lab) -> None:
    late = """table inet late {
        chain c { type filter hook forward priority 1; policy accept;
            udp dport 997 counter drop
        }
    }"""
    with Rules(lab.box.path, "udp") as rules, Traffic(lab) as traffic:
        lab.run(network.BOX, ["nft", "-f", "-"], stdin=late)
        traffic.udp("alice", (network.BLACK_HOLE_V4, 997))
        (seen,) = rules.read(all=True)
    lab.run(network.BOX, ["nft", "delete", "table", "inet", "late"])
    drop = seen.visits[-1].rule
    assert drop is not None
    assert drop.text == "udp dport 997 counter drop"


def test_packets_come_in_the_order_of_the_kernel(lab: Lab) -> None:
    found = packets(lab, "dst port 8080", web_of_bob)
    flags = [seen.visits[0].packet for seen in found][:3]
    assert [p.tcp_flags for p in flags if p is not None] == [2, 18, 16]


def test_the_rule_that_translated_is_named(lab: Lab) -> None:
    syn = packets(lab, "dst port 8080", web_of_bob)[0]
    texts = [v.rule.text for v in syn.visits if v.rule is not None]
    assert "ip daddr 203.0.113.1 tcp dport 8080 dnat to 10.0.0.3:80" in texts
    assert syn.before is None
    assert syn.after is not None
    assert str(syn.after.reply.src) == network.HOSTS["bob"].v4


def test_a_packet_for_the_box_is_delivered_and_its_answer_sent(lab: Lab) -> None:
    def redirected(traffic: Traffic) -> None:
        traffic.udp("alice", (network.SECOND_V4, 123), network.BOX, ("", 123))

    asked, answered = packets(lab, "udp and dst port 123", redirected)
    assert journey(asked).outcome is Outcome.DELIVERED
    assert journey(answered).outcome is Outcome.SENT
    assert answered.visits[0].base.hook is Hook.OUTPUT


@pytest.mark.skipif(tools.find("iptables-nft-restore") is None, reason="needs iptables")
def test_a_drop_by_iptables_is_told_in_its_own_words(lab: Lab) -> None:
    lab.run(network.BOX, ["iptables-nft-restore"], stdin=IPTABLES)
    try:
        (seen,) = packets(
            lab, "udp", lambda t: t.udp("alice", (network.BLACK_HOLE_V4, 999))
        )
    finally:
        lab.run(network.BOX, ["nft", "delete", "table", "ip", "filter"])
    found = journey(seen)
    assert found.outcome is Outcome.DROPPED
    assert found.by is not None
    assert found.by.rule is not None
    assert found.by.rule.tool == "iptables-nft"
    assert found.by.rule.text == (
        '-A FORWARD -p udp -m udp --dport 999 -m comment --comment "not this" -j DROP'
    )


LEGACY = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:LIMITS - [0:0]
-A FORWARD -p udp -j LIMITS
-A LIMITS -p udp -m udp --dport 998 -j DROP
COMMIT
"""


@pytest.mark.skipif(
    tools.find("iptables-legacy-restore") is None, reason="needs iptables"
)
def test_rules_of_iptables_legacy_stand_among_those_of_nft() -> None:
    # a namespace of its own: tables of iptables-legacy stay once they are made
    with built() as lab:
        lab.run(network.BOX, ["iptables-legacy-restore"], stdin=LEGACY)
        (dropped,) = packets(
            lab, "udp", lambda t: t.udp("alice", (network.BLACK_HOLE_V4, 998))
        )
        passed = packets(
            lab, "udp", lambda t: t.udp("alice", (network.BLACK_HOLE_V4, 53))
        )[0]
    told = [v.rule.text for v in dropped.visits if v.rule and "legacy" in v.rule.tool]
    assert told == [
        "-A FORWARD -p udp -j LIMITS",
        "-A LIMITS -p udp -m udp --dport 998 -j DROP",
    ]
    assert journey(dropped).outcome is Outcome.DROPPED
    assert journey(passed).outcome is Outcome.FORWARDED
    policy = [v for v in passed.visits if v.base.table == "filter" and v.is_policy]
    assert [(v.chain.name, v.verdict.name) for v in policy] == [("FORWARD", "ACCEPT")]


def test_a_packet_is_through_when_nothing_more_is_told_of_it(lab: Lab) -> None:
    now = [0.0]
    with Rules(lab.box.path, "udp", clock=lambda: now[0]) as rules:
        with Traffic(lab) as traffic:
            traffic.udp("alice", (network.BLACK_HOLE_V4, 7))
        assert rules.read() == []
        now[0] += SETTLED_S
        assert rules.read() == []
        now[0] += SETTLED_S
        assert len(rules.read()) == 1


def test_there_are_enough_when_as_many_have_come_as_were_asked_for(lab: Lab) -> None:
    with Rules(lab.box.path, "tcp", packets=2) as rules, Traffic(lab) as traffic:
        web_of_alice(traffic)
        assert len(rules.read(all=True)) == 2
        assert rules.is_done


def own_tables(lab: Lab) -> list[str]:
    lines = lab.run(network.BOX, ["nft", "list", "tables"]).splitlines()
    return [line.split()[-1] for line in lines if OWN_TABLES in line]


def test_the_table_is_gone_at_the_end(lab: Lab) -> None:
    with Rules(lab.box.path, "tcp") as rules:
        assert own_tables(lab) == [rules.name]
    assert own_tables(lab) == []


def test_the_table_is_gone_after_an_error(lab: Lab) -> None:
    with pytest.raises(ZeroDivisionError), Rules(lab.box.path, "tcp"):
        _ = 1 / 0
    assert own_tables(lab) == []


def test_closing_is_no_error_when_somebody_has_flushed_the_ruleset(
    netns: Namespace,
) -> None:
    with Rules():
        tools.run(["nft", "flush", "ruleset"])
    assert tools.run(["nft", "list", "tables"]) == ""


def command(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """The command at work in the box, its table made."""
    where = lab.box.path
    made = subprocess.Popen(
        [*NATSCOPE, "--netns", where, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[int(where.rpartition("/")[2])],
    )
    until = time.monotonic() + 20
    while not any(f"_{made.pid}_" in name for name in own_tables(lab)):
        assert made.poll() is None
        assert time.monotonic() < until
    return made


def test_the_command_shows_packets_and_events(lab: Lab) -> None:
    running = command(lab, "--count", "2", "--for", "20s", f"inside {ALICE}")
    with Traffic(lab) as traffic:
        traffic.udp("alice", (SERVER, 53), network.WORLD, (SERVER, 53))
        out, error = running.communicate(timeout=20)
    assert (running.returncode, error) == (0, "")
    assert f"udp {ALICE}:" in out
    assert 'oifname "wan" ip saddr 10.0.0.0/24 masquerade' in out
    assert out.count("FORWARDED out") == 2
    assert "opened" in out
    assert own_tables(lab) == []


def test_the_command_gives_one_json_object_a_packet(lab: Lab) -> None:
    running = command(lab, "--ndjson", "--count", "1", "--for", "20s", "icmp")
    with Traffic(lab) as traffic:
        traffic.ping("alice", SERVER, 77)
    out, error = running.communicate(timeout=20)
    assert (running.returncode, error) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    (told,) = (one for one in lines if "outcome" in one)
    assert (told["outcome"], told["reason"]) == ("forwarded", None)
    assert {one["event"] for one in lines if one is not told} <= {"new", "update"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_table_is_gone_when_the_command_is_stopped(
    lab: Lab, number: signal.Signals
) -> None:
    running = command(lab)
    os.kill(running.pid, number)
    running.communicate(timeout=20)
    assert own_tables(lab) == []


def test_a_table_that_somebody_else_removes_is_missed(lab: Lab) -> None:
    running = command(lab, "--for", "20s")
    (name,) = own_tables(lab)
    lab.run(network.BOX, ["nft", "delete", "table", "inet", name])
    running.terminate()
    _, error = running.communicate(timeout=20)
    assert running.returncode == 4
    assert "somebody flushed the ruleset" in error


def test_what_a_killed_command_left_is_swept_at_the_next_start(lab: Lab) -> None:
    running = command(lab)
    running.kill()
    running.communicate(timeout=20)
    (left,) = own_tables(lab)
    assert f"_{running.pid}_" in left
    with Rules(lab.box.path) as rules:
        assert own_tables(lab) == [rules.name]


def test_another_process_keeps_its_table(lab: Lab) -> None:
    running = command(lab)
    with Rules(lab.box.path):
        assert len(own_tables(lab)) == 2
    running.terminate()
    running.communicate(timeout=20)
