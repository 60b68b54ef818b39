"""The links, hosts and routes of the box that twins are held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from natscope.sources.netns import Namespace

HOST = "02:00:00:00:02:01"
"""The MAC address of every host."""


@dataclass(frozen=True)
class Wire:
    """A link of the box, the other end of it, and who is there."""

    name: str
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    kind: str = "plain"
    """plain, or bridge (two ports)."""
    mtu: int = 1500


WIRES = (
    Wire(
        "eth0",
        ("203.0.113.1/24", "203.0.113.2/24", "192.0.2.10/24", "2001:db8::1/64"),
        (
            *(f"203.0.113.{n}" for n in (3, 4, 7, 8, 50, 254)),
            *("192.0.2.77", "2001:db8::ffe", "2001:db8::50"),
        ),
    ),
    Wire(
        "eth1",
        ("10.0.0.1/24", "fd00:1::1/64"),
        (*(f"10.0.0.{n}" for n in (*range(2, 8), 66)), "fd00:1::2", "fd00:1::3"),
    ),
    Wire("eth3", ("198.51.100.1/24",), ("198.51.100.254",)),
    Wire(
        "docker0",
        ("172.17.0.1/16", "fd00:17::1/64"),
        ("172.17.0.2", "172.17.0.3", "fd00:17::2"),
        "bridge",
    ),
    Wire("virbr0", ("192.168.122.1/24",), ("192.168.122.10",), "bridge"),
    Wire(
        "cni0",
        ("10.244.0.1/24", "fd00:44::1/64"),
        ("10.244.0.5", "10.244.0.6", "fd00:44::5"),
        "bridge",
        mtu=1450,
    ),
    Wire("tenant1", ("10.9.1.1/24",), ("10.9.1.5",), mtu=1400),
    Wire("tenant2", ("10.9.2.1/24",), ("10.9.2.5", "10.9.2.6")),
)
ROUTES = """route add default via 203.0.113.254 dev eth0
route add blackhole 10.66.0.0/16
route add prohibit 10.67.0.0/16
route add unreachable 10.68.0.0/16
route add 10.77.0.0/16 via 10.0.0.5 dev eth1
route add default via 198.51.100.254 dev eth3 table 100
rule add fwmark 0x7 lookup 100
rule add from 10.0.0.66 lookup 100
route add ::/0 via 2001:db8::ffe dev eth0
route add blackhole fd00:66::/64
route add prohibit fd00:67::/64
route add unreachable fd00:68::/64
"""


def mac_of(name: str) -> str:
    number = [wire.name for wire in WIRES].index(name) + 1
    return f"02:00:00:00:01:{number:02x}"


def links(world: Namespace) -> Iterator[str]:
    yield "link set lo up"
    for wire in WIRES:
        mac = mac_of(wire.name)
        if wire.kind == "bridge":
            yield f"link add {wire.name} address {mac} type bridge mcast_snooping 0"
            for port in (wire.name, f"{wire.name}.b"):
                yield f"link add {port}.p type veth peer name {port} netns {world.path}"
                yield f"link set {port}.p master {wire.name} mtu {wire.mtu} up"
        else:
            yield f"link add {wire.name} address {mac} type veth peer name {wire.name} netns {world.path}"
        yield f"link set {wire.name} mtu {wire.mtu} up"
        for address in wire.addresses:
            yield f"addr add {address} dev {wire.name}{' nodad' * (':' in address)}"
        for host in wire.hosts:
            yield f"neigh add {host} dev {wire.name} lladdr {HOST} nud permanent"


def other_ends() -> Iterator[str]:
    for wire in WIRES:
        yield f"link set {wire.name} arp off up"
        if wire.kind == "bridge":
            yield f"link set {wire.name}.b arp off up"
