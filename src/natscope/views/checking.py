"""Whether what became of a packet is what a case expects.

A packet that was not traced tells less; what it leaves open is never taken as good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from natscope import uapi
from natscope.codec.packetline import endpoint_text
from natscope.model.cases import (
    OUTCOMES,
    PASSED,
    STATES,
    Case,
    Difference,
    Endpoint,
    Expectation,
)
from natscope.model.journey import Departure, Outcome, Sightings
from natscope.model.packet import Packet
from natscope.model.tuples import Address
from natscope.views.journey import RAW_BEFORE, is_own, journey

_COUNTED = re.compile(r"\bcounter packets \d+ bytes \d+|\[\d+:\d+\]")
_PORT_UNREACHABLE = ((uapi.IPPROTO_ICMP, 3, 3), (uapi.IPPROTO_ICMPV6, 1, 4))
_COMMENT = re.compile(r'(?<!-m )(?<!\S)(?:--)?comment (?:"([^"]*)"|(\S+))')
_WORD = re.compile(r"[^\s\"'{},;]+")


def settled(case: Case, seen: Sequence[Sightings]) -> bool:
    """Whether packets that were not traced are surely as expected.

    False asks for a trace: something is not as expected, or needs a trace to tell.

    Args:
        case: what is expected.
        seen: of each step in order, and of the reply where one is expected and
            something left that could be answered.
    """
    expectation = case.expectation
    last, reply = _split(case, seen)
    if expectation.needs_trace or last is None:
        return False
    told = [(last, expectation.expect)]
    if reply is not None:
        told.append((reply, expectation.reply))
    for one, expected in told:
        if expected is not None and not _possible(one) <= OUTCOMES[expected]:
            return False
    return not any(
        (*_of_departure(expectation, last), *_of_reply(expectation, last, reply))
    )


def differences(case: Case, seen: Sequence[Sightings]) -> tuple[Difference, ...]:
    """What is not as expected of packets that were traced; none: all is.

    Args:
        case: what is expected.
        seen: as for :func:`settled`.
    """
    expectation = case.expectation
    last, reply = _split(case, seen)
    if last is None:
        got = f"packet {len(seen)} did not leave"
        return (Difference("packets", "a reply", got),)
    found = [
        *_of_outcome("expect", expectation.expect, last),
        *_of_departure(expectation, last),
        *_of_rules(expectation, last),
        *_of_marks(expectation, last),
    ]
    if reply is not None:
        found += _of_outcome("reply", expectation.reply, reply)
    return (*found, *_of_reply(expectation, last, reply))


def translation(asked: Packet, left: Packet) -> str:
    """Of NATS: which ends are other than they were."""
    turned = [
        (asked.src, asked.sport, asked.icmp_id) != (left.src, left.sport, left.icmp_id),
        (asked.dst, asked.dport) != (left.dst, left.dport),
    ]
    return {(False, False): "none", (True, False): "snat", (False, True): "dnat"}.get(
        (turned[0], turned[1]), "both"
    )


def _split(
    case: Case, seen: Sequence[Sightings]
) -> tuple[Sightings | None, Sightings | None]:
    """What was seen of the last packet, and of the reply to it."""
    count = len(case.steps)
    last = seen[count - 1] if len(seen) >= count else None
    return last, seen[count] if len(seen) > count else None


def _possible(seen: Sightings) -> frozenset[Outcome]:
    """How a packet that was not traced may have ended."""
    departure = seen.departure
    asked = seen.question
    is_sent = asked is not None and asked.iif is None
    if departure is None:
        answers = [one.packet for one in seen.departures if one.is_answer]
        if any(_is_refusal(answer) for answer in answers):
            return frozenset({Outcome.REJECTED})
        if answers:
            return frozenset(Outcome) - PASSED
        # of the box's own, a program may have been told
        also = {Outcome.REJECTED} if is_sent else set()
        return frozenset({Outcome.DROPPED, *also})
    if departure.interface is None:
        return frozenset({Outcome.DELIVERED})
    return frozenset({Outcome.SENT if is_sent else Outcome.FORWARDED})


def _is_refusal(answer: Packet) -> bool:
    """An answer that only a rule that rejects gives: a router refuses no port."""
    if answer.proto == uapi.IPPROTO_TCP:
        return bool((answer.tcp_flags or 0) & uapi.TcpFlag.RST)
    return (answer.proto, answer.icmp_type, answer.icmp_code) in _PORT_UNREACHABLE


def _of_outcome(
    key: str, expected: str | None, seen: Sightings
) -> Iterator[Difference]:
    if expected is None:
        return
    found = journey(seen)
    if found.outcome in OUTCOMES[expected]:
        return
    got = found.outcome.value
    departure = seen.departure
    if found.why is not None:
        got += f": {found.why}"
    elif departure is not None and departure.interface is not None:
        got += f" out {departure.interface}"
    yield Difference(key, expected, got)


def _of_departure(expectation: Expectation, seen: Sightings) -> Iterator[Difference]:
    """Where and as what it leaves."""
    departure = seen.departure
    wanted = {
        "out": expectation.out,
        "from": None if expectation.src is None else expectation.src.text,
        "to": None if expectation.dst is None else expectation.dst.text,
        "nat": expectation.nat,
    }
    for key, expected in wanted.items():
        if expected is None:
            continue
        got = None if departure is None else _unlike(key, expectation, seen, departure)
        if departure is None:
            # where an outcome is expected, that it was stopped is told already
            if expectation.expect is None:
                yield Difference(key, expected, "nothing left")
        elif got is not None:
            yield Difference(key, expected, got)


def _unlike(
    key: str, expectation: Expectation, seen: Sightings, departure: Departure
) -> str | None:
    """What there is instead; None: it is as expected."""
    packet = departure.packet
    if key == "out":
        if departure.interface == expectation.out:
            return None
        return departure.interface or "delivered to the box itself"
    if key == "nat":
        asked = seen.question
        got = "none" if asked is None else translation(asked.packet, packet)
        return None if got == expectation.nat else got
    if key == "from":
        return _other(expectation.src, packet.src, packet.sport)
    return _other(expectation.dst, packet.dst, packet.dport)


def _other(expected: Endpoint | None, address: Address, port: int | None) -> str | None:
    if expected is None or expected.holds(address, port):
        return None
    return endpoint_text(address, port)


def _of_rules(expectation: Expectation, seen: Sightings) -> Iterator[Difference]:
    rules = [v.rule.text for v in seen.visits if v.rule is not None and not is_own(v)]
    last = rules[-1] if rules else "no rule matched"
    if expectation.rule is not None:
        words = _words(expectation.rule)
        if not any(_in_order(words, _words(rule)) for rule in rules):
            yield Difference("rule", expectation.rule, last)
    if expectation.comment is not None:
        comments = [a or b for rule in rules for a, b in _COMMENT.findall(rule)]
        if expectation.comment not in comments:
            got = ", ".join(comments) or "no rule with a comment matched"
            yield Difference("comment", expectation.comment, got)
    if expectation.reason is not None:
        found = journey(seen)
        if found.reason != expectation.reason:
            got = found.reason or f"{found.outcome.value}, for nothing stopped it"
            yield Difference("reason", expectation.reason, got)


def _words(text: str) -> list[str]:
    """The words of a rule, as nft and iptables have in common."""
    words = _WORD.findall(_COUNTED.sub("counter", text))
    return [word.lstrip("-").lower() for word in words]


def _in_order(words: list[str], within: list[str]) -> bool:
    rest = iter(within)
    return all(word in rest for word in words)


def _of_marks(expectation: Expectation, seen: Sightings) -> Iterator[Difference]:
    """What conntrack made of it, and the marks it has at the end."""
    if expectation.ct is not None and expectation.ct != (got := _state(seen)):
        yield Difference("ct", expectation.ct, got)
    if expectation.mark is not None:
        mark = next((v.mark for v in reversed(seen.visits) if v.packet), 0)
        if mark != expectation.mark:
            yield Difference("mark", f"{expectation.mark:#x}", f"{mark:#x}")
    if expectation.ctmark is not None:
        entry = seen.after
        if entry is None:
            yield Difference("ctmark", f"{expectation.ctmark:#x}", "no entry")
        elif (entry.mark or 0) != expectation.ctmark:
            got = f"{entry.mark or 0:#x}"
            yield Difference("ctmark", f"{expectation.ctmark:#x}", got)


def _state(seen: Sightings) -> str:
    tracked = next((v.tracked for v in seen.visits if v.tracked), None)
    if tracked is not None:
        return next(
            (name for name, bit in STATES.items() if bit == tracked.state),
            str(tracked.state),
        )
    if seen.is_tracked is False:
        return "nothing: no rule of this box needs connection tracking"
    late = any((v.base.priority or 0) > RAW_BEFORE for v in seen.visits)
    return "invalid" if late else "nothing: it was stopped before"


def _of_reply(
    expectation: Expectation, seen: Sightings, reply: Sightings | None
) -> Iterator[Difference]:
    """Whether the answer comes back, to whom and as from whom."""
    expected = expectation.reply
    if expected is None:
        return
    if reply is None:
        if expectation.expect is None:
            yield Difference("reply", expected, "nothing left that could be answered")
        return
    departure, asked = reply.departure, seen.question
    if departure is None or asked is None or not OUTCOMES[expected] & PASSED:
        return
    back, packet = departure.packet, asked.packet
    wanted = endpoint_text(packet.dst, packet.dport), _asker(packet)
    got = endpoint_text(back.src, back.sport), _asker(back, is_back=True)
    if wanted != got:
        shown = [f"{source} > {target}" for source, target in (wanted, got)]
        yield Difference("reply", shown[0], shown[1])
    if departure.interface != asked.iif:
        shown = [f"out {one}" if one else "to the box itself"
                 for one in (asked.iif, departure.interface)]  # fmt: skip
        yield Difference("reply", shown[0], shown[1])


def _asker(packet: Packet, *, is_back: bool = False) -> str:
    address, port = (
        (packet.dst, packet.dport) if is_back else (packet.src, packet.sport)
    )
    number = "" if packet.icmp_id is None else f" id {packet.icmp_id}"
    return f"{endpoint_text(address, port)}{number}"
