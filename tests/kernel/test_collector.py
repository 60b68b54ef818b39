"""Collectors that come and go, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kernel.collectors import TcpServer, loopback_up, until
from natscope.errors import NatscopeError
from natscope.sinks.collector import Destination
from natscope.sinks.tcp import TcpCollector
from natscope.sinks.udp import UdpCollector
from natscope.sources.netns import Namespace

pytestmark = pytest.mark.kernel


@dataclass(frozen=True)
class Number:
    """A number as a parcel of so many digits."""

    value: int
    flows: int = 1
    digits: int = 8

    def __len__(self) -> int:
        return self.digits


class Plain:
    """Every session begins with a greeting of eight octets."""

    def __init__(self) -> None:
        self.sessions = 0
        self._greet = False

    def begin(self) -> None:
        self.sessions += 1
        self._greet = True

    def wrap(self, parcel: Number, now_ns: int) -> list[bytes]:
        greeting = [b"greeting"] if self._greet else []
        self._greet = False
        return [*greeting, b"%0*d" % (parcel.digits, parcel.value)]


@pytest.fixture
def server(netns: Namespace) -> Iterator[TcpServer]:
    loopback_up()
    made = TcpServer()
    yield made
    made.close()


def tcp(port: int, news: list[str], queue: int = 1 << 20) -> TcpCollector[Number]:
    to = Destination("127.0.0.1", port)
    return TcpCollector(to, Plain(), news.append, queue)


def test_what_is_offered_arrives_in_order(server: TcpServer) -> None:
    with tcp(server.port, []) as collector:
        for value in range(5000):
            collector.offer(Number(value))
        collector.work()
        server.accept()
        assert collector.drain(5)
        text = server.read(8 * 5001)
    assert text == b"greeting" + b"".join(b"%08d" % value for value in range(5000))
    assert (collector.sent, collector.not_sent) == (5000, 0)


def read_on(server: TcpServer, collector: TcpCollector[Number]) -> bytes:
    collector.work()
    assert server.connection is not None
    return server.connection.recv(1 << 16)


def test_what_was_under_way_when_a_connection_broke_is_sent_on_the_next(
    server: TcpServer,
) -> None:
    news: list[str] = []
    with tcp(server.port, news) as collector:
        # more than the two ends' buffers hold, so that some is not acknowledged
        for value in range(100_000):
            collector.offer(Number(value, flows=1))
        collector.work()
        server.accept()
        until(lambda: collector.queued < 8 * 90_000, collector.work)
        first = server.read(8 * 1001)
        server.reset()
        until(lambda: len(news) > 1, collector.work)
        until(lambda: len(news) > 2, collector.work)
        server.accept()
        again = server.read(16)
        assert int(again[8:]) < 90_000
        rest = list(range(int(again[8:]) + 1, 100_000))
        text = b"".join(b"%08d" % value for value in rest)
        got = bytearray()
        until(
            lambda: len(got) == len(text),
            lambda: got.extend(read_on(server, collector)),
        )
    assert first.startswith(b"greeting00000000")
    assert again.startswith(b"greeting")
    assert bytes(got) == text
    assert collector.sent == 100_000
    assert "trying again" in news[1]


def test_a_collector_that_is_away_is_tried_again_until_it_is_back(
    server: TcpServer,
) -> None:
    news: list[str] = []
    port = server.port
    server.close()
    with tcp(port, news) as collector:
        collector.offer(Number(7))
        until(lambda: news, collector.work)
        again = TcpServer(port)
        until(lambda: collector.sent == 1, collector.work)
        again.accept()
        assert again.read(16) == b"greeting00000007"
        assert collector.drain(5)
    again.close()
    assert "refused" in news[0]
    assert news[-1].endswith("connected")


def test_the_same_trouble_is_told_once(server: TcpServer) -> None:
    news: list[str] = []
    server.close()
    with tcp(server.port, news) as collector:
        for _ in range(5):
            collector._retry_at = 0.0
            until(lambda: collector._retry_at > 0, collector.work)
            until(lambda: collector._socket is None, collector.work)
    assert len(news) == 1


def test_a_full_queue_drops_the_newest_and_counts_them(server: TcpServer) -> None:
    news: list[str] = []
    server.close()
    with tcp(server.port, news, queue=80) as collector:
        for value in range(25):
            collector.offer(Number(value, flows=2))
        assert (collector.queued, collector.not_sent) == (80, 30)
    assert len(news) == 1
    assert collector.not_sent == 50


def test_a_collector_that_hangs_up_is_noticed_without_anything_to_send(
    server: TcpServer,
) -> None:
    news: list[str] = []
    with tcp(server.port, news) as collector:
        until(lambda: news, collector.work)
        server.accept()
        server.reset()
        until(lambda: len(news) > 1, collector.work)
    assert "reset" in news[1] or "hung up" in news[1]


def test_a_collector_that_takes_nothing_does_not_block(server: TcpServer) -> None:
    with tcp(server.port, [], queue=64 << 20) as collector:
        for value in range(200):
            collector.offer(Number(value, digits=100_000))
        for _ in range(20):
            collector.work()
        assert not collector.drain(0.05)
        assert collector.queued > 0
    assert collector.sent + collector.not_sent == 200


@pytest.fixture
def receiver(netns: Namespace) -> Iterator[socket.socket]:
    loopback_up()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


def udp(port: int, news: list[str]) -> UdpCollector[Number]:
    return UdpCollector(Destination("127.0.0.1", port), Plain(), news.append)


def test_datagrams_arrive_one_a_message(receiver: socket.socket) -> None:
    with udp(receiver.getsockname()[1], []) as collector:
        collector.offer(Number(1))
        collector.offer(Number(2))
        assert collector.drain(5)
        got = [receiver.recv(100) for _ in range(3)]
    assert got == [b"greeting", b"00000001", b"00000002"]


def test_nobody_listening_is_told_once(receiver: socket.socket) -> None:
    news: list[str] = []
    port = receiver.getsockname()[1]
    receiver.close()
    with udp(port, news) as collector:
        for value in range(4):
            collector.offer(Number(value))
            assert collector.drain(5)
    assert collector.refused >= 3
    assert news == [f"127.0.0.1:{port}: nobody listens there (ICMP refusal)"]


def test_an_unreachable_network_is_trouble_and_nothing_is_lost(
    netns: Namespace,
) -> None:
    news: list[str] = []
    with udp(9, news) as collector:  # loopback is down
        collector.offer(Number(1))
        collector.work()
        assert (collector.queued, collector.sent) == (8, 0)
    assert "unreachable" in news[0]


def test_a_host_that_does_not_exist_is_an_error() -> None:
    news: list[str] = []
    with pytest.raises(NatscopeError, match=r"host\.invalid"):
        TcpCollector(Destination("host.invalid", 1), Plain(), news.append)
