"""netstat-nat lines, to the last blank."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.render import netstat
from natscope.render.netstat import Layout, Names
from natscope.table.flowtable import FlowTable
from natscope.table.records import address_words
from natscope.views.netstat import Question, lines

NAT = Layout(gateway="NAT-host Address")


def snat(src: str, dst: str, public: str, proto: int = 6, port: int = 443) -> Flow:
    """A flow whose source is translated; a protocol without ports gets none."""
    a, b, c = ip_address(src), ip_address(dst), ip_address(public)
    ends = (40_000, port) if proto in uapi.PORT_PROTOCOLS else (None, None)
    back = ends[::-1]
    tcp = proto == uapi.IPPROTO_TCP
    return Flow(
        FlowTuple(a, b, proto, *ends),
        FlowTuple(b, c, proto, *back),
        tcp_state=3 if tcp else None,
    )


WEB = snat("192.168.77.2", "198.51.100.9", "198.51.100.1")
DNS = snat("192.168.77.2", "198.51.100.9", "198.51.100.1", 17, 53)
PING = snat("192.168.77.2", "198.51.100.9", "198.51.100.1", 1)
V6 = snat("fd77::2", "2001:db8::9", "2001:db8::1")
LONG = "2001:db8:1111:2222:3333:4444:5555:6666"
LONG_V6 = snat("fd77::2", LONG, "2001:db8::1", 58)


def text(layout: Layout, *flows: Flow) -> list[str]:
    found = lines(FlowTable.from_flows(flows), Evidence(), Question())
    return netstat.text(found, layout).decode().splitlines()


def columns(*words: str, width: int = 30) -> str:
    proto, *addresses, state = words
    padded = "".join(address.ljust(width + 1) for address in addresses)
    return f"{proto:<6}{padded}{state:<11}"


def test_headings_are_padded_as_the_columns() -> None:
    assert netstat.heading(Layout()) == (
        b"Proto NATed Address                  Destination Address            State \n"
    )
    wide = netstat.heading(replace(NAT, width=40))
    assert wide.index(b"NAT-host Address") == 6 + 41
    assert wide.index(b"State ") == 6 + 3 * 41
    assert wide.endswith(b"State \n")


def test_lines_are_padded_to_the_end() -> None:
    src, dst, public = "192.168.77.2:40000", "198.51.100.9", "198.51.100.1:40000"
    assert text(NAT, WEB, DNS, PING) == [
        columns("tcp", src, public, f"{dst}:443", "ESTABLISHED"),
        columns("udp", src, public, f"{dst}:53", ""),
        columns("icmp", "192.168.77.2", "198.51.100.1", dst, ""),
    ]
    wide = columns("tcp", src, f"{dst}:443", "ESTABLISHED", width=40)
    assert text(Layout(width=40), WEB) == [wide]


def test_nothing_is_no_line() -> None:
    assert text(Layout()) == []


def test_an_ipv6_address_stands_in_brackets_before_a_port_alone() -> None:
    (line,) = text(Layout(), V6)
    assert line.split()[:3] == ["tcp", "[fd77::2]:40000", "[2001:db8::9]:443"]
    (line,) = text(Layout(), snat("fd77::2", "2001:db8::9", "2001:db8::1", 50))
    assert line.split() == ["esp", "fd77::2", "2001:db8::9"]


@pytest.mark.parametrize("width", [30, 40, 10])
def test_what_is_too_long_is_followed_by_one_blank(width: int) -> None:
    (line,) = text(Layout(width=width), LONG_V6)
    assert line == f"icmpv6 {'fd77::2':<{width + 1}}{LONG:<{max(width, 38)}} {'':11}"


def test_the_widest_ipv6_endpoint_fits_its_width() -> None:
    widest = ":".join(["2001"] * 8)
    (line,) = text(Layout(width=netstat.IPV6_WIDTH), snat(widest, widest, "2001::"))
    assert line.index("ESTABLISHED") == 6 + 2 * (netstat.IPV6_WIDTH + 1)


HOST = "a-very-long-host-name-indeed-it-is.really-long-domain.example.net"


def named(**services: int) -> Names:
    words = address_words(ip_address("192.168.77.2"))
    v6 = address_words(ip_address("fd77::2"))
    hosts = {(uapi.AF_INET, *words): HOST, (uapi.AF_INET6, *v6): "six"}
    return Names(hosts, {(6, port): name for name, port in services.items()})


def test_a_name_is_cut_to_the_room_its_port_leaves() -> None:
    layout = replace(NAT, names=named(https=443))
    web, ping = text(layout, WEB, PING)
    public = "198.51.100.1:40000"
    assert web == columns(
        "tcp", f"{HOST[:24]}:40000", public, "198.51.100.9:https", "ESTABLISHED"
    )
    assert ping == columns("icmp", HOST[:29], "198.51.100.1", "198.51.100.9", "")
    narrow = replace(layout, width=3, gateway=None)
    assert text(narrow, WEB)[0].split()[1] == ":40000"


def test_a_service_is_one_of_its_protocol() -> None:
    layout = Layout(names=named(domain=53))
    (line,) = text(layout, DNS)
    assert line.split()[2] == "198.51.100.9:53"


def test_a_name_needs_no_brackets_and_a_number_keeps_them() -> None:
    (line,) = text(Layout(names=named(https=443)), V6)
    assert line.split()[1:3] == ["six:40000", "[2001:db8::9]:https"]
