"""A snapshot in a bundle: kept whole, and redacted with the rest."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_address

from natscope.codec.bundle import decode, encode
from natscope.model.measured import Listener, Measured, Namespace, PortsHeld, Program
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.redaction import redacted
from unit.views.doctor.boxes import Box

LOG = "[   12.000000] IPv4: martian source 203.0.113.77 from 198.51.100.9, on dev wan"
WHOLE = Measured(
    interval_ms=5000,
    count=3,
    limit=100,
    buckets=64,
    stats={"drop": 7},
    rose={"drop": 1},
    counters={"Ip.ForwDatagrams": 9},
    counters_rose={"Ip.ForwDatagrams": 2},
    listeners=(Listener("tcp", ip_address("203.0.113.1"), 443),),
    log=(LOG,),
    nics={"wan": {"rx_dropped": 4}},
    nics_rose={"wan": {"rx_dropped": 0}},
    is_initial=True,
    namespaces=(Namespace("pods", 12),),
    missing=("flows: 203.0.113.9 is not permitted",),
    hits_rose={"ip nat pre 1": 3},
    expectations=2,
    programs=(Program(7, "conntrackd"),),
    unanswered=(4711,),
    ports_before=(
        PortsHeld(ip_address("203.0.113.1"), 6, 0, ip_address("198.51.100.9"), 443, 9),
    ),
)


def test_every_part_is_kept() -> None:
    assert all(getattr(WHOLE, one.name) not in (None, ()) for one in fields(Measured))
    bundle = replace(Box().snapshot.bundle, measured=WHOLE)
    assert decode(encode(bundle)) == bundle
    kept = Snapshot.of(decode(encode(bundle, compressed=True)), None)
    assert (kept.interval_s, kept.rose, kept.count) == (5.0, {"drop": 1}, 3)
    assert kept.missing == WHOLE.missing


def test_what_names_somebody_is_replaced_and_what_counts_is_not() -> None:
    bundle = replace(Box().snapshot.bundle, measured=WHOLE)
    hidden = redacted(bundle, b"key").measured
    assert hidden is not None
    text = encode(redacted(bundle, b"key")).decode()
    for address in ("203.0.113.77", "198.51.100.9", "203.0.113.1", "203.0.113.9"):
        assert f'{address}"' not in text
        assert f"{address} " not in text
    assert hidden.listeners is not None
    assert hidden.listeners[0].port == 443
    named = ("listeners", "log", "missing", "ports_before")
    shown = {name: getattr(WHOLE, name) for name in named}
    assert replace(hidden, **shown) == WHOLE
