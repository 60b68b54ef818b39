"""A packet's way, for people and for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import groupby
from typing import TYPE_CHECKING, Any

from natscope import uapi
from natscope.codec import packetline
from natscope.codec.text import question as questions
from natscope.codec.text.printable import printable
from natscope.model.journey import (
    Chain,
    Departure,
    Journey,
    Outcome,
    Phase,
    Stage,
    Verdict,
    Visit,
)
from natscope.render.tuples import tuple_object

if TYPE_CHECKING:
    from natscope.model.flow import Flow
    from natscope.model.packet import Packet

SCHEMA = "natscope.journey/1"
_STAGE = 11
_SECONDS = re.compile(r", \d+ s$")
"""What an entry has left is another a moment later."""
_RESET, _BOLD, _DIM, _RED, _GREEN, _YELLOW = (
    *("\x1b[0m", "\x1b[1m", "\x1b[2m"),
    *("\x1b[31m", "\x1b[32m", "\x1b[33m"),
)
_COLOURS = {
    Outcome.FORWARDED: _GREEN,
    Outcome.DELIVERED: _GREEN,
    Outcome.SENT: _GREEN,
    Outcome.DROPPED: _RED,
    Outcome.REJECTED: _RED,
    Outcome.QUEUED: _YELLOW,
    Outcome.ANSWERED: _YELLOW,
    Outcome.UNKNOWN: _YELLOW,
}


def text(journey: Journey, *, colour: bool = False) -> str:
    """The phases, one after the other, and the result."""
    lines = []
    if journey.question is not None:
        lines.append(_painted(_asked(journey), _BOLD, colour))
    for number, phase in enumerate(journey.phases, 1):
        lines += _phase(number, phase, colour)
    lines += ["", *_result(journey, colour)]
    return "".join(f"{line}\n" for line in lines)


def document(journey: Journey) -> dict[str, Any]:
    """The same as one object: natscope.journey/1."""
    question = journey.question
    return {
        "question": None if question is None else questions.unparse(question),
        "outcome": journey.outcome.value,
        "reason": journey.reason,
        "why": journey.why,
        "by": None if journey.by is None else _visit_object(journey.by),
        "phases": [
            {
                "stage": phase.stage.value,
                "said": phase.said,
                "end": phase.is_end,
                "packet": _packet_object(phase.packet),
                "visits": [_visit_object(visit) for visit in phase.visits],
            }
            for phase in journey.phases
        ],
        "departures": [
            {
                "interface": departure.interface,
                "answer": departure.is_answer,
                "packet": _packet_object(departure.packet),
            }
            for departure in journey.departures
        ],
        "entry": None if journey.entry is None else _entry_object(journey.entry),
        "notes": list(journey.notes),
    }


def _asked(journey: Journey) -> str:
    question = journey.question
    assert question is not None
    way = "out" if question.iif is None else f"in {question.iif}"
    mark = f" mark {question.mark:#x}" if question.mark else ""
    return f"{packetline.text(question.packet)}, {way}{mark}"


def _phase(number: int, phase: Phase, colour: bool) -> Iterator[str]:
    said = printable(phase.said)
    if phase.is_end:
        said = _painted(said, _RED, colour)
    yield f"{number:2} {phase.stage.value:<{_STAGE}} {said}"
    indent = " " * (_STAGE + 4)
    for base, visits in groupby(phase.visits, key=lambda visit: visit.base):
        told = [v for v in visits if v.rule is not None or v.is_policy]
        name = printable(f"{base.family} {base.table} {base.name}")
        if [v for v in told if v.rule is not None]:
            yield indent + _painted(name, _DIM, colour)
            yield from (f"{indent}  {line}" for line in _steps(told, base))
        elif told:
            policy = f"no rule matched, {_visit(told[0])}"
            yield indent + _painted(f"{name}: {policy}", _DIM, colour)
    if phase.stage in (Stage.DNAT, Stage.SNAT) and phase.is_turned:
        assert phase.packet is not None
        yield f"{indent}= {packetline.text(phase.packet)}"


def _steps(visits: list[Visit], base: Chain) -> Iterator[str]:
    """Rules as they matched; those of a chain that was jumped to stand under it."""
    for visit in visits:
        where = "" if visit.chain == base else f"{printable(visit.chain.name)}: "
        yield f"{where}{_visit(visit)}"


def _visit(visit: Visit) -> str:
    if visit.rule is None:
        return f"policy {visit.verdict.name.lower()}"
    handle = visit.rule.handle
    number = f"  # handle {handle}" if handle is not None else ""
    return f"{printable(visit.rule.text)}{number}"


def _result(journey: Journey, colour: bool) -> Iterator[str]:
    outcome = journey.outcome
    word = _painted(outcome.value.upper(), _BOLD + _COLOURS[outcome], colour)
    ways = [d for d in journey.departures if not d.is_answer]
    yield f"{word}{_how(journey, ways)}"
    for departure in journey.departures:
        if departure.is_answer:
            out = f" out {departure.interface}" if departure.interface else ""
            yield f"  answered with {packetline.text(departure.packet)}{out}"
    if journey.entry is not None and ways:
        entry = journey.entry
        yield f"  entry    {packetline.ends_text(entry.orig)}"
        yield f"  expects  {packetline.ends_text(entry.reply)}"
    for note in journey.notes:
        yield _painted(f"  note: {note}", _DIM, colour)


def _how(journey: Journey, ways: list[Departure]) -> str:
    if journey.outcome == Outcome.DELIVERED:
        return f" to the box as {packetline.text(ways[0].packet)}"
    if ways:
        return f" out {ways[0].interface} as {packetline.text(ways[0].packet)}"
    return f": {printable(journey.why)}" if journey.why else ""


def _painted(words: str, code: str, colour: bool) -> str:
    return f"{code}{words}{_RESET}" if colour else words


def _visit_object(visit: Visit) -> dict[str, Any]:
    rule = visit.rule
    return {
        "family": visit.chain.family,
        "table": visit.chain.table,
        "chain": visit.chain.name,
        "base": visit.base.name,
        "hook": None if visit.base.hook is None else visit.base.hook.name.lower(),
        "priority": visit.base.priority,
        "rule": None if rule is None else rule.text,
        "handle": None if rule is None else rule.handle,
        "number": None if rule is None else rule.number,
        "tool": None if rule is None else rule.tool,
        "policy": visit.is_policy,
        "verdict": Verdict(visit.verdict).name.lower(),
        "target": visit.target,
    }


def _packet_object(packet: Packet | None) -> dict[str, Any] | None:
    if packet is None:
        return None
    return {
        "text": packetline.text(packet),
        "proto": packet.proto,
        "src": str(packet.src),
        "dst": str(packet.dst),
        "sport": packet.sport,
        "dport": packet.dport,
        "icmp_type": packet.icmp_type,
        "icmp_code": packet.icmp_code,
        "icmp_id": packet.icmp_id,
        "ttl": packet.ttl,
    }


def _entry_object(entry: Flow) -> dict[str, Any]:
    state = entry.tcp_state
    return {
        "id": entry.id,
        "orig": tuple_object(entry.orig),
        "reply": tuple_object(entry.reply),
        "status": entry.status,
        "timeout": entry.timeout,
        "tcp_state": None if state is None else uapi.state_name(uapi.TCP_STATES, state),
        "mark": entry.mark,
        "zone": entry.zone,
        "helper": entry.helper,
    }


def difference(before: Journey, after: Journey, *, colour: bool = False) -> str:
    """Two answers to one question, phase by phase."""
    lines = []
    if before.question is not None:
        lines.append(_painted(_asked(before), _BOLD, colour))
    olds, news = (list(_compared(one)) for one in (before, after))
    for tag, first, last, start, end in SequenceMatcher(
        None, olds, news, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            lines += [f"  {line}" for line in olds[first:last]]
            continue
        lines += [_painted(f"- {line}", _RED, colour) for line in olds[first:last]]
        lines += [_painted(f"+ {line}", _GREEN, colour) for line in news[start:end]]
    same = before.outcome == after.outcome and olds == news
    word = (
        "nothing changes" if same else f"{before.outcome.value} → {after.outcome.value}"
    )
    return "".join(f"{line}\n" for line in [*lines, "", word])


def _compared(journey: Journey) -> Iterator[str]:
    """The lines two answers are compared by: no handles, they are each twin's own."""
    for phase in journey.phases:
        said = _SECONDS.sub("", printable(phase.said))
        yield f"{phase.stage.value:<{_STAGE}} {said}"
        for visit in phase.visits:
            if visit.rule is None and not visit.is_policy:
                continue
            what = _visit(visit).partition("  # handle")[0]
            where = printable(f"{visit.chain.table} {visit.chain.name}")
            yield f"{'':<{_STAGE}} {where}: {what}"
    yield from (line.split("\n")[0] for line in _result(journey, colour=False))
