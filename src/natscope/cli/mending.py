"""``natscope doctor --fix``: each remedy is shown, asked about, and run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, output
from natscope.cli.diagnostics import ExitCode
from natscope.errors import NatscopeError

if TYPE_CHECKING:
    from natscope.model.finding import Finding, Remedy

_YES, _LASTING, _QUIT = ("y", "yes"), ("l", "lasting"), ("q", "quit")


def mend(findings: Iterable[Finding], netns: str | None) -> int:
    """Ask about each remedy that can be run as it stands.

    Returns:
        The exit code: DONE where there was nothing to mend, or each remedy that was
        run did its work.
    """
    ran = failed = 0
    found = False
    seen: set[str] = set()  # two findings may ask for the same
    for finding in findings:
        found = True
        for remedy in finding.remedies:
            if remedy.is_pattern or remedy.command in seen:
                continue
            seen.add(remedy.command)
            answer = _asked(finding, remedy, netns)
            if answer in _QUIT:
                return _end(ran, failed, found=found, asked=bool(seen))
            if answer not in _YES + _LASTING:
                continue
            try:
                _run(remedy, netns, is_lasting=answer in _LASTING)
            except (NatscopeError, OSError) as error:
                failed += 1
                diagnostics.complain(str(error), getattr(error, "hint", None))
                continue
            ran += 1
            break  # the others are other ways to the same end
    return _end(ran, failed, found=found, asked=bool(seen))


def unfix() -> int:
    """Take the last setting back."""
    from natscope.actions import mending

    last = mending.take_back()
    output.write(f"{last.name} = {last.before}\n".encode())
    left = len(mending.written_down())
    if left:
        diagnostics.note(f"natscope doctor --unfix again takes the one before: {left}")
    return ExitCode.DONE


def _asked(finding: Finding, remedy: Remedy, netns: str | None) -> str:
    command = remedy.command.replace("\n", "\n  ")
    diagnostics.note(f"\n{finding.rule}  {finding.headline}\n  {command}")
    if remedy.about:
        diagnostics.note(f"  {remedy.about}")
    if remedy.is_destructive:
        diagnostics.note("  something is lost by it")
    can_last = remedy.sysctl is not None and netns is None
    lasting = ", [l]asting: after the next boot too" if can_last else ""
    question = f"  run it? [y]es{lasting}, [N]o, [q]uit: "
    answer = diagnostics.ask(question)
    if not answer:  # nobody to ask
        diagnostics.note("")
        return "q"
    word = answer.strip().lower()
    return "" if word in _LASTING and not can_last else word


def _run(remedy: Remedy, netns: str | None, *, is_lasting: bool) -> None:
    from natscope.actions import mending

    if remedy.sysctl is None:
        for line in mending.run(remedy.command, netns).splitlines() or ["done"]:
            diagnostics.note(f"  {line}")
        return
    name, value = remedy.sysctl
    lasting = mending.LASTING if is_lasting else None
    made = mending.change(name, value, netns=netns, lasting=lasting)
    where = f"; {lasting} says so after a boot" if lasting is not None else ""
    diagnostics.note(
        f"  {name} was {made.before}, is {value}{where} "
        "(natscope doctor --unfix takes it back)"
    )


def _end(ran: int, failed: int, *, found: bool, asked: bool) -> int:
    if ran or failed:
        told = f"{ran} done, {failed} failed: look again with natscope doctor"
        diagnostics.note(told)
        return ExitCode.REFUSED if failed else ExitCode.DONE
    if not found:
        return ExitCode.DONE
    left = "; what has words to fill in, or only looks, is yours"
    diagnostics.note(f"nothing was run{'' if asked else left}")
    return ExitCode.NOTHING
