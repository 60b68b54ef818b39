"""What a box is, as a snapshot tells it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from natscope.model.bundle import Bundle, LinkAddress, Route
from natscope.views.doctor.box import Box, Uplink, box_of
from natscope.views.doctor.snapshot import Snapshot
from unit.views.doctor import boxes
from unit.views.doctor.boxes import LINKS, NOW_NS, ROUTES, tcp

NAT = """\
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 192.0.2.1 accept
		oifname "wan" masquerade
	}
}
"""


def test_a_box_is_its_uplinks_its_rules_and_its_flows() -> None:
    local = LinkAddress(ip_address("fe80::1"), 64, scope="link")
    wan = replace(LINKS[0], addresses=(*LINKS[0].addresses, local))
    wan2 = replace(LINKS[0], name="wan2", index=4, addresses=())
    both = Route(ip_network("::/0"), 254, dev="wan2")
    shown = boxes.Box(
        tcp("ESTABLISHED", 3), NAT, links=(wan, LINKS[1], wan2), routes=(*ROUTES, both)
    )
    found = box_of(shown.snapshot, "1.0", "blue")
    assert found.uplinks == (Uplink("wan", ("203.0.113.1",)), Uplink("wan2", ()))
    assert (found.name, found.natscope, found.interval_s) == ("box/blue", "1.0", 10)
    assert (found.nat_rules, found.flows, found.translated) == (1, 3, 3)
    assert (found.entries, found.limit) == (3, 262_144)
    assert found.evidence.now_ns == NOW_NS


def test_what_was_not_read_is_not_zero() -> None:
    lacks = ("addresses: denied", "nftables: denied")
    found = box_of(Snapshot(Bundle(NOW_NS, hostname="gw1", missing=lacks)), "1.0")
    assert found == Box("gw1", "1.0", found.evidence)


def test_a_box_without_a_default_route_has_no_uplink() -> None:
    shown = boxes.Box(routes=ROUTES[1:]).snapshot
    assert box_of(shown, "1.0").uplinks == ()
    assert box_of(boxes.Box(routes=()).snapshot, "1.0").uplinks == ()
