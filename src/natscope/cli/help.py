"""``natscope help TOPIC``, ``natscope help COMMAND``, ``natscope help R03``."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from natscope.cli import COMMANDS, output
from natscope.cli.diagnostics import ExitCode, UsageError

_HERE = Path(__file__).parents[1]
_PAGES = (_HERE / "findings", _HERE.parents[1] / "docs/reference/findings")
"""The pages of the doctor's findings: in a wheel, in a checkout."""
_FINDING = re.compile(r"[Rr](\d\d?)")


def run(argv: list[str]) -> int:
    """Print one topic, what a command is for, or what topics there are."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<9}{about}" for name, (about, _) in TOPICS.items()]
        lines.append("  R01, R02 … what natscope doctor finds: symptom, cause, mend")
        text = "usage: natscope help TOPIC|COMMAND\n\n" + "\n".join(lines) + "\n"
    elif argv[0] in TOPICS:
        text = TOPICS[argv[0]][1]()
    elif argv[0] in COMMANDS:
        module = import_module(f"natscope.cli.{COMMANDS[argv[0]].module}")
        code: int = module.run(["--help"])
        return code
    elif found := _FINDING.fullmatch(argv[0]):
        text = _page(f"R{int(found[1]):02}")
    else:
        raise UsageError(
            f"no help on {argv[0]!r}", hint=f"a command, or one of: {', '.join(TOPICS)}"
        )
    output.write(text.encode())
    return ExitCode.DONE


def _page(finding: str) -> str:
    """What is known of one of the doctor's findings."""
    for place in _PAGES:
        for path in place.glob(f"{finding}-*.md"):
            return path.read_text()
    raise UsageError(f"no finding {finding}", hint="natscope doctor --list tells them")


def _filter() -> str:
    from natscope.filter.reference import reference_text

    return reference_text()


def _columns() -> str:
    from natscope.views.fields import FIELDS

    width = max(map(len, FIELDS))
    lines = [f"  {f.name:<{width}}  {f.meaning}" for f in FIELDS.values()]
    return (
        "Columns, for --columns, --sort and --group-by:\n\n" + "\n".join(lines) + "\n"
    )


def _kinds() -> str:
    from natscope.model.nat import KIND_LETTERS, KIND_WORDS

    pairs = zip(KIND_LETTERS, KIND_WORDS, strict=True)
    lines = [f"  {letter:<3}{words}" for letter, words in pairs]
    return (
        "Kinds of translation (column NAT, filter: kind s,d):\n\n"
        + "\n".join(lines)
        + "\n\nWhere the two tuples of a flow put each part:\n\n"
        "  part     s            d r p          h            sd\n"
        "  inside   orig source  reply source   orig source  orig source\n"
        "  public   reply dest   orig dest      orig dest    reply dest\n"
        "  outside  orig dest    orig source    -            orig dest\n"
        "  target   -            reply source   reply source reply source\n"
        "\nA port-only translation (p) of the source is cast as s; sd follows d when\n"
        "only the target is a private address, and h when both ends are private.\n"
        "A flow of ours to the world that d, r or p turns elsewhere keeps its inside\n"
        "(orig source) and outside (orig dest), has a target and no public end.\n"
    )


def _formats() -> str:
    return (
        "Formats of every listing:\n\n"
        "  (none)    aligned text for people; coloured on a terminal, not in a pipe\n"
        '  --json    one document: {"schema": …, "flows": [ … ]}\n'
        "  --ndjson  one JSON object a line\n"
        "  --csv     comma-separated, RFC 4180, with a heading line\n"
        "  --tsv     tab-separated\n\n"
        "Programs get whole numbers in base units (bytes, seconds, nanoseconds)\n"
        "and, without --columns, everything that is known of a flow (JSON) or the\n"
        "common columns (CSV); what is not known is left out of JSON, empty in CSV.\n"
    )


TOPICS: dict[str, tuple[str, Callable[[], str]]] = {
    "filter": ("the filter language, with examples", _filter),
    "columns": ("every column a listing can show", _columns),
    "kinds": ("kinds of translation, and what inside, public, outside mean", _kinds),
    "formats": ("text, JSON, CSV", _formats),
}
