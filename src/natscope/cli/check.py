"""``natscope check``: tests for a ruleset."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import boxes, diagnostics, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError
from natscope.errors import (
    DecodeError,
    KernelError,
    MissingTool,
    NamespaceError,
    NatscopeError,
)
from natscope.sources import whole

if TYPE_CHECKING:
    from natscope.model.bundle import Bundle
    from natscope.model.cases import Box, Case, CaseFile, Checked
    from natscope.rehearse.checking import Checker
    from natscope.views.drafting import Draft

EPILOG = """\
a file:
  box = "router.bundle.json"       # natscope bundle wrote it; or
                                   # rules = "nftables.conf", ip = ["addr.json", …]
  [[case]]
  name = "the web server is reachable"
  packet = "tcp 192.0.2.9 to 203.0.113.1:{port} in wan"
  each = { port = [80, 443] }
  expect = "forwarded"             # delivered sent dropped rejected accepted stopped
  out = "lan"
  to = "10.0.0.3:80"               # and from, nat, reply, rule, comment, reason, ct …
examples:
  natscope check router.toml
  natscope check router.toml --rules new.nft     the same cases, other rules
  natscope check router.toml --only '*web*' --verbose
  natscope check --write > router.toml           draft a file from this box
The kernel answers, in private namespaces with the box's interfaces, routes and rules;
from files no root is needed.
exit code 0: all as expected; 1: some are not; 2: the file cannot be understood.
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser("check", "Tests for a ruleset.", EPILOG)
    made.add_argument("file", nargs="?", metavar="FILE", help="the cases (- is stdin)")
    made.add_argument("--only", metavar="GLOB", help="the cases with such a name")
    made.add_argument(
        "--write", action="store_true", help="draft a file from the box's port forwards"
    )
    box = made.add_argument_group("which box, in place of the file's")
    boxes.add_options(box)
    how = made.add_argument_group("how to tell")
    how.add_argument(
        "-v", "--verbose", action="store_true", help="the way of every packet"
    )
    form = how.add_mutually_exclusive_group()
    form.add_argument("--tap", action="store_true", help="TAP version 14")
    form.add_argument("--json", action="store_true", help="one JSON document")
    how.add_argument("--junit", metavar="FILE", help="JUnit's XML as well, to a file")
    return made


def run(argv: list[str]) -> int:
    """Check, and tell."""
    options = parser().parse_args(argv)
    if options.write:
        if options.file is not None:
            raise UsageError("--write writes to standard output: leave FILE out")
        return _write(options)
    if options.file is None:
        raise UsageError(
            "which file?", hint="natscope check --write > cases.toml drafts one"
        )
    found = _read(options.file)
    cases = _chosen(found, options.only)
    bundle = _bundle(options, found.box)
    begun = time.perf_counter()
    from natscope.rehearse.checking import Checker
    from natscope.views.checking import settled

    with Checker(bundle, None if options.verbose else settled) as checker:
        boxes.tell_missing(checker.twin)
        telling = _Telling(options, len(cases), begun)
        telling.tell(_checked(checker, cases))
    return telling.end()


def _read(file: str) -> CaseFile:
    from natscope.codec.text import cases

    try:
        data = whole.read(file)
    except NatscopeError as error:
        raise UsageError(str(error)) from error
    try:
        return cases.parse(data.decode())
    except (DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error


def _chosen(found: CaseFile, only: str | None) -> tuple[Case, ...]:
    from fnmatch import fnmatchcase

    if only is None:
        return found.cases
    cases = tuple(case for case in found.cases if fnmatchcase(case.name, only))
    if not cases:
        raise UsageError(f"no case has a name like {only!r}")
    return cases


def _bundle(options: argparse.Namespace, box: Box) -> Bundle:
    """The box of the command line, else of the file, else this one."""

    base = Path() if options.file in (None, "-") else Path(options.file).parent
    named = argparse.Namespace(**vars(options))
    if not (options.bundle or options.ip or options.netns):
        named.bundle = None if box.bundle is None else str(base / box.bundle)
        named.ip = [str(base / one) for one in box.ip] or None
        named.netns = box.netns
    if options.rules is None and box.rules is not None:
        named.rules = str(base / box.rules)
    return boxes.bundle(named)


def _checked(checker: Checker, cases: Iterable[Case]) -> Iterator[Checked]:
    from natscope.model.cases import Checked, Difference
    from natscope.views.checking import differences
    from natscope.views.journey import journey

    for case in cases:
        try:
            found = checker.run(case)
        except (KernelError, MissingTool, NamespaceError):
            raise  # the twin's, not the packet's
        except NatscopeError as error:
            told = Difference("packet", "one that can be sent", str(error))
            yield Checked(case, (told,))
            continue
        if not found.is_traced:
            yield Checked(case)
            continue
        ways = tuple(journey(seen) for seen in found.seen)
        yield Checked(case, differences(case, found.seen), ways)


@dataclass
class _Telling:
    """Tells of cases as they come."""

    options: argparse.Namespace
    count: int
    begun: float

    def __post_init__(self) -> None:
        self._good = self._bad = 0
        self._kept: list[Checked] = []
        self._keeps = bool(self.options.json or self.options.junit)

    def tell(self, checked: Iterable[Checked]) -> None:
        from natscope.render import checks, tap

        style = checks.Style(
            colour=output.wants_colour(),
            signs=output.shows_signs(),
            verbose=self.options.verbose,
        )
        if self.options.tap:
            output.write(tap.plan(self.count).encode())
        for number, one in enumerate(checked, 1):
            self._good += one.is_good
            self._bad += not one.is_good
            if self._keeps:
                self._kept.append(one)
            if self.options.tap:
                output.write(tap.line(one, number).encode())
            elif not self.options.json:
                output.write(checks.text(one, style).encode())

    def end(self) -> int:
        """What comes at the end; the exit code."""
        from natscope.render import checks, junit

        seconds = time.perf_counter() - self.begun
        if self.options.json:
            document = checks.document(self._kept, seconds)
            output.write(json.dumps(document, indent=2).encode() + b"\n")
        elif not self.options.tap:
            output.write(checks.total(self._good, self._bad, seconds).encode())
        if self.options.junit:
            name = self.options.file
            text = junit.xml(self._kept, suite=name, seconds=seconds)
            Path(self.options.junit).write_text(text, encoding="utf-8")
        return ExitCode.NOTHING if self._bad else ExitCode.DONE


def _write(options: argparse.Namespace) -> int:
    """Draft a file: what the twin answers is what is expected."""
    from natscope.rehearse.checking import Checker
    from natscope.render import draft

    bundle = boxes.bundle(options)
    with Checker(bundle, None) as checker:
        drafts = list(_drafts(checker, bundle, options))
    if not drafts:
        diagnostics.note("natscope: no port forward and no translated flow was found")
        return ExitCode.NOTHING
    named = {
        "box": options.bundle,
        "rules": options.rules,
        "ip": options.ip,
        "netns": options.netns,
    }
    box = {key: value for key, value in named.items() if value}
    output.write(draft.text(drafts, box).encode())
    return ExitCode.DONE


def _drafts(
    checker: Checker, bundle: Bundle, options: argparse.Namespace
) -> Iterator[Draft]:
    from natscope.codec.text import cases
    from natscope.model.cases import Expectation
    from natscope.views import drafting
    from natscope.views.checking import differences

    is_live = boxes.is_live(options)
    with boxes.flows(bundle, is_live=is_live, netns=options.netns) as source:
        flows = [] if source is None else list(drafting.translated(source.flows()))
    candidates = [*drafting.forwards(checker.twin.rules, bundle), *flows]
    for one in candidates:
        try:
            case = cases.case(one.words, Expectation(reply="accepted"))
            seen = checker.run(case).seen
        except NatscopeError as error:
            diagnostics.note(f"natscope: left out: {one.words}: {error}")
            continue
        made = drafting.draft(one, seen[0], replied=not differences(case, seen))
        if made is None:
            diagnostics.note(f"natscope: left out, not translated: {one.words}")
        else:
            yield made
