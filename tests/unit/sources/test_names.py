"""Names come from threads, within a time limit, and are remembered."""

from __future__ import annotations

from pathlib import Path

from natscope.sources.names import Resolver, leases, service


def test_an_address_with_a_name_gets_it_and_keeps_it() -> None:
    resolver = Resolver(limit_s=5)
    first = resolver.names(["127.0.0.1"])
    assert first.get("127.0.0.1", "localhost")
    assert resolver.names(["127.0.0.1"]) == first


def test_nobody_waits_longer_than_the_limit() -> None:
    resolver = Resolver(limit_s=0)
    assert resolver.names(["192.0.2.1", "192.0.2.2"]) == {}
    resolver.restart()
    assert resolver.names([]) == {}


def test_services_have_their_names() -> None:
    assert service(65_000) is None
    assert service(53) in ("domain", None)  # None where there is no /etc/services


def test_leases_are_read_as_dnsmasq_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "dnsmasq.leases"
    file.write_text(
        "1795228478 02:00:00:00:00:02 10.0.0.2 laptop 01:02\n"
        "1795228478 02:00:00:00:00:03 10.0.0.3 * *\nbroken\n"
    )
    assert leases(file) == {"10.0.0.2": "laptop"}
    assert leases(tmp_path / "nowhere") == {}
