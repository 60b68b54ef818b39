"""R37: addresses in rules that do not lead to the box, and those that do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kernel.router import CLIENT, SERVER, V6, WAN, Hosts, hosts
from natscope.model.finding import Severity

pytestmark = pytest.mark.kernel
NEW, POOL, FOREIGN = "198.51.100.7", "203.0.114.9", "198.51.100.77"
VISIT = f"ip daddr {WAN} tcp dport 8080 dnat to {CLIENT}:80"
HOOKS = {"prerouting": "dstnat", "postrouting": "srcnat"}


@pytest.fixture
def box() -> Iterator[Hosts]:
    """With a default route by the wan."""
    with hosts() as made:
        made.ip(made.router, f"route add default via {SERVER}\n")
        yield made


def _rules(hook: str, *rules: str, family: str = "ip") -> str:
    lines = "\n".join(rules)
    chain = f"type nat hook {hook} priority {HOOKS[hook]};"
    return f"table {family} {hook} {{\nchain {hook} {{\n{chain}\n{lines}\n}}\n}}\n"


def _give(address: str) -> str:
    return _rules("postrouting", f'oifname "wan" snat to {address}')


def _renumbered(box: Hosts) -> None:
    """The provider gives another address of the same network."""
    box.ip(box.router, f"addr del {WAN}/24 dev wan\naddr add {NEW}/24 dev wan\n")
    box.ip(box.router, f"route add default via {SERVER}\n")


def test_port_forwards_of_an_address_that_changed_are_found(box: Hosts) -> None:
    box.rules(_rules("prerouting", VISIT, VISIT.replace("tcp", "udp")))
    assert box.findings("R37") == ()
    _renumbered(box)
    (found,) = box.findings("R37")
    assert (found.about, found.severity) == (WAN, Severity.WARNING)
    assert ("addresses of wan", NEW) in [(one.name, one.value) for one in found.facts]


def test_the_remedy_of_port_forwards_names_the_address_of_today(box: Hosts) -> None:
    box.rules(_rules("prerouting", VISIT, VISIT.replace("8080", "8443")))
    _renumbered(box)
    (found,) = box.findings("R37")
    box.mend(found.remedies[0])
    assert box.findings("R37") == ()
    listener = box.open(box.client, socket.SOCK_STREAM, ("", 80))
    listener.listen()
    for port in (8080, 8443):
        box.open(box.server, socket.SOCK_STREAM).connect((NEW, port))


@pytest.mark.parametrize("address", [POOL, FOREIGN], ids=["elsewhere", "on the link"])
def test_a_source_rule_with_an_address_nobody_has_is_found(
    box: Hosts, address: str
) -> None:
    box.rules(_give(address))
    box.datagrams([1, 2])
    assert box.findings("R37") == ()
    box.datagrams([3])
    (found,) = box.findings("R37")
    assert (found.about, found.severity) == (address, Severity.HIGH)
    assert {str(one.reply.dst) for one in found.flows} == {address}
    box.mend(found.remedies[0])
    assert box.findings("R37") == ()
    box.connection(443)


def test_an_address_that_is_routed_here_by_the_provider_is_no_trouble(
    box: Hosts,
) -> None:
    box.rules(_give(POOL))
    box.ip(box.server, f"route add {POOL}/32 via {WAN}\n")
    box.datagrams([1, 2, 3])
    box.connection(443)
    assert box.findings("R37") == ()


@dataclass(frozen=True)
class Known:
    id: str
    address: str
    batch: str = ""
    setting: str = ""


KNOWN = [
    Known("a blackhole for the pool", POOL, "route add blackhole 203.0.114.0/28\n"),
    Known("an unreachable address", POOL, f"route add unreachable {POOL}\n"),
    Known("AnyIP", POOL, "route add local 203.0.114.0/24 dev lo\n"),
    Known("a host inside has it", POOL, f"route add {POOL} via {CLIENT}\n"),
    Known("on the loopback interface", POOL, f"addr add {POOL}/32 dev lo\n"),
    Known(
        "a neighbour's, by proxy ARP", FOREIGN, setting="net/ipv4/conf/wan/proxy_arp"
    ),
    Known("a route inwards beside it", FOREIGN, f"route add {FOREIGN} via {CLIENT}\n"),
]


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.id)
def test_an_address_that_is_known_on_the_box_is_no_trouble(
    box: Hosts, case: Known
) -> None:
    visit = VISIT.replace(WAN, case.address)
    box.rules(_give(case.address) + _rules("prerouting", visit))
    box.datagrams([1, 2, 3])
    assert box.findings("R37") != ()
    if case.batch:
        box.ip(box.router, case.batch)
    if case.setting:
        box.setting(case.setting, "1")
    assert box.findings("R37") == ()


OTHERS = [
    "udp dport 53 dnat to 10.0.0.53",
    "ip daddr 8.8.8.8 udp dport 53 dnat to 10.0.0.53",
    f'iifname "lan" ip daddr {FOREIGN} tcp dport 80 dnat to {CLIENT}',
    "ip daddr 10.96.0.1 tcp dport 443 dnat to 10.244.0.5:6443",
    "ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:4711",
    f"ip daddr != {FOREIGN} tcp dport 80 dnat to {CLIENT}",
    f"ip daddr 198.51.100.64/26 tcp dport 80 dnat to {CLIENT}",
    f"dnat to ip daddr map {{ {FOREIGN} : {CLIENT} }}",
]
"""Rules for packets of others, which this box forwards, or that name nothing alone."""


def test_rules_that_turn_what_is_meant_for_others_are_no_trouble(box: Hosts) -> None:
    box.rules(_rules("prerouting", *OTHERS))
    assert box.findings("R37") == ()


def test_a_port_forward_that_is_hit_is_no_trouble(box: Hosts) -> None:
    """A cloud delivers an address nobody is asked for; here the server has a route."""
    visit = VISIT.replace(WAN, FOREIGN).replace("dnat", "counter dnat")
    box.rules(_rules("prerouting", visit))
    assert box.findings("R37") != ()
    box.ip(box.server, f"route add {FOREIGN} via {WAN}\n")
    asking = box.open(box.server, socket.SOCK_STREAM)
    asking.setblocking(False)
    assert box.findings("R37", lambda: asking.connect_ex((FOREIGN, 8080))) == ()


def test_addresses_of_ipv6_are_looked_at_as_well() -> None:
    with hosts(V6) as box:
        box.ip(box.router, f"route add default via {V6.server}\n")
        foreign = V6.wan.replace("::1", "::77")
        visit = f"ip6 daddr {foreign} tcp dport 80 dnat to {V6.client}"
        give = 'oifname "wan" snat to 2001:db8:99::9'
        box.rules(_rules("prerouting", visit, family="ip6"))
        box.rules(_rules("postrouting", give, family="ip6"))
        box.datagrams([1, 2, 3])
        told = [(one.about, one.severity) for one in box.findings("R37")]
        assert told == [("2001:db8:99::9", Severity.HIGH), (foreign, Severity.WARNING)]
        box.ip(box.router, "route add blackhole 2001:db8:99::/64\n")
        box.setting("net/ipv6/conf/wan/proxy_ndp", "1")
        assert box.findings("R37") == ()
