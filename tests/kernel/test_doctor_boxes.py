"""The doctor on boxes as well-known programs set them up: in order, and broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernel.sites import Site, ruleset, site
from natscope.actions import mending
from natscope.model.finding import Finding, Severity
from natscope.sources import tools

pytestmark = pytest.mark.kernel
PUBLIC, VISITOR, WEB, DEAD = "203.0.113.1", "192.0.2.77", "203.0.113.50", "203.0.113.3"


@pytest.fixture
def box() -> Iterator[Site]:
    with site() as made:
        yield made


Change = tuple[str, str]
"""A text of a ruleset, and what stands in its place."""


@dataclass(frozen=True)
class Healthy:
    """A box in order, and what goes on there."""

    id: str
    rulesets: tuple[str, ...]
    answered: tuple[str, ...]
    silent: tuple[str, ...] = ()
    loader: str | None = None
    changes: tuple[Change, ...] = ()


LAST_OF_UFW = "-A ufw-user-forward -d 10.0.0.2/32 -p tcp -m tcp --dport 443 -j ACCEPT\n"
ROUTED = (LAST_OF_UFW, LAST_OF_UFW + "-A ufw-user-forward -i eth1 -o eth0 -j ACCEPT\n")
"""ufw route allow in on eth1 out on eth0."""
OUT = (
    f"tcp 10.0.0.2:40000 to {WEB}:443 in eth1",
    f"udp 10.0.0.3:40001 to {WEB}:4500 in eth1",
)
OUT_DEAD = (f"tcp 10.0.0.2:40002 to {DEAD}:80 in eth1",)
DOCKER = (
    f"tcp 172.17.0.2:40000 to {WEB}:443 in docker0",
    f"tcp {VISITOR}:40003 to {PUBLIC}:8080 in eth0",
)
DOCKER_DEAD = (
    f"udp 172.17.0.2:40001 to {DEAD}:514 in docker0",
    f"udp {VISITOR}:40009 to {PUBLIC}:53 in eth0",
)
KUBE = (
    "tcp 10.244.0.5:40000 to 10.96.0.1:80 in cni0",
    "tcp 10.0.0.2:40001 to 10.96.0.1:80 in eth1",
    f"tcp {VISITOR}:40002 to 192.0.2.10:30080 in eth0",
    f"tcp {VISITOR}:40003 to 192.0.2.10:30080 in eth0",
)
FORWARD = (f"tcp {VISITOR}:40004 to {PUBLIC}:8080 in eth0",)
SIX = "2001:db8::50"
HEALTHY = (
    Healthy("docker with iptables", ("docker.rules",), DOCKER, DOCKER_DEAD),
    Healthy("docker with iptables-legacy", ("docker.rules",), DOCKER, DOCKER_DEAD,
            loader="iptables-legacy-restore"),
    Healthy("docker with nftables", ("docker.nft",), DOCKER, DOCKER_DEAD),
    Healthy("kube-proxy with iptables", ("kube-proxy.rules",), KUBE),
    Healthy("kube-proxy with nftables", ("kube-proxy.nft",), KUBE),
    Healthy("firewalld", ("firewalld.nft",), (*OUT, *FORWARD), OUT_DEAD),
    Healthy("OpenWrt", ("fw4.nft",),
            (*OUT, *FORWARD, f"tcp 10.0.0.3:40005 to {PUBLIC}:8080 in eth1"), OUT_DEAD),
    Healthy("libvirt", ("libvirt.nft",),
            (f"tcp 192.168.122.10:40000 to {WEB}:443 in virbr0",),
            (f"udp 192.168.122.10:40001 to {DEAD}:514 in virbr0",)),
    Healthy("ufw", ("ufw.rules",),
            (*OUT, f"tcp {VISITOR}:40000 to {PUBLIC}:8443 in eth0"), OUT_DEAD,
            changes=(ROUTED,)),
    Healthy("a NAT instance", ("nat-instance.rules",), OUT, OUT_DEAD),
    Healthy("a gateway with maps and zones", ("gateway.nft",),
            (*OUT, *FORWARD,
             f"tcp {VISITOR}:40005 to {PUBLIC}:2222 in eth0",
             f"tcp 10.0.0.4:40006 to {WEB}:443 in eth1",
             f"tcp 10.0.0.4:40007 to {PUBLIC}:8080 in eth1",
             "udp 10.9.1.5:40008 to 10.0.0.7:514 in tenant1"), OUT_DEAD),
    Healthy("docker and libvirt", ("docker.rules", "libvirt.nft"), DOCKER, DOCKER_DEAD),
    Healthy("IPv6 with ip6tables", ("nat-instance.rules", "nat66.rules6"),
            (f"tcp [fd00:1::2]:40000 to [{SIX}]:443 in eth1",
             f"tcp [{SIX}]:40001 to [2001:db8::1]:8080 in eth0"),
            (f"udp [fd00:1::3]:40002 to [{SIX}]:514 in eth1",)),
)  # fmt: skip


@pytest.mark.parametrize("deep", [False, True], ids=["by text", "asked"])
@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.id)
def test_a_box_in_order_gives_no_finding(box: Site, case: Healthy, deep: bool) -> None:
    if case.loader is not None and tools.find(case.loader) is None:
        pytest.skip(f"needs {case.loader}")
    for name in case.rulesets:
        text, loader = ruleset(name, case.loader)
        box.add(_changed(text, case.changes), loader)

    def work() -> None:
        for words in case.answered:
            box.talk(words)
        for words in case.silent:
            box.send(words)

    if not deep:  # before anybody came
        assert _told(box.findings()) == []
    assert _told(box.findings(work, deep=deep)) == []


def _told(found: tuple[Finding, ...]) -> list[str]:
    return [f"{one.rule} {one.headline}" for one in found]


@dataclass(frozen=True)
class Broken:
    """A box that is ill in one way."""

    id: str
    rule: str
    ruleset: str
    about: str
    sent: tuple[str, ...] = ()
    """While the doctor looks."""
    changes: tuple[Change, ...] = ()
    """How it differs from the box in order."""
    before: tuple[Change, ...] = ()
    """How it differed when it was sent ``early``."""
    early: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    severity: Severity = Severity.HIGH
    deep: tuple[bool, ...] = (False, True)
    """By text, and asked: which of them find it."""
    is_mended: bool = True
    """The remedy that comes first can be run as it stands."""


TO_DOCKER = "-j DNAT --to-destination 172.17.0.2:80"
TCP_8080 = "! -i docker0 -p tcp -m tcp --dport 8080"
UDP_8080 = (TCP_8080, TCP_8080.replace("tcp", "udp"))
UDP_80 = ("-o docker0 -p tcp -m tcp --dport 80", "-o docker0 -p udp -m udp --dport 80")
KNOCK = f"udp {VISITOR}:40003 to {PUBLIC}:8080 in eth0"
SYN = f"tcp {VISITOR}:40003 to {PUBLIC}:{{}} in eth0"
NO_ACCEPT = ('ct status dnat accept comment "!fw4: Accept port forwards"', "")
BROKEN = (
    Broken("docker: a container got another address", "R07", "docker.rules",
           "172.17.0.2", (KNOCK,),
           (UDP_8080, UDP_80, (TO_DOCKER, TO_DOCKER.replace("2:80", "3:80")),
            ("-d 172.17.0.2/32 !", "-d 172.17.0.3/32 !")),
           (UDP_8080, UDP_80), (KNOCK,)),
    Broken("docker: its rules for forwarding are gone", "R11", "docker.rules",
           "ip filter FORWARD", (SYN.format(8080),), (
               ("-A FORWARD -o docker0 -j DOCKER\n", ""),
               ("-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n", ""),
               ("-A FORWARD -i docker0 -o docker0 -j ACCEPT\n", ""))),
    Broken("docker: what it accepts for a port is gone, and nobody asks", "R11",
           "docker.rules", "ip filter FORWARD", (), (
               ("-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp "
                "--dport 80 -j ACCEPT\n", ""),)),
    Broken("kube-proxy: an endpoint has moved", "R07", "kube-proxy.rules", "10.244.0.5",
           ("tcp 10.0.0.2:40001 to 10.96.0.1:80 in eth1",),
           (("10.244.0.5", "10.244.0.6"),), (("10.244.0.6", "10.244.0.5"),),
           ("tcp 10.0.0.2:40001 to 10.96.0.1:80 in eth1",)),
    Broken("kube-proxy with nftables: an endpoint has moved", "R07", "kube-proxy.nft",
           "10.244.0.5", ("tcp 10.0.0.2:40001 to 10.96.0.1:80 in eth1",),
           (("dnat to 10.244.0.5", "dnat to 10.244.0.6"),),
           (("dnat to 10.244.0.6", "dnat to 10.244.0.5"),),
           ("tcp 10.0.0.2:40001 to 10.96.0.1:80 in eth1",)),
    Broken("OpenWrt: no rule accepts port forwards", "R11", "fw4.nft",
           "meta nfproto ipv4 tcp dport 8080 counter dnat ip to 10.0.0.2:80 comment "
           '"!fw4: web"', (SYN.format(8080),) * 2,
           (NO_ACCEPT, ("tcp dport 8080 dnat", "tcp dport 8080 counter dnat")),
           is_mended=False),
    Broken("OpenWrt: reflection without its source", "R10", "fw4.nft", "10.0.0.0/24",
           (f"tcp 10.0.0.3:40005 to {PUBLIC}:8080 in eth1",),
           (("ip saddr 10.0.0.0/24 ip daddr 10.0.0.2 tcp dport 80 snat ip to 10.0.0.1 "
             'comment "!fw4: web (reflection)"', ""),)),
    Broken("firewalld: no rule accepts port forwards, and none counts", "R11",
           "firewalld.nft", "meta nfproto ipv4 tcp dport 8080 dnat ip to 10.0.0.2:80",
           (SYN.format(8080),), (("ct status dnat accept", ""),),
           severity=Severity.INFO),
    Broken("firewalld: masquerading came late", "R08", "firewalld.nft", PUBLIC,
           (OUT[1],), (), (("masquerade", "accept"),), (OUT[1],), deep=(True,)),
    Broken("firewalld: masquerading came late, by its text", "R08", "firewalld.nft",
           'meta nfproto ipv4 oifname != "lo" masquerade',
           (OUT[1],), (), (("masquerade", "accept"),), (OUT[1],), deep=(False,)),
    Broken("OpenWrt: masquerading came late", "R08", "fw4.nft", PUBLIC, (OUT[1],), (),
           (("ipv4 masquerade", "ipv4 accept"),), (OUT[1],), deep=(True,)),
    Broken("OpenWrt: masquerading came late, by its text", "R08", "fw4.nft",
           'meta nfproto ipv4 masquerade comment "!fw4: Masquerade IPv4 wan traffic"',
           (OUT[1],), (), (("ipv4 masquerade", "ipv4 accept"),), (OUT[1],), deep=(False,)),
    Broken("ufw: a forward that is not accepted", "R11", "ufw.rules", "ip filter FORWARD",
           (SYN.format(8443),),
           (ROUTED, (LAST_OF_UFW, ""))),
    Broken("ufw: nobody may go out", "R12", "ufw.rules", "eth1 to eth0", OUT[:1]),
    Broken("docker: it came to a router", "R12", "docker.rules", "eth1 to eth0", OUT[:1],
           (("-A POSTROUTING -s 172.17.0.0/16",
             "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n"
             "-A POSTROUTING -s 172.17.0.0/16"),)),
    Broken("a NAT instance: its rule came late", "R08", "nat-instance.rules",
           "-A POSTROUTING -s 10.0.0.0/16 -o eth0 -j MASQUERADE", (OUT[1],), (),
           (("-j MASQUERADE", "-p sctp -j MASQUERADE"),), (OUT[1],), deep=(False,)),
    Broken("a NAT instance: its rule came late, and it is asked", "R08",
           "nat-instance.rules", PUBLIC, (OUT[1],), (),
           (("-j MASQUERADE", "-p sctp -j MASQUERADE"),), (OUT[1],), deep=(True,)),
    Broken("a NAT instance: a subnet it does not know", "R16", "nat-instance.rules",
           "eth0", tuple(f"udp 192.168.122.10:4000{n} to {WEB}:500{n} in virbr0"
                         for n in range(3)), severity=Severity.WARNING),
    Broken("a gateway: no rule for hairpins", "R10", "gateway.nft", "10.0.0.0/24",
           (f"tcp 10.0.0.4:40007 to {PUBLIC}:8080 in eth1",),
           (('ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 masquerade comment "hairpin"',
             ""),)),
    Broken("a gateway: other public addresses", "R09", "gateway.nft", "203.0.113.99",
           (f"udp 10.0.0.6:40001 to {WEB}:4500 in eth1",), (),
           (("203.0.113.1-203.0.113.4", "203.0.113.99"),),
           (f"udp 10.0.0.6:40001 to {WEB}:4500 in eth1",), deep=(True,)),
    Broken("IPv6: no rule accepts the port forward", "R11", "nat66.rules6",
           "ip6 filter FORWARD", (f"tcp [{SIX}]:40001 to [2001:db8::1]:8080 in eth0",),
           (("-A FORWARD -d fd00:1::2/128 -p tcp -m tcp --dport 80 -j ACCEPT\n", ""),)),
    Broken("IPv6: a server got another address", "R07", "nat66.rules6", "fd00:1::2",
           (f"tcp [{SIX}]:40001 to [2001:db8::1]:8080 in eth0",),
           (("[fd00:1::2]:80", "[fd00:1::3]:80"), ("-d fd00:1::2/128", "-d fd00:1::3/128")),
           early=(f"tcp [{SIX}]:40001 to [2001:db8::1]:8080 in eth0",)),
    Broken("libvirt: somebody turned forwarding off", "R12", "libvirt.nft", "IPv4",
           settings=(("net/ipv4/ip_forward", "0"),), severity=Severity.CRITICAL),
    Broken("IPv6: no rule for hairpins", "R10", "nat66.rules6", "fd00:1::/64",
           ("tcp [fd00:1::3]:40001 to [2001:db8::1]:8080 in eth1",),
           (("-i eth0 -p tcp", "-p tcp"),)),
    Broken("IPv6: the rule came late", "R08", "nat66.rules6",
           "-A POSTROUTING -s fd00::/16 -o eth0 -j MASQUERADE",
           (f"tcp [fd00:1::3]:40001 to [{SIX}]:443 in eth1",), (),
           (("-j MASQUERADE", "-p sctp -j MASQUERADE"),),
           (f"tcp [fd00:1::3]:40001 to [{SIX}]:443 in eth1",), deep=(False,)),
    Broken("IPv6: a subnet no rule knows", "R16", "nat66.rules6", "eth0 (IPv6)",
           tuple(f"udp [fd00:17::2]:4000{n} to [{SIX}]:500{n} in docker0" for n in range(3)),
           (("-s fd00::/16", "-s fd00:1::/64"),), severity=Severity.WARNING),
)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "deep"),
    [(case, deep) for case in BROKEN for deep in case.deep],
    ids=lambda one: (
        one.id if isinstance(one, Broken) else ("asked" if one else "by text")
    ),
)
def test_a_broken_box_is_found_out_and_the_remedy_mends_it(
    box: Site,
    case: Broken,
    deep: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    text, loader = ruleset(case.ruleset)
    if case.early:
        box.rules(_changed(text, case.before), loader)
        _send(box, case.early)
    box.rules(_changed(text, case.changes), loader)
    for path, value in case.settings:
        box.setting(path, value)
    (found,) = box.findings(lambda: _send(box, case.sent), deep=deep)
    assert (found.rule, found.about, found.severity) == (
        case.rule, case.about, case.severity
    )  # fmt: skip
    assert found.remedies[0].is_pattern is not case.is_mended
    if not case.is_mended:
        return
    with box.box.enter():
        mending.run(found.remedies[0].command)
    assert _told(box.findings(lambda: _send(box, case.sent), deep=deep)) == []
    if loader != "nft":  # a rule of nft among its own is too much for iptables
        assert "incompatible" not in box.run(loader.replace("restore", "save"))


def _send(box: Site, packets: tuple[str, ...]) -> None:
    for words in packets:
        box.send(words)


def _changed(text: str, changes: tuple[Change, ...]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text
