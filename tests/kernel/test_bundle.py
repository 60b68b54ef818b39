"""A bundle of a real box, and a box made of it again."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import unavailable
from kernel.ordinary import run_as_nobody
from natscope.codec.bundle import decode, encode
from natscope.codec.iproute import commands, inet6_commands
from natscope.model.bundle import Bundle
from natscope.sources import tools
from natscope.sources.bundle import collect, load
from natscope.sources.netns import Namespace, new_namespace

pytestmark = pytest.mark.kernel

NATSCOPE = (sys.executable, "-m", "natscope")
LINKS = """\
link add eth0 address 02:00:00:00:00:01 type veth peer name eth1 address 02:00:00:00:00:02
link add tun0 address 02:00:00:00:00:03 type veth peer name lan.7 address 02:00:00:00:00:04
link add off0 type veth peer name off1
"""
ADDRESSES = """\
link set lo up
link set eth0 up
link set eth1 up mtu 1400
link set tun0 up
link set lan.7 up
addr add 203.0.113.2/24 dev eth0
addr add 203.0.113.3/24 dev eth0
addr add 198.51.100.0/31 dev eth1
addr add 10.9.9.1 peer 10.9.9.2/32 dev tun0
addr add 10.0.0.1/24 broadcast + dev lan.7
addr add 10.8.0.1/24 broadcast 10.8.0.99 dev lan.7 noprefixroute
addr add 10.77.0.1/24 dev lo
addr add 192.0.2.1/32 dev off0
addr add 2001:db8::1/64 dev eth0 nodad
addr add 2001:db8::9/64 dev eth0 nodad preferred_lft 0
addr add fd00::1/128 dev lo
"""
ROUTES = """\
route add default via 203.0.113.1 dev eth0 metric 100 src 203.0.113.3 proto dhcp
route add default via 192.0.2.77 dev eth1 onlink metric 200
route add default via 10.0.0.9 dev lan.7 onlink table 200
route add 10.1.0.0/16 nexthop via 203.0.113.1 dev eth0 weight 3 nexthop via 198.51.100.1 dev eth1
route add blackhole 10.2.0.0/16
route add unreachable 10.3.0.0/16
route add prohibit 10.4.0.0/16 metric 7
route add throw 10.44.0.0/16 table 77
route add 10.5.0.0/16 dev eth1 scope link mtu 1300 advmss 1200
route add 10.6.0.0/16 via 10.9.9.2
route add local 10.7.0.0/16 dev lo
route add 10.8.0.0/24 dev lan.7 proto kernel scope link metric 600
route add 10.10.0.0/16 via 203.0.113.9 tos 0x10
route add 10.11.0.0/16 via inet6 fe80::1 dev eth0
route add 10.13.0.0/16 dev eth0 realm 5
route append 10.13.0.0/16 dev eth1
route add default dev eth1 table 100
route add 10.0.0.0/24 dev lan.7 table 100 scope link src 10.0.0.1
route del local 10.77.0.0/24 dev lo table local
route add default via 2001:db8::ff dev eth0 metric 1024
route add 2001:db8:5::/48 nexthop via 2001:db8::5 dev eth0 nexthop via 2001:db8::6 dev eth0
route add unreachable 2001:db8:6::/48
route add blackhole 2001:db8:7::/48 table 100
route add 2001:db8:8::/48 via fe80::5 dev eth1 src 2001:db8::1
route add ::/0 from 2001:db8:9::/64 via 2001:db8::ff dev eth0 metric 5
route add 2001:db8:a::/64 dev eth0 metric 9
route append 2001:db8:a::/64 dev eth1 metric 9
"""
RULES = """\
rule add fwmark 0x1/0xff lookup 100 priority 100
rule add fwmark 7 lookup 100 priority 101
rule add from 10.0.0.0/24 iif lan.7 lookup 200 priority 200
rule add to 10.77.0.0/16 oif eth1 lookup 100 priority 300
rule add not from 10.0.0.0/8 lookup 100 priority 301
rule add ipproto tcp sport 1000-2000 dport 80 lookup 100 priority 302
rule add lookup main suppress_prefixlength 0 priority 303
rule add prohibit from 10.66.0.0/16 priority 304
rule add uidrange 1000-2000 lookup 100 priority 305
rule add tos 0x10 lookup 100 priority 306
rule add from 192.0.2.4 goto 400 priority 307
rule add nop priority 400
rule add lookup local priority 10
rule del priority 0
"""
RULES_INET6 = """\
rule add fwmark 5 lookup 100 priority 100
rule add from 2001:db8::/64 lookup 100 priority 101
"""


def ip(*words: str, batch: str = "") -> str:
    return tools.run(["ip", *words], stdin=batch)


def _sorted(text: str, *, left_out: tuple[str, ...] = ()) -> list[str]:
    told = [json.dumps(one, sort_keys=True) for one in json.loads(text)]
    return sorted(one for one in told if not any(word in one for word in left_out))


def _routing() -> dict[str, list[str]]:
    """Routes and rules; not what link-local addresses bring when a link is up."""
    own = ("fe80::/64", "ff00::/8", '"fe80::')
    found = {}
    for family in ("-4", "-6"):
        routes = ip("-N", "-d", "-j", family, "route", "show", "table", "all")
        kept = own if family == "-6" else ()
        found[f"{family} routes"] = _sorted(routes, left_out=kept)
        found[f"{family} rules"] = _sorted(ip("-N", "-j", family, "rule"))
    return found


def _addresses() -> list[str]:
    told = json.loads(ip("-j", "addr"))
    return sorted(
        f"{link['ifname']} {one['local']}/{one['prefixlen']} {one.get('address')} "
        f"{one.get('broadcast')} {one.get('secondary')} {one.get('deprecated')}"
        for link in told
        for one in link["addr_info"]
        if one["scope"] != "link"
    )


@contextmanager
def empty_box() -> Iterator[None]:
    with new_namespace("again") as namespace, namespace.enter():
        for setting in ("addr_gen_mode=1", "accept_dad=0"):
            name, _, value = setting.partition("=")
            for which in ("all", "default"):
                path = Path(f"/proc/sys/net/ipv6/conf/{which}/{name}")
                path.write_text(value)
        ip("-batch", "-", batch=LINKS)
        yield


def _build(bundle: Bundle) -> None:
    ip("-batch", "-", batch="\n".join(commands(bundle)))
    ip("-6", "-batch", "-", batch="\n".join(inet6_commands(bundle)))


def test_addresses_routes_and_rules_are_made_again_as_they_were() -> None:
    with empty_box():
        ip("-batch", "-", batch=ADDRESSES + ROUTES + RULES)
        ip("-6", "-batch", "-", batch=RULES_INET6)
        bundle = collect()
        before = _routing(), _addresses()
    assert bundle.missing == ()
    with empty_box():
        _build(decode(encode(bundle)))
        assert (_routing(), _addresses()) == before
        assert len(before[0]["-4 routes"]) > 30


def test_what_the_kernel_made_and_a_hand_took_away_stays_away() -> None:
    with empty_box():
        ip("-batch", "-", batch=ADDRESSES + "route del 10.0.0.0/24 dev lan.7")
        bundle = collect()
        before = _routing()
    with empty_box():
        _build(bundle)
        assert _routing() == before


def test_a_gateway_that_is_no_longer_on_the_link_is_made_again() -> None:
    with empty_box():
        ip(
            "-batch",
            "-",
            batch="link set eth0 up\nlink set eth1 up\naddr add 10.0.0.1/24 dev eth0\n"
            "route add 10.1.0.0/16 via 10.0.0.9\nroute del 10.0.0.0/24\n",
        )
        bundle = collect()
    with empty_box():
        _build(bundle)
        (route,) = json.loads(ip("-j", "route", "show", "10.1.0.0/16"))
        assert (route["gateway"], route["flags"]) == ("10.0.0.9", ["onlink"])


def test_settings_are_those_of_the_namespace(netns: Namespace) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv4/conf/lo/rp_filter").write_text("2")
    sysctls = collect().sysctls
    assert sysctls["net/ipv4/ip_forward"] == "1"
    assert sysctls["net/ipv4/conf/lo/rp_filter"] == "2"
    assert sysctls["net/ipv4/ip_local_port_range"] == "32768\t60999"


RULESET = """\
table inet mine {
	set bad {
		type ipv4_addr
		flags interval
		elements = { 198.51.100.0/24, 203.0.113.3-203.0.113.9 }
	}

	chain pre {
		type nat hook prerouting priority -100; policy accept;
		ip saddr @bad counter packets 0 bytes 0 drop
		tcp dport 8080 dnat ip to 10.0.0.7:80 comment "the web"
	}
}
"""


def _listed() -> str:
    return tools.run(["nft", "-a", "list", "ruleset"])


def test_policies_of_ipsec_are_said_to_be_missing(netns: Namespace) -> None:
    assert collect().missing == ()
    between = "src 10.0.0.0/24 dst 10.1.0.0/24"
    tools.run(f"ip xfrm policy add {between} dir out action block".split())
    assert collect().missing == ("IPsec policies (ip xfrm policy): 1",)


def test_the_ruleset_of_a_bundle_loads_again(netns: Namespace) -> None:
    tools.run(["nft", "-f", "-"], stdin=RULESET)
    (ruleset,) = collect().rulesets
    assert (ruleset.tool, ruleset.text) == ("nft", RULESET)
    numbers = re.findall(r"^\t\t.* # handle (\d+)$", _listed(), re.MULTILINE)
    assert ruleset.handles == tuple(map(int, numbers))
    before = _listed()
    with new_namespace("again") as other, other.enter():
        tools.run(["nft", "-f", "-"], stdin=ruleset.text)
        assert _listed() == before


IPTABLES = (
    "iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to 10.0.0.7:8080",
    "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "iptables-nft -t raw -A PREROUTING -j CT --zone 3",
    "nft add table inet mine",
    "ip6tables-nft -A FORWARD -p tcp -m multiport --dports 1,2,3 -j REJECT",
    "iptables-nft -t mangle -A FORWARD -s 10.0.0.9 -j DROP",
    "nft add table ip security",
    "nft add set ip security s { type ipv4_addr; }",
)


def _chains(listing: str) -> list[str]:
    return re.findall(
        r"^table .* \{|^\tchain .* \{|^\t\ttype .*", listing, re.MULTILINE
    )


def _need_iptables() -> None:
    for name in ("iptables-nft", "iptables-legacy"):
        if tools.find(name) is None:
            unavailable(f"{name} is not installed")


def test_each_table_is_saved_by_the_program_that_made_it(netns: Namespace) -> None:
    _need_iptables()
    for line in IPTABLES:
        tools.run(line.split())
    before = _listed()
    bundle = collect()
    assert _listed() == before
    assert bundle.missing == ()
    assert [(one.tool, one.text.split()[0]) for one in bundle.rulesets] == [
        ("iptables-nft", "*nat"),
        ("iptables-nft", "*filter"),
        ("iptables-nft", "*raw"),
        ("nft", "table"),
        ("ip6tables-nft", "*filter"),
        # nft can load what has no xt statement, whoever made it
        ("nft", "table"),
    ]
    assert "table ip mangle" in bundle.rulesets[-1].text
    assert "table ip security" in bundle.rulesets[-1].text


def test_tables_of_iptables_load_again_as_they_were(netns: Namespace) -> None:
    _need_iptables()
    for line in IPTABLES:
        tools.run(line.split())
    before = _listed()
    bundle = collect()
    with new_namespace("again") as other, other.enter():
        for ruleset in bundle.rulesets:
            restore = ["nft", "-f", "-"]
            if ruleset.tool != "nft":
                restore = [f"{ruleset.tool}-restore"]
            tools.run(restore, stdin=ruleset.text)
        assert collect().rulesets == bundle.rulesets
        assert _chains(_listed()) == _chains(before)


def test_tables_of_iptables_legacy_are_saved_and_none_is_made(netns: Namespace) -> None:
    _need_iptables()
    names = Path("/proc/thread-self/net/ip_tables_names")
    if not names.exists():
        unavailable("this kernel has no iptables-legacy")
    assert collect().rulesets == ()
    assert names.read_text() == ""
    tools.run(["iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"])
    (ruleset,) = collect().rulesets
    assert ruleset.tool == "iptables-legacy"
    assert "[0:0] -A POSTROUTING -j MASQUERADE\n" in ruleset.text
    assert names.read_text().split() == ["nat"]


def natscope(*words: str, code: int = 0) -> tuple[str, str]:
    """What a command prints and tells; its exit code must be the expected one."""
    done = subprocess.run(
        [*NATSCOPE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_bundle_is_a_private_file_and_shown_again(
    netns: Namespace, tmp_path: Path
) -> None:
    ip("-batch", "-", batch=LINKS + ADDRESSES)
    tools.run(["nft", "-f", "-"], stdin=RULESET)
    file = tmp_path / "gw.json.gz"
    _, told = natscope("bundle", str(file), "--flows")
    assert "7 links" in told
    assert file.stat().st_mode & 0o777 == 0o600
    assert gzip.decompress(file.read_bytes()).startswith(b'{\n "format"')
    assert load(file).hostname == os.uname().nodename
    shown, _ = natscope("bundle", "--show", str(file))
    assert "link        eth1 up veth 198.51.100.0/31" in shown
    assert "rules       2 of nft\n" in shown
    summary = json.loads(natscope("bundle", "--show", "--json", str(file))[0])
    assert summary["rules"] == {"nft": 2}
    assert summary["flows"] is not None


FLOW = "udp 10.0.0.7:5000 to 198.51.100.9:53 --snat 203.0.113.2:5000 --timeout 300s"


@pytest.mark.parametrize("name", ["gw.json.gz", "gw.json"])
def test_the_flows_of_a_bundle_are_listed_like_those_of_its_box(
    netns: Namespace, tmp_path: Path, name: str
) -> None:
    ip("-batch", "-", batch=LINKS + ADDRESSES)
    natscope("insert", "--yes", *FLOW.split())
    file = str(tmp_path / name)
    natscope("bundle", file, "--flows")
    words = ("udp", "and", "dst", "port", "53", "--json")
    (here,) = json.loads(natscope("list", *words)[0])["flows"]
    (there,) = json.loads(natscope("list", file, *words)[0])["flows"]
    passing = ("timeout", "age", "idle")
    for one in (here, there):
        for member in [each for each in one if each.startswith(passing)]:
            del one[member]
    assert here == there
    assert there["kind"] == "s"
    assert "10.0.0.7:5000" in natscope("who", "-r", file, "203.0.113.2:5000")[0]
    with Path(file).open("rb") as piped:
        counted = subprocess.run(
            [*NATSCOPE, "count", "-", *words[:-1]], stdin=piped, capture_output=True
        )
    assert counted.stdout == b"1\n"


def test_a_redacted_bundle_builds_the_same_box(
    netns: Namespace, tmp_path: Path
) -> None:
    ip("-batch", "-", batch=LINKS + ADDRESSES + ROUTES)
    printed, _ = natscope("bundle", "-", "--redact")
    assert "203.0.113" not in printed
    assert "2001:db8" not in printed
    bundle = decode(printed.encode())
    with empty_box():
        _build(bundle)
        assert len(collect().routes) >= len(bundle.routes) - 5


def test_who_may_not_read_the_rules_is_told_what_is_missing(netns: Namespace) -> None:
    done = run_as_nobody(*NATSCOPE, "bundle", "-")
    assert done.returncode == 4
    bundle = decode(done.stdout.encode())
    assert [link.name for link in bundle.links] == ["lo"]
    assert any(one.startswith("nftables and iptables-nft: ") for one in bundle.missing)
    for one in bundle.missing:
        assert f"missing: {one.splitlines()[0]}" in done.stderr
