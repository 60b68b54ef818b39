"""Who is behind a public endpoint."""

from __future__ import annotations

from dataclasses import replace

from natscope.views.who import Host, answers, name_hosts, record, sentences, show
from unit.views.test_listing import BOX, FORWARD, HAIRPIN, PLAIN, SIX, WEB, one


def test_behind_a_translated_source_is_the_inside_host() -> None:
    (answer,) = answers([([WEB, PLAIN], BOX)])
    assert (show(answer.host, answer.proto), show(answer.public, answer.proto)) == (
        "10.0.0.2:50000",
        "203.0.113.7:50000",
    )
    assert (answer.since_ns, answer.total("reply_bytes")) == (1_880 * 10**9, 1_200_000)


def test_behind_a_port_forward_is_its_target_from_outside_and_inside() -> None:
    found = answers([([FORWARD, HAIRPIN], BOX)])
    assert [show(a.host, a.proto) for a in found] == ["10.0.0.3:80", "10.0.0.3:80"]
    assert [show(end, a.proto) for a in found for end in a.outside] == [
        "192.0.2.99:4242",
        "10.0.0.2:50003",
    ]


def test_flows_of_one_host_through_one_port_are_one_answer() -> None:
    other = replace(
        WEB,
        orig=one("10.0.0.2:50000>198.51.100.10:443"),
        reply=one("198.51.100.10:443>203.0.113.7:50000"),
        start_ns=1_000 * 10**9,
    )
    (answer,) = answers([([WEB, other], BOX)])
    assert (len(answer.flows), answer.since_ns) == (2, 1_000 * 10**9)
    assert record(answer)["orig_bytes"] == 2_000


def test_the_end_is_told_where_all_flows_have_ended() -> None:
    ended = replace(WEB, stop_ns=1_900 * 10**9)
    (gone,) = answers([([ended], BOX)])
    (open_still,) = answers([([ended, WEB], BOX)])
    assert (gone.until_ns, open_still.until_ns) == (1_900 * 10**9, None)
    assert "  until    1970-01-01 00:31:40 UTC" in sentences(gone)


def test_what_the_box_knows_of_a_host_is_said() -> None:
    (answer,) = answers([([WEB], BOX)])
    name_hosts([answer], {answer.host.address: Host("02:00:00:00:00:02", "laptop")})
    assert sentences(answer) == [
        "10.0.0.2:50000 tcp  laptop  mac 02:00:00:00:00:02",
        "  public   203.0.113.7:50000 (source translated)",
        "  outside  198.51.100.9:443",
        "  since    1970-01-01 00:31:20 UTC",
        "  sent     1000 B, received 1200000 B",
    ]


def test_what_is_not_known_is_left_out() -> None:
    (answer,) = answers([([SIX], BOX)])
    assert "since_ns" not in record(answer)
    assert sentences(answer)[0] == "[fd00::2]:50000 tcp"
