"""Filters as programs on a socket: what the kernel lets through, on real events."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import numpy as np
import pytest

from conftest import unavailable
from kernel import crowd
from natscope import uapi
from natscope.actions import plan
from natscope.codec.events import decode_events
from natscope.errors import NamespaceError
from natscope.filter import parse
from natscope.filter.socket_program import is_exact
from natscope.lab.build import built
from natscope.lab.traffic import Traffic, happen
from natscope.model.event import EventKind
from natscope.model.evidence import Evidence
from natscope.model.expectation import Expectation
from natscope.model.flow import Flow
from natscope.model.nat import Kind
from natscope.model.tuples import FlowTuple
from natscope.sources import expectations
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.sources.subscription import SLOT, Subscription
from natscope.table.events import Events
from natscope.table.nat import translations

pytestmark = pytest.mark.kernel

TERMS = (
    *("ip", "ip6", "tcp", "udp", "icmp", "icmp6", "gre", "sctp", "proto 89"),
    *("proto 6-40", "src 10.0.0.2", "dst 10.0.0.0/31", "host 203.0.113.7"),
    *("net 10.0.0.0/0xff0000fe", "reply-dst 198.51.100.0/24", "src fd00::/16"),
    *("reply-src 2001:db8::9", "dst 2001:db8::1-2001:db8:ffff::7", "host ::/1"),
    *(
        "host fd00::2/0xfd00000000000000000000000000ffff",
        "src or dst 10.0.0.3",
        "port 53",
        "dst port 80,443",
    ),
    *("src port 5000-65535", "reply-dst port 1024", "port > 443", "port < 100"),
    *("dst 203.0.113.7:80", "src 10.0.0.2:key=80", "icmp-id 1-100", "gre-key 443"),
    *("icmp-type 8", "icmp-type echo-request", "icmp-code 0", "orig_dport 53-80"),
    *("zone 0", "zone 7", "zone 7,9", "snat", "dnat", "nat", "portonly", "kind s"),
    *("kind d,r", "kind sd,h", "kind -", "changed-src", "changed-dport", "src_nat"),
    *("inside 10.0.0.2", "public 203.0.113.7", "outside 198.51.100.9"),
    *("target 10.0.0.0/8", "public fd00::/16", "inside port 80", "dst_nat"),
    *("mark 5", "assured", "state established", "helper ftp", "timeout > 1h"),
)


def texts(chance: random.Random, count: int) -> Iterator[str]:
    """Filters of one to four terms."""
    for _ in range(count):
        text = chance.choice(TERMS)
        for _ in range(chance.randrange(4)):
            left = chance.choice(("", "not ")) + f"({text})"
            right = chance.choice(("", "not ")) + chance.choice(TERMS)
            text = f"{left} {chance.choice(('and', 'or'))} {right}"
        yield text


def read(subscription: Subscription) -> list[bytes]:
    """The datagrams that are there."""
    found = []
    while (batch := subscription.receive()).lengths:
        assert batch.lost == 0
        for slot, length in enumerate(batch.lengths):
            found.append(bytes(batch.buffer[slot * SLOT : slot * SLOT + length]))
    return found


def make_events(seed: int, count: int) -> None:
    """NEW, UPDATE and DESTROY of flows of every sort."""
    with Kernel() as kernel:
        plan.insert(kernel, crowd.flows(seed, count)).run()
        entries, _ = kernel.count()
        assert plan.update(kernel, "id >= 0", {"mark": 77}).run().done == entries
        assert plan.flush(kernel).run().done == entries


class Listeners:
    """One subscription to everything, and one for each filter."""

    def __init__(self, filters: list[str], where: Namespace) -> None:
        self._stack = ExitStack()
        wanted = [parse(text) for text in filters]
        programs = [(one, one.socket_program()) for one in wanted]
        self._filtered = [
            (one, self._listen(program, where)) for one, program in programs if program
        ]
        # last: of what it hears nobody missed anything, for a network talks of
        # itself (IGMP), and sockets join between broadcasts (netlink_table_grab)
        self._everything = self._listen(None, where)

    def _listen(self, program: bytes | None, where: Namespace) -> Subscription:
        made = Subscription(namespace=where, buffer=1 << 22, program=program)
        return self._stack.enter_context(made)

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def check(self, evidence: Evidence) -> Events:
        """Compare what passed with what each filter says of all events."""
        datagrams = read(self._everything)
        events = decode_events(b"".join(datagrams), received_ns=0)
        assert set(events.kinds.tolist()) == set(EventKind)
        ids = events.flows["id"]
        for wanted, subscription in self._filtered:
            meant = wanted.mask(events.flows, evidence)
            arrived = set(read(subscription))
            passed = np.array([one in arrived for one in datagrams])
            while (meant & ~passed).any() and subscription.wait(5):
                # the kernel serves one listener after the other
                arrived |= set(read(subscription))
                passed = np.array([one in arrived for one in datagrams])
            assert not (meant & ~passed).any(), wanted.text
            if is_exact(wanted.tree):
                assert (meant == passed).all(), wanted.text
            # a flow's NEW, UPDATE and DESTROY share one fate
            assert not {*ids[passed]} & {*ids[~passed]}, wanted.text
        return events


@pytest.mark.parametrize("seed", range(4))
def test_what_arrives_is_what_the_filter_means(netns: Namespace, seed: int) -> None:
    filters = list(texts(random.Random(seed), 40))
    with Listeners(filters, netns) as listeners, Kernel() as kernel:
        make_events(seed, 150)
        listeners.check(kernel.evidence())


def test_packets_settle_a_translation_before_the_first_event() -> None:
    """Real packets and rules: every kind of translation the example network has."""
    try:
        with (
            built() as lab,
            Traffic(lab) as traffic,
            Kernel(lab.box.path) as kernel,
            Listeners(list(TERMS), lab.box) as listeners,
        ):
            made = list(happen(traffic))
            plan.flush(kernel).run()
            evidence = kernel.evidence()
            events = listeners.check(evidence)
    except NamespaceError as error:
        unavailable(str(error))
    kinds = translations(events.flows, evidence).kind
    assert {Kind(kind).letter for kind in kinds} >= {one.kind for one, _ in made}


FTP = FlowTuple(ip_address("10.0.0.2"), ip_address("198.51.100.9"), 6, 40021, 21)
EVERY = ip_address("255.255.255.255")


def test_messages_about_expectations_pass_every_program(netns: Namespace) -> None:
    master = Flow(FTP, FTP.reversed(), status=6, timeout=600, tcp_state=3, helper="ftp")
    expected = Expectation(
        expected=FlowTuple(FTP.dst, FTP.src, 6, 0, 40000),
        mask=FlowTuple(EVERY, EVERY, 6, 0, 0xFFFF),
        master=FTP,
        timeout=300,
        class_=0,
        helper="ftp",
    )
    program = parse("udp and src 192.0.2.1").socket_program()
    groups = (uapi.Group.CONNTRACK_NEW, uapi.Group.CONNTRACK_EXP_NEW)
    with Subscription(groups, program=program) as subscription, Kernel() as kernel:
        assert plan.insert(kernel, [master]).run().done == 1
        with kernel.socket() as sock:
            expectations.create(sock, expected)
        (message,) = read(subscription)
    (kind,) = struct.unpack_from("=H", message, 4)
    assert kind >> 8 == uapi.NFNL_SUBSYS_CTNETLINK_EXP


def test_the_kernel_takes_a_program_as_long_as_it_may_be(netns: Namespace) -> None:
    others = [f"192.0.{n // 256}.{n % 256}" for n in range(4000)]
    filter = parse(f"src {','.join(others)},10.0.0.2")
    program = filter.socket_program()
    assert program is not None
    assert 4000 < len(program) // 8 <= 4096
    with Subscription(program=program) as subscription, Kernel() as kernel:
        make_events(1, 50)
        events = decode_events(b"".join(read(subscription)), received_ns=0)
        assert len(events) > 0
        assert filter.mask(events.flows, kernel.evidence()).all()
