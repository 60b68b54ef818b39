"""What limits the answer of a rehearsal, and what an engineer should know beside it."""

from __future__ import annotations

from collections.abc import Iterator

from natscope.model.journey import Sightings

_AT_RANDOM = "a rule chooses at random: this is one of its choices"
_IN_TURN = "a rule chooses in turn: this is one of its choices"
_TEXTS = {
    "limit rate": "limits are taken as unspent",
    "-m limit": "limits are taken as unspent",
    "hashlimit": "limits are taken as unspent",
    "quota": "quotas are taken as unspent",
    "-m recent": "what -m recent remembers is not copied",
    "numgen random": _AT_RANDOM,
    "-m statistic --mode random": _AT_RANDOM,
    "numgen inc": _IN_TURN,
    "-m statistic --mode nth": _IN_TURN,
    "flow add": "later packets may pass by the rules, in a flow table",
}
"""What a rule's text must hold for the words to matter."""


def caveats(seen: Sightings) -> tuple[str, ...]:
    """Notes on what was rehearsed; none on what really happened."""
    if seen.question is None:
        return ()
    found = [*_chance(seen), *_beyond(seen), *_translation(seen)]
    texts = [visit.rule.text for visit in seen.visits if visit.rule is not None]
    for word, what in _TEXTS.items():
        if any(word in text for text in texts):
            found.append(what)
    return tuple(dict.fromkeys(found))


def _chance(seen: Sightings) -> Iterator[str]:
    """What the kernel chose at random."""
    packet = seen.question.packet if seen.question is not None else None
    entry = seen.after
    if packet is None or entry is None or seen.before is not None:
        return
    if packet.sport is None or entry.reply.dport in (None, packet.sport):
        return
    if entry.orig.sport == packet.sport and entry.reply.dst != entry.orig.src:
        yield (
            f"source port {entry.reply.dport} is one the kernel chose: another packet "
            "may get another"
        )


def _beyond(seen: Sightings) -> Iterator[str]:
    """What only the world around the box can tell."""
    if any(departure.interface is None for departure in seen.departures):
        yield "whether a program listens there is not known to the rehearsal"
    elif seen.routed is not None and seen.routed.has_ways:
        # the hash has a seed that is new with each boot (fib_multipath_hash)
        yield "the route has several next hops: the box may choose another one"


def _translation(seen: Sightings) -> Iterator[str]:
    departure, question = seen.departure, seen.question
    if departure is None or question is None or question.iif is None:
        return
    if seen.invalid:
        yield (
            "an INVALID packet is not translated: it leaves with the addresses it has, "
            "unless a rule drops ct state invalid"
        )
    asked, left = question.packet, departure.packet
    is_turned = left.dst != asked.dst
    if is_turned and seen.is_bridge and departure.interface == question.iif:
        yield (
            f"both ends are behind the bridge {question.iif}: with br_netfilter it "
            "passes this on by itself, and by the port it came in only in hairpin mode "
            "(bridge link set dev PORT hairpin on)"
        )
    if not is_turned and seen.is_bridge and departure.interface == question.iif:
        yield (
            f"both ends are behind the bridge {question.iif}: unless it is sent to the "
            "box itself, the bridge passes it on, and the box does not route it"
        )
    if is_turned and left.src == asked.src and departure.interface == question.iif:
        yield (
            f"hairpin without source translation: {left.dst} will answer {left.src} "
            "directly, past this box, and the answer will not be known there; "
            f"masquerade what comes from and goes to {question.iif}"
        )
