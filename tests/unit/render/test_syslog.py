"""NAT sessions as syslog lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.render import syslog
from natscope.render.syslog_frames import Counted, Datagrams, Lines, pieces
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from unit.render.test_ipfix import GONE, NEW, NOW, PING, PLAIN, V6

SENDER = syslog.Sender("gw1", 77)
HEAD = "<134>1 2026-11-21T02:34:53.000000Z gw1 NAT 77"


def events(kind: EventKind, *flows: Flow, **more: Any) -> Events:
    kinds = np.full(len(flows), kind, np.uint8)
    return Events(FlowTable.from_flows(flows), kinds, received_ns=NOW, **more)


def test_a_session_that_begins_names_both_tuples() -> None:
    assert syslog.sessions(events(EventKind.NEW, NEW), SENDER).decode() == (
        f'{HEAD} SADD [nsess SSUBIX="0" IATYP="IPv4" ISADDR="10.0.0.2" ISPORT="50000" '
        'IDADDR="198.51.100.9" IDPORT="443" XATYP="IPv4" XSADDR="203.0.113.7" '
        'XSPORT="1024" XDADDR="198.51.100.9" XDPORT="443" PROTO="6"]\n'
    )


def test_a_session_that_ended_tells_what_it_carried_at_the_time_it_stopped() -> None:
    (line,) = syslog.sessions(events(EventKind.DESTROY, GONE), SENDER).splitlines()
    assert line.startswith(
        b"<134>1 2026-11-21T02:34:52.000000Z gw1 NAT 77 SDEL [nsess "
    )
    assert line.endswith(
        b'PROTO="6"] start=2026-11-21T02:33:53.000000Z orig_packets=6 orig_bytes=397 '
        b"reply_packets=5 reply_bytes=1099511627776"
    )


def test_what_a_flow_has_not_is_left_out_in_a_batch_of_all_sorts() -> None:
    batch = events(EventKind.NEW, NEW, replace(PING, zone=9), V6)
    nat, ping, six = syslog.sessions(batch, SENDER).decode().splitlines()
    assert 'SSUBIX="9"' in ping
    assert 'ISPORT="4711"' in ping
    assert 'XSPORT="9"' in ping
    assert "DPORT" not in ping
    assert 'XATYP="IPv6" XSADDR="2001:db8:ffff::7" XSPORT="50000"' in six
    assert nat.count("PORT=") == six.count("PORT=") == 4


@pytest.mark.parametrize("kind", [EventKind.UPDATE, EventKind.NEW])
def test_no_nat_session_no_line(kind: EventKind) -> None:
    flow = NEW if kind == EventKind.UPDATE else PLAIN
    assert syslog.sessions(events(kind, flow), SENDER) == b""


def test_messages_stand_in_lines_one_for_one() -> None:
    batch = events(EventKind.UPDATE, NEW, PLAIN)
    assert syslog.with_messages(batch, SENDER, [b"a", b"b"]).decode() == (
        f"{HEAD} SUPD - a\n{HEAD} SUPD - b\n"
    )


def test_a_loss_is_a_line_of_its_own_and_a_warning() -> None:
    told = syslog.loss(312, NOW, SENDER).decode()
    assert told == f"<132>{HEAD[5:]} LOSS - 312 events lost\n"


def test_lines_are_cut_between_lines() -> None:
    text = b"".join(b"%d %s\n" % (n, b"x" * 300) for n in range(1000))
    cut = list(pieces(text))
    assert b"".join(piece.text for piece in cut) == text
    assert sum(piece.flows for piece in cut) == 1000
    assert all(piece.text.endswith(b"\n") for piece in cut)


def test_a_line_longer_than_a_piece_stays_whole() -> None:
    text = b"x" * 100_000 + b"\n" + b"y\n"
    assert [piece.text for piece in pieces(text)] == [text[:100_001], b"y\n"]


def test_frames_count_octets_and_datagrams_are_lines() -> None:
    lines = Lines(b"one\ntwelve\n", 2)
    assert Counted().wrap(lines, NOW) == [b"3 one6 twelve"]
    assert Datagrams().wrap(lines, NOW) == [b"one", b"twelve"]


def test_the_start_of_a_session_is_left_out_where_nobody_knows_it() -> None:
    gone = replace(GONE, start_ns=None)
    assert b"start=" not in syslog.sessions(events(EventKind.DESTROY, gone), SENDER)
