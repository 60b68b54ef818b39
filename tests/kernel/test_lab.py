"""Real packets through every kind of translation, seen as people think of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import unavailable
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.traffic import EXAMPLES, Flow, Traffic, happen
from natscope.model.nat import Endpoint, Translation, translation
from natscope.sources.kernel import Kernel

pytestmark = pytest.mark.kernel

BOB, BOB6 = network.HOSTS["bob"].v4, network.HOSTS["bob"].v6
ALICE, CAROL = network.HOSTS["alice"].v4, network.HOSTS["carol"].v4


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, tuple[Flow, Translation]]]:
    """What the box's table says of every example, by name."""
    try:
        with built() as lab, Traffic(lab) as traffic:
            yield dict(_looked_up(lab, traffic))
    except NamespaceError as error:
        unavailable(str(error))


def _looked_up(
    lab: Lab, traffic: Traffic
) -> Iterator[tuple[str, tuple[Flow, Translation]]]:
    with Kernel(lab.box.path) as kernel:
        for example, flow in happen(traffic):
            (found,) = kernel.flows(flow.filter())
            yield example.name, (flow, translation(found, kernel.evidence()))


def address(end: Endpoint | None) -> str | None:
    return None if end is None else str(end.address)


def end(host: str, port: int) -> Endpoint:
    from ipaddress import ip_address

    return Endpoint(ip_address(host), port)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_each_example_is_of_its_kind(
    seen: dict[str, tuple[Flow, Translation]], example: object
) -> None:
    _, found = seen[example.name]  # type: ignore[attr-defined]
    assert found.kind.letter == example.kind  # type: ignore[attr-defined]


def test_a_masqueraded_flow_goes_out_as_the_box(
    seen: dict[str, tuple[Flow, Translation]],
) -> None:
    flow, found = seen["masquerade"]
    assert found.inside == end(ALICE, flow.sport or 0)
    assert address(found.public) == network.PUBLIC_V4
    assert found.outside == end(network.SERVER_V4, 443)
    assert address(seen["static source"][1].public) == network.STATIC_V4


@pytest.mark.parametrize(
    ("name", "target", "public"),
    [
        ("port forward", BOB, network.PUBLIC_V4),
        ("IPv6 port forward", BOB6, network.PUBLIC_V6),
    ],
)
def test_a_port_forward_shows_its_public_port_and_its_target(
    seen: dict[str, tuple[Flow, Translation]], name: str, target: str, public: str
) -> None:
    flow, found = seen[name]
    assert found.target == found.inside == end(target, 80)
    assert found.public == end(public, 8080)
    assert found.outside == end(flow.src, flow.sport or 0)


def test_a_hairpin_shows_client_public_port_and_target(
    seen: dict[str, tuple[Flow, Translation]],
) -> None:
    flow, found = seen["hairpin"]
    assert found.inside == end(ALICE, flow.sport or 0)
    assert found.public == end(network.PUBLIC_V4, 8080)
    assert found.target == end(BOB, 80)
    assert found.outside is None


def test_a_redirect_shows_what_was_asked_and_who_answers(
    seen: dict[str, tuple[Flow, Translation]],
) -> None:
    flow, asked = seen["redirect"]
    assert (asked.inside, asked.public, asked.outside, asked.target) == (
        end(ALICE, flow.sport or 0),
        None,
        end(network.SECOND_V4, 123),
        end(network.LAN_V4, 123),
    )
    _, ported = seen["redirect to a port"]
    assert (ported.public, ported.target) == (
        end(network.LAN_V4, 8888),
        end(network.LAN_V4, 2222),
    )


def test_a_translation_of_the_port_alone_is_seen(
    seen: dict[str, tuple[Flow, Translation]],
) -> None:
    _, found = seen["port only"]
    assert (found.inside, found.public) == (
        end(network.PUBLIC_V4, 5060),
        end(network.PUBLIC_V4, 15060),
    )


def test_a_ping_has_its_id_in_the_place_of_a_port(
    seen: dict[str, tuple[Flow, Translation]],
) -> None:
    assert seen["ping"][1].inside == end(ALICE, 4711)
    assert seen["IPv6 ping"][1].inside == end(BOB6, 99)


def test_nothing_is_left_of_a_lab() -> None:
    def namespaces() -> set[str]:
        paths = Path("/proc/self/fd").iterdir()
        links = (str(path.readlink()) for path in paths if path.is_symlink())
        return {link for link in links if link.startswith("net:")}

    before = namespaces()
    try:
        with built():
            assert len(namespaces()) == len(before) + 5
    except NamespaceError as error:
        unavailable(str(error))
    assert namespaces() == before
