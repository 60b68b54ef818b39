"""The lab's hosts, links and rules, as data.

::

    alice 10.0.0.2 ─┐                                   ┌─ 198.51.100.9   a server
    bob   10.0.0.3 ─┼─ lan  [ the box ]  wan ─── world ─┼─ 198.51.100.53  another
    carol 10.0.0.4 ─┘ 10.0.0.1    203.0.113.1           ├─ 192.0.2.99     a visitor
                                  203.0.113.7           └─ 198.51.100.66  a black hole

and the same in IPv6: fd00:77::/64 inside, 2001:db8:113::1 on the box.
"""

from __future__ import annotations

from dataclasses import dataclass

BOX, WORLD = "box", "world"
INSIDE = ("alice", "bob", "carol")


@dataclass(frozen=True, slots=True)
class Inside:
    """An inside host's addresses."""

    v4: str
    v6: str


HOSTS = {
    "alice": Inside("10.0.0.2", "fd00:77::2"),
    "bob": Inside("10.0.0.3", "fd00:77::3"),
    "carol": Inside("10.0.0.4", "fd00:77::4"),
}
LAN_V4, LAN_V6 = "10.0.0.1", "fd00:77::1"
PUBLIC_V4, PUBLIC_V6 = "203.0.113.1", "2001:db8:113::1"
STATIC_V4 = "203.0.113.7"
SERVER_V4, SERVER_V6 = "198.51.100.9", "2001:db8:51::9"
SECOND_V4 = "198.51.100.53"
VISITOR_V4, VISITOR_V6 = "192.0.2.99", "2001:db8:99::99"
BLACK_HOLE_V4 = "198.51.100.66"

BOX_LINKS = f"""\
link add lan type bridge
link set lan type bridge forward_delay 0
link set lo up
addr add {LAN_V4}/24 dev lan
addr add {LAN_V6}/64 dev lan nodad
link set lan up
addr add {PUBLIC_V4}/24 dev wan
addr add {STATIC_V4}/24 dev wan
addr add {PUBLIC_V6}/64 dev wan nodad
link set wan up
route add default via 203.0.113.254
route add default via 2001:db8:113::fe
"""
WORLD_LINKS = f"""\
link set lo up
addr add {SERVER_V4}/32 dev lo
addr add {SECOND_V4}/32 dev lo
addr add {VISITOR_V4}/32 dev lo
addr add {SERVER_V6}/128 dev lo nodad
addr add {VISITOR_V6}/128 dev lo nodad
addr add 203.0.113.254/24 dev eth0
addr add 2001:db8:113::fe/64 dev eth0 nodad
link set eth0 up
route add blackhole {BLACK_HOLE_V4}/32
"""


def inside_links(host: Inside) -> str:
    """ip(8) commands for one inside host."""
    return f"""\
link set lo up
addr add {host.v4}/24 dev eth0
addr add {host.v6}/64 dev eth0 nodad
link set eth0 up
route add default via {LAN_V4}
route add default via {LAN_V6}
"""


RULES = f"""\
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr {PUBLIC_V4} tcp dport 8080 dnat to {HOSTS["bob"].v4}:80
        iifname "lan" udp dport 123 redirect
        iifname "lan" tcp dport 8888 redirect to :2222
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "lan" ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 masquerade
        oifname "wan" ip saddr {HOSTS["carol"].v4} snat to {STATIC_V4}
        oifname "wan" ip saddr 10.0.0.0/24 masquerade
        oifname "wan" udp sport 5060 snat to {PUBLIC_V4}:15060
    }}
}}
table ip6 nat {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        ip6 daddr {PUBLIC_V6} tcp dport 8080 dnat to [{HOSTS["bob"].v6}]:80
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "wan" ip6 saddr fd00:77::/64 masquerade
    }}
}}
"""
SYSCTLS = {"net/ipv6/conf/default/accept_dad": "0"}
"""Of every host, before it has links.  A router asks for its neighbours from its
link-local address, and asks nothing at all while that is tentative (ndisc_solicit)."""
BOX_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/netfilter/nf_conntrack_acct": "1",
    "net/netfilter/nf_conntrack_timestamp": "1",
}
