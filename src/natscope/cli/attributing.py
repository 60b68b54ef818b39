"""The box whose rules are asked which of them made a flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from natscope.cli import diagnostics

if TYPE_CHECKING:
    from natscope.codec.text.natrules import NatRule
    from natscope.model.bundle import Bundle
    from natscope.rehearse.attribution.attributor import Attributor


class Box:
    """A box, and its NAT rules in the order packets meet them."""

    def __init__(self, bundle: Bundle, rules: list[NatRule]) -> None:
        self.bundle = bundle
        self.rules = rules


def box(netns: str | None, file: str | None) -> Box:
    """The box of a namespace, or the one in a bundle.

    Raises:
        NatscopeError: it cannot be read.
    """
    found = live(netns) if file is None else _saved(file)
    for words in found.bundle.missing:
        diagnostics.note(f"natscope: not read: {words}")
    return found


def live(netns: str | None) -> Box:
    """The box of a namespace; what could not be read is in its bundle.

    Raises:
        NamespaceError: no such namespace, or not permitted.
    """
    from natscope.codec.text.natrules import nat_rules
    from natscope.sources.bundle import collect

    bundle = collect(netns)
    return Box(bundle, nat_rules(bundle))


def _saved(file: str) -> Box:
    from natscope.codec.text.natrules import nat_rules
    from natscope.sources.bundle import load

    bundle = load(file)
    return Box(bundle, nat_rules(bundle))


@contextmanager
def attributing(found: Box) -> Iterator[Attributor]:
    """A twin of the box that can be asked; what it was not asked is said.

    Raises:
        NatscopeError: there can be no twin.
    """
    from natscope.cli import boxes
    from natscope.rehearse.attribution.attributor import Attributor
    from natscope.rehearse.twin import Twin

    with Twin(found.bundle) as twin:
        boxes.tell_missing(twin)
        attributor = Attributor(twin, found.rules)
        yield attributor
    if attributor.unasked:
        diagnostics.note(
            f"{attributor.unasked} flows are of further kinds than the "
            f"{attributor.asked} the twin was asked about; a filter makes them fewer"
        )
