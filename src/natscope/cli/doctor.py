"""``natscope doctor``: what is wrong with this box, the proof, and the mend."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, moments, output
from natscope.cli.diagnostics import ExitCode, UsageError
from natscope.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscope.model.bundle import Bundle
    from natscope.table.flowtable import FlowTable
    from natscope.views.doctor.diagnosis import Diagnosis
    from natscope.views.doctor.snapshot import Snapshot
    from natscope.views.doctor.thresholds import Thresholds

INTERVAL_S = 5.0
"""Between the two readings: long enough for a trouble that goes on."""
LONGEST_S = 86_400
LEVELS = ("info", "warning", "high", "critical")
EPILOG = """\
examples:
  natscope doctor                        look for five seconds, and tell
  natscope doctor --interval 60s         look longer: rare troubles show
  natscope doctor --only R03,R04         some rules alone (--list tells them)
  natscope doctor --fail-on high --json  for cron and build servers
  natscope bundle --doctor box.json.gz   a box in a file …
  natscope doctor --bundle box.json.gz   … judged elsewhere
  natscope doctor --bundle box.json --flows box.rec    … by the flows of a recording
  natscope doctor --watch                what is raised, and what is no more
  natscope doctor --fix                  show each remedy, ask, and run it
What counts since boot raises no alarm: what rose between two readings does.
exit code 0: nothing as bad as --fail-on; 1: something is; 4: nothing, but not all of
the box could be read, or not every rule that was asked for could be checked
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "doctor", "What is wrong with this box, the proof, and the mend.", EPILOG
    )
    where = made.add_argument_group("which box")
    inputs.add_box_options(where)
    where.add_argument(
        "--flows",
        metavar="FILE",
        help="with --bundle: its flows, from a saved listing or a recording",
    )
    what = made.add_argument_group("what to look for")
    what.add_argument(
        "--only", metavar="RULES", help="these alone: R03, or R03,R07 (see --list)"
    )
    what.add_argument(
        "-i", "--interval", metavar="TIME", help="between two readings (default 5s)"
    )
    what.add_argument(
        "--deep",
        action="store_true",
        help="ask the rules themselves, in a twin of the box, what they would do with "
        "each flow: exact, and may take seconds",
    )
    what.add_argument(
        "--thresholds", metavar="FILE", help="TOML: other limits than the usual ones"
    )
    what.add_argument("--list", action="store_true", help="tell the rules, and end")
    _add_telling(made)
    return made


def _add_telling(made: argparse.ArgumentParser) -> None:
    """Add what becomes of the findings."""
    how = made.add_argument_group("how to tell")
    form = how.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document")
    form.add_argument("--sarif", action="store_true", help="SARIF 2.1.0")
    how.add_argument(
        "-w", "--watch", action="store_true", help="again and again: raise and clear"
    )
    how.add_argument(
        "--fail-on",
        choices=LEVELS,
        default="warning",
        help="exit with 1 from here on (default warning)",
    )
    mend = made.add_argument_group("what to do").add_mutually_exclusive_group()
    mend.add_argument(
        "--fix", action="store_true", help="show each remedy, ask, and run it"
    )
    mend.add_argument(
        "--unfix", action="store_true", help="take the last setting of --fix back"
    )


def run(argv: list[str]) -> int:
    """Look, and tell."""
    options = inputs.parse(parser(), argv)
    _check(options)
    length = interval_s(options)
    if options.list:
        return _list()
    if options.unfix:
        from natscope.cli.mending import unfix

        return unfix()
    ask = _asking(options)
    if options.watch:
        from natscope.cli.rounds import watch

        watch(options, _followed(options, length), ask, length)
    snapshot = _attributed(options, _snapshot(options, length))
    diagnosis = ask(snapshot)
    _tell(options, diagnosis, snapshot)
    if options.fix:
        from natscope.cli.mending import mend

        return mend(diagnosis.findings, options.netns)
    return _code(options, diagnosis, snapshot)


def _asking(options: argparse.Namespace) -> Callable[[Snapshot], Diagnosis]:
    from natscope.views.doctor.diagnosis import diagnose

    only, thresholds = _only(options), _thresholds(options)
    return lambda snapshot: diagnose(snapshot, thresholds, only)


def _followed(options: argparse.Namespace, length: float) -> Iterator[Snapshot]:
    import time

    from natscope.sources.snapshot import follow
    from natscope.views.doctor.snapshot import Snapshot

    if not length:
        raise UsageError("--watch needs an interval longer than 0")
    for read in follow(options.netns, length, wait=time.sleep):
        yield _attributed(options, Snapshot.of(*read))


def _check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if options.watch and (options.fix or options.sarif):
        raise UsageError("--watch goes with neither --fix nor --sarif")
    if options.fix and (options.json or options.sarif):
        raise UsageError("--fix asks a person: leave --json and --sarif out")
    if options.netns == "":
        raise UsageError("--netns needs a name, a process id or a path")
    if options.bundle is None:
        if options.flows is not None:
            raise UsageError("--flows goes with --bundle: a live box has its own")
        return
    inputs.see_one_box(options)
    if options.watch or options.fix:
        raise UsageError("a bundle is of the past: --watch and --fix need a live box")
    if options.interval is not None:
        raise UsageError(
            "--interval is for a live box",
            hint="natscope bundle --doctor reads twice when the file is made",
        )


def interval_s(options: argparse.Namespace) -> float:
    """Seconds between two readings, as ``--interval`` says; 0: one reading."""
    if options.interval is None:
        return INTERVAL_S
    if options.interval.strip() in ("0", "0s"):
        return 0.0
    found = moments.seconds(options.interval, "--interval")
    if found > LONGEST_S:
        raise UsageError(f"--interval takes up to {LONGEST_S} seconds")
    return found


def _only(options: argparse.Namespace) -> frozenset[str] | None:
    from natscope.views.doctor.diagnosis import BY_ID

    if options.only is None:
        return None
    asked = [word.strip().upper() for word in options.only.split(",")]
    for word in asked:
        if word not in BY_ID:
            raise UsageError(
                f"no rule {word!r}", hint="natscope doctor --list tells them"
            )
    return frozenset(asked)


def _thresholds(options: argparse.Namespace) -> Thresholds:
    from natscope.codec.text import thresholds
    from natscope.views.doctor.thresholds import DEFAULT, Thresholds

    if options.thresholds is None:
        return DEFAULT
    try:
        text = Path(options.thresholds).read_text()
        return thresholds.parse(text, Thresholds)
    except OSError as error:
        raise UsageError(f"{options.thresholds}: {error.strerror or error}") from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{options.thresholds}: {error}") from error


def _snapshot(options: argparse.Namespace, length: float) -> Snapshot:
    from natscope.views.doctor.snapshot import Snapshot

    if options.bundle is not None:
        from natscope.sources.bundle import load

        bundle = load(options.bundle)
        return Snapshot.of(bundle, _flows(bundle, options.flows))
    from natscope.sources.snapshot import collect

    if length and diagnostics.is_terminal():
        diagnostics.progress(f"looking for {length:g} s …")
    try:
        return Snapshot.of(*collect(options.netns, length))
    finally:
        if length and diagnostics.is_terminal():
            diagnostics.progress("")


def _attributed(options: argparse.Namespace, snapshot: Snapshot) -> Snapshot:
    """With what made each flow: by the text of the rules, or by asking them."""
    if snapshot.table is None:
        return snapshot
    if not options.deep:
        from natscope.rehearse.attribution.shapes import by_shape
        from natscope.views.doctor.snapshot import NotRead

        try:
            made = by_shape(snapshot.table, snapshot.nat_rules, snapshot.bundle)
        except NotRead:
            return snapshot
        return snapshot.judged(made)
    from natscope.rehearse.attribution.attributor import Attributor
    from natscope.rehearse.twin import Twin

    with Twin(snapshot.bundle) as twin:
        attributor = Attributor(twin)
        made = attributor.attribute(snapshot.table)
    if attributor.unasked:
        diagnostics.note(f"natscope: {attributor.unasked} flows were not asked about")
    return snapshot.judged(made, is_exact=True)


def _flows(bundle: Bundle, file: str | None) -> FlowTable | None:
    """The flows of a bundle: those it holds, or those of a file."""
    if file is not None:
        from natscope.sources import saved

        return saved.opened(file).table()
    if bundle.flows is None:
        return None
    from natscope.sources.bundleflows import BundleFlows

    return BundleFlows(bundle).table()


def _list() -> int:
    from natscope.views.doctor.diagnosis import RULES

    lines = (f"{rule.id}  {rule.title}\n" for rule in RULES)
    output.write("".join(lines).encode())
    return ExitCode.DONE


def _tell(
    options: argparse.Namespace, diagnosis: Diagnosis, snapshot: Snapshot
) -> None:
    from natscope import __version__
    from natscope.render import findings, sarif
    from natscope.views.doctor.box import box_of

    box = box_of(snapshot, __version__, options.netns)
    if options.json or options.sarif:
        made = sarif.log if options.sarif else findings.document
        output.write(json.dumps(made(diagnosis, box), indent=2).encode() + b"\n")
        return
    colour, width = output.wants_colour(), output.terminal_columns()
    texts = [
        findings.text(one, box, colour=colour, width=width)
        for one in diagnosis.findings
    ]
    told = "\n".join([*texts, findings.summary(diagnosis)])
    gap = "\n" if texts else ""
    output.write(f"{findings.heading(box)}{gap}{told}".encode())
    for one in snapshot.missing:
        diagnostics.note(f"natscope: not read: {one}")


def _code(options: argparse.Namespace, diagnosis: Diagnosis, snapshot: Snapshot) -> int:
    level = LEVELS.index(options.fail_on)
    if any(found.severity >= level for found in diagnosis.findings):
        return ExitCode.NOTHING
    lacks = snapshot.missing or diagnosis.not_checked
    return ExitCode.PARTLY if lacks else ExitCode.DONE
