"""``natscope explain``: what would happen to a packet, and why."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import boxes, diagnostics, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError
from natscope.errors import DecodeError, NatscopeError

if TYPE_CHECKING:
    from natscope.model.bundle import Bundle
    from natscope.model.journey import Journey
    from natscope.model.packet import Packet, Question
    from natscope.rehearse.twin import Twin

EPILOG = """\
examples:
  natscope explain tcp 10.0.0.5:51000 to 93.184.216.34:443 in lan
  natscope explain udp 10.0.0.5 to 9.9.9.9:53             which way it comes is asked
                                                          of the routing table
  natscope explain ping 203.0.113.1 to 9.9.9.9 out        the box's own packet
  natscope explain --reply tcp 192.0.2.9 to 203.0.113.1:8080 in wan
  natscope explain --flow 'host 10.0.0.5 and dst port 443'
  natscope explain --bundle ticket.json tcp 10.0.0.5 to 9.9.9.9:443
  natscope explain --rules new.nft --ip box.json tcp 10.0.0.5 to 9.9.9.9:443 in lan
  natscope explain --diff 'nft -f change.nft' tcp 10.0.0.5 to 9.9.9.9:443 in lan
The kernel answers, in private namespaces with the box's interfaces, routes and rules;
nothing of the box is touched, and no packet leaves it.
exit code 0: the packet is forwarded, delivered or sent; 1: it is not.
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "explain", "What would happen to a packet, and why.", EPILOG
    )
    made.add_argument(
        "words",
        nargs="*",
        metavar="PACKET",
        help="PROTO SOURCE[:PORT] to DESTINATION[:PORT] [in INTERFACE|out] [flags syn] "
        "[mark N] [ttl N] …",
    )
    box = made.add_argument_group("which box")
    boxes.add_options(box)
    packet = made.add_argument_group("what to ask")
    packet.add_argument("--reply", action="store_true", help="send the answer as well")
    packet.add_argument("--pcap", metavar="FILE", help="the packets of a capture")
    packet.add_argument(
        "--flow",
        metavar="ID|FILTER",
        help="the first packet of a flow that is open: by its id, or the first that "
        "fits",
    )
    packet.add_argument(
        "--flows", action="store_true", help="with the flows that are open now"
    )
    packet.add_argument(
        "--diff",
        metavar="COMMAND|FILE",
        help="the same packets after a change, side by side",
    )
    made.add_argument("--json", action="store_true", help="one JSON document")
    return made


def run(argv: list[str]) -> int:
    """Ask, and tell."""
    options = inputs.parse(parser(), argv)
    if not (options.words or options.pcap or options.flow):
        raise UsageError("what packet?", hint="natscope explain --help has examples")
    from natscope.rehearse.twin import Twin

    bundle = boxes.bundle(options)
    with Twin(bundle) as twin:
        boxes.tell_missing(twin)
        boxes.put_flows(options, bundle, twin)
        questions = _questions(options, bundle, twin)
        if options.diff is None:
            return _tell(options, _journeys(twin, questions, reply=options.reply))
        asked = list(questions)
        before = list(_journeys(twin, asked, reply=options.reply))
    changed, command = _changed(bundle, options.diff)
    with Twin(changed) as twin:
        if command is not None:
            twin.change(command)
        boxes.put_flows(options, bundle, twin)
        after = list(_journeys(twin, asked, reply=options.reply))
    return _tell_difference(options, before, after)


def _questions(
    options: argparse.Namespace, bundle: Bundle, twin: Twin
) -> Iterator[Question]:
    """What is asked, each with the way it comes in."""
    from natscope.codec.text import question
    from natscope.model.packet import Question

    way = options.words
    if options.pcap is None and options.flow is None:
        text = " ".join(way)
        yield _on_its_way(question.parse(text), question.says_way(text), twin)
        return
    iif, said = _way(way)
    found = _captured(options.pcap) if options.pcap else _of_flow(options, bundle)
    for packet in found:
        yield _on_its_way(Question(packet, iif), said, twin)


def _on_its_way(asked: Question, said: bool, twin: Twin) -> Question:
    return asked if said else replace(asked, iif=twin.origin(asked.packet))


def _way(words: list[str]) -> tuple[str | None, bool]:
    """``in eth0`` or ``out``, beside --pcap and --flow; whether it was said."""
    match " ".join(words).split():
        case []:
            return None, False
        case ["out"]:
            return None, True
        case ["in", interface]:
            return interface, True
    raise UsageError(
        "beside --pcap and --flow only the way counts", hint="in INTERFACE, or out"
    )


def _captured(path: str) -> Iterator[Packet]:
    """The IP packets of a capture file; it tells no way, only where it listened."""
    from natscope.codec import pcap

    count = 0
    try:
        with Path(path).open("rb") as file:
            for _, packet in pcap.to_packets(pcap.read(file)):
                if isinstance(packet, DecodeError):
                    diagnostics.complain(f"{path}: {packet}")
                elif packet is not None:
                    count += 1
                    yield packet
    except OSError as error:
        raise NatscopeError(f"{path}: {error.strerror or error}") from error
    except DecodeError as error:
        if not count:
            raise NatscopeError(f"{path}: {error}") from error
        diagnostics.complain(f"{path}: {error}; what came before it is answered")
    if not count:
        raise NatscopeError(f"{path}: there is no IP packet in it")


def _of_flow(options: argparse.Namespace, bundle: Bundle) -> Iterator[Packet]:
    from natscope.model.packet import opening

    asked = options.flow
    with boxes.known_flows(options, bundle) as source:
        for flow in source.flows(f"id {asked}" if asked.isdigit() else asked):
            yield opening(flow.orig)
            return
    raise NatscopeError(
        f"there is no flow {asked}", hint="natscope list --columns +id lists them"
    )


def _journeys(
    twin: Twin, asked: Iterable[Question], *, reply: bool
) -> Iterator[Journey]:
    from natscope.model.packet import Question, answer
    from natscope.views.journey import journey

    for question in asked:
        seen = twin.send(question)
        yield journey(seen)
        departure = seen.departure
        if reply and departure is not None:
            back = Question(answer(departure.packet), departure.interface)
            yield journey(twin.send(back))


def _changed(bundle: Bundle, change: str) -> tuple[Bundle, str | None]:
    """The box after a change: other rules, or a command that is yet to be run."""

    if Path(change).is_file():
        return replace(bundle, rulesets=boxes.rulesets(change)), None
    return bundle, change


def _tell(options: argparse.Namespace, journeys: Iterator[Journey]) -> int:
    """Print the answers: as text each as it comes, for a capture may be long."""
    from natscope.render import journey as rendered

    if options.json:
        found = list(journeys)
        objects = [rendered.document(one) for one in found]
        document = {"schema": rendered.SCHEMA, "journeys": objects}
        output.write(json.dumps(document, indent=2).encode() + b"\n")
        return _verdict(found)
    colour = output.wants_colour()
    codes: set[int] = set()
    for one in journeys:
        gap = "\n" if codes else ""
        output.write((gap + rendered.text(one, colour=colour)).encode())
        codes.add(_verdict([one]))
    return max(codes)


def _tell_difference(
    options: argparse.Namespace, before: list[Journey], after: list[Journey]
) -> int:
    from natscope.render import journey as rendered

    if options.json:
        document = {
            "schema": rendered.SCHEMA,
            "before": [rendered.document(one) for one in before],
            "after": [rendered.document(one) for one in after],
        }
        output.write(json.dumps(document, indent=2).encode() + b"\n")
        return _verdict(after)
    colour = output.wants_colour()
    for first, second in zip(before, after, strict=False):
        output.write(rendered.difference(first, second, colour=colour).encode())
    if len(before) != len(after):
        diagnostics.note("not all packets have an answer both before and after")
    return _verdict(after)


def _verdict(journeys: list[Journey]) -> int:
    from natscope.model.journey import Outcome

    good = (Outcome.FORWARDED, Outcome.DELIVERED, Outcome.SENT)
    passed = all(one.outcome in good for one in journeys)
    return ExitCode.DONE if passed else ExitCode.NOTHING
