"""The options of ``natscope netstat-nat`` are read as getopt(3) reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import pytest

from natscope.cli import netstat_names
from natscope.cli.diagnostics import UsageError
from natscope.cli.netstat_nat import Options, parse, run


@dataclass(frozen=True)
class Case:
    id: str
    words: str
    options: Options = field(default_factory=Options)


CASES = [
    Case("nothing", ""),
    Case("bundled", "-nNo", Options(flags={"n", "N", "o"})),
    Case("twice", "-n -n", Options(flags={"n"})),
    Case("a value attached", "-npudp", Options(flags={"n"}, lists={"p": ["udp"]})),
    Case("a value beside", "-np udp", Options(flags={"n"}, lists={"p": ["udp"]})),
    Case("a value that looks like an option", "-s -n", Options(lists={"s": ["-n"]})),
    Case("lists", "-p tcp,udp -p gre", Options(lists={"p": ["tcp", "udp", "gre"]})),
    Case("a sort key", "-rdst-port", Options(sort="dst-port")),
    Case("the last sort key", "-r dst -r gate", Options(sort="gate")),
    Case("a width", "-nX60", Options(flags={"n"}, width=60)),
    Case("the width of IPv6", "-X -n", Options(flags={"n"}, width=47)),
    Case("a file before options", "saved -n", Options(flags={"n"}, file="saved")),
    Case("standard input", "-n -", Options(flags={"n"}, file="-")),
    Case("a file like an option", "-- -n", Options(file="-n")),
    Case("a namespace", "--netns=lab -L", Options(flags={"L"}, netns="lab")),
    Case("a namespace beside", "--netns lab", Options(netns="lab")),
    Case("help in long", "--help", Options(flags={"h"})),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_command_line_is_understood(case: Case) -> None:
    assert parse(case.words.split()) == case.options


@pytest.mark.parametrize(
    "words",
    [
        "-z", "-p", "-p ,", "-n -r", "-r bogus", "-r", "-Xwide", "-X0", "--bogus", "--netns",
        "one two", "file --netns lab", "-L -g 192.0.2.1", "--help=me",
    ],
)  # fmt: skip
def test_a_command_line_that_makes_no_sense_is_refused(
    words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError):
        parse(words.split())
    assert run(words.split()) == 1
    assert capfd.readouterr().out == ""


def test_help_tells_every_option(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["-h"]) == 0
    text = capfd.readouterr().out
    missing = [letter for letter in "hnpsdgSDLRxXroNGv" if f"-{letter}" not in text]
    assert missing == []


def test_hosts_and_networks_are_understood() -> None:
    given = ["192.0.2.7", "10.1.2.3/8", "2001:db8::/32", "[2001:db8::1]", "localhost"]
    found = netstat_names.networks(given)
    wanted = ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32", "2001:db8::1/128"]
    assert list(found[:4]) == [ip_network(text) for text in wanted]
    assert all(network.is_loopback for network in found[4:])
    assert len(found) > 4


def test_a_host_that_does_not_exist_is_said_to_be_unknown() -> None:
    with pytest.raises(
        netstat_names.UnknownHost, match=r"^Unknown host: 10[.]0[.]0[.]0/40$"
    ):
        netstat_names.networks(["10.0.0.0/40"])


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "database"
    path.write_text(
        "# a comment\n\nospf\t89\tOSPFIGP # with another name\nicmp 1 ICMP\n"
        "ipv6-icmp 58 IPv6-ICMP\nip 0 IP\nhopopt 0 HOPOPT\nmptcp 262 MPTCP\nalone\n"
    )
    return path


def test_protocols_have_the_names_of_the_kernel_then_of_the_database(
    database: Path,
) -> None:
    names = netstat_names.protocol_names(database)
    assert len(names) == 256
    assert (names[89], names[58], names[132]) == ("ospf", "icmpv6", "sctp")
    assert (names[0], names[250]) == ("ip", "250")
    assert netstat_names.protocol_names(database / "none")[89] == "89"


def test_protocols_are_asked_for_by_any_name_or_number(database: Path) -> None:
    given = ["OSPF", "ospfigp", "ICMPv6", "ipv6-icmp", "6", "Tcp"]
    assert netstat_names.protocol_numbers(given, database) == {89, 58, 6}
    for wrong in ("bogus", "256", "-1", "mptcp", ""):
        with pytest.raises(UsageError):
            netstat_names.protocol_numbers([wrong], database)


def test_the_first_service_of_a_port_gives_the_name(tmp_path: Path) -> None:
    path = tmp_path / "services"
    path.write_text(
        "shell 514/tcp cmd # no password\nsyslog 514/udp\nother 514/udp\nbad x/udp\n"
    )
    assert netstat_names.services(path) == {(6, 514): "shell", (17, 514): "syslog"}
    assert netstat_names.services(tmp_path / "none") == {}
