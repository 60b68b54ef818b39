"""Write the man pages from the parsers: ``make docs``.

With ``--check``, write nothing and fail when a page is not what the code says.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from natscope.cli import COMMANDS
from natscope.cli.conntrack import grammar, protocols
from natscope.cli.conntrack.grammar import Option

MAN = Path(__file__).parents[1] / "docs" / "man"
_WITHOUT_PARSER = {"help", "netstat-nat", "conntrack"}


def pages() -> Iterator[tuple[str, str]]:
    """Every page: its name and its text."""
    for name, command in COMMANDS.items():
        if name in _WITHOUT_PARSER:
            continue
        module = import_module(f"natscope.cli.{command.module}")
        yield f"natscope-{name}.1", page(name, command.about, module.parser())
    yield "natscope-conntrack.1", conntrack_page()
    yield "natscope.1", overview()


def page(name: str, about: str, parser: argparse.ArgumentParser) -> str:
    """The page of one command."""
    title = f"natscope-{name}"
    usage = parser.format_usage().removeprefix("usage: ").split()
    lines = [
        f'.TH {title.upper()} 1 "" natscope "natscope manual"',
        ".SH NAME",
        f"{title} \\- {roff(about)}",
        ".SH SYNOPSIS",
        ".nh",
        f".B {roff(' '.join(usage[:2]))}",
        roff(" ".join(usage[2:])),
        ".hy",
        ".SH DESCRIPTION",
        roff(parser.description or about),
    ]
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
        if actions:
            lines.append(f".SH {roff((group.title or 'options').upper())}")
            lines += [line for action in actions for line in _option(parser, action)]
    return "\n".join([*lines, *_examples(parser.epilog or ""), *_EXIT]) + "\n"


_EXIT = [
    ".SH EXIT STATUS",
    "0 done, 1 nothing matched, 2 usage, 3 the kernel, a permission or a file",
    "stood in the way, 4 partly done.",
    ".SH SEE ALSO",
    "natscope(1), natscope-conntrack(1)",
]


def overview() -> str:
    """The page of the program."""
    lines = [
        '.TH NATSCOPE 1 "" natscope "natscope manual"',
        ".SH NAME",
        "natscope \\- see and change every network address translation of a box",
        ".SH SYNOPSIS",
        ".B natscope",
        r"\fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".SH COMMANDS",
    ]
    for name, command in COMMANDS.items():
        lines += [".TP", f".B {roff(name)}", roff(command.about)]
    return "\n".join([*lines, *_EXIT]) + "\n"


def conntrack_page() -> str:
    """The page of the drop-in for conntrack(8), from its grammar."""
    title = "natscope-conntrack"
    lines = [
        f'.TH {title.upper()} 1 "" natscope "natscope manual"',
        ".SH NAME",
        f"{title} \\- conntrack(8), whole and right",
        ".SH SYNOPSIS",
        r"\fBnatscope conntrack\fR \fICOMMAND\fR [\fITABLE\fR] [\fIOPTION\fR ...]",
        ".br",
        r"\fBnatscope conntrack \-R\fR \fIFILE\fR",
        ".SH DESCRIPTION",
        "Takes what conntrack(8) 1.4.7 to 1.4.9 takes and prints what it prints.",
        "Where it is different on purpose is told in",
        ".IR docs/conntrack\\-differences.md .",
        "Options may stand anywhere, be bundled, and be abbreviated; words of",
        "status, event and output may be too.",
        ".SH COMMANDS",
    ]
    for command in grammar.COMMANDS:
        tables = f" ({', '.join(command.tables.split())})" if command.tables else ""
        names = f"-{command.letter}, --{command.long}"
        lines += [".TP", f".B {roff(names)}", roff(command.help + tables)]
    load = "carry out the commands of a file; - is standard input"
    lines += [".TP", f".B {roff('-R, --load-file FILE')}", roff(load), ".SH OPTIONS"]
    for option in grammar.OPTIONS:
        lines += _conntrack_option(option)
    for protocol in protocols.PROTOCOLS:
        if protocol.options:
            lines.append(f".SH OPTIONS OF {protocol.name.upper()}")
        for option in protocol.options:
            lines += _conntrack_option(option)
    return "\n".join([*lines, *_CONNTRACK_END]) + "\n"


_CONNTRACK_END = [
    ".SH EXIT STATUS",
    "0 done, 1 failed or nothing found to change, 2 usage.",
    ".SH ENVIRONMENT",
    ".TP",
    ".B NATSCOPE_CONNTRACK_VERSION",
    "The version messages carry, in place of 1.4.9.",
    ".SH SEE ALSO",
    "natscope(1), conntrack(8)",
]


def _conntrack_option(option: Option) -> list[str]:
    short = option.letter if option.letter.isalpha() and option.letter != "M" else ""
    names = ([f"-{short}"] if short else []) + [f"--{one}" for one in option.longs]
    legal = sorted(
        {word[0] for word in f"{option.may} {option.must} {option.pair}".split()}
    )
    commands = f" (with {', '.join('-' + letter for letter in legal)})"
    shown = f"{', '.join(names)} {option.metavar}".rstrip()
    return [".TP", f".B {roff(shown)}", roff(option.help + commands)]


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    formatter = parser._get_formatter()
    yield ".TP"
    yield f".B {roff(formatter._format_action_invocation(action))}"
    yield roff(formatter._expand_help(action)) if action.help else ""


def _examples(epilog: str) -> Iterator[str]:
    if epilog:
        text = re.sub(r"^examples:\n", "", epilog)
        yield from (".SH EXAMPLES", ".nf", roff(text.rstrip()), ".fi")


def roff(text: str) -> str:
    """Text as roff takes it."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def main() -> int:
    """Write or check every page; the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    MAN.mkdir(exist_ok=True)
    for name, text in pages():
        path = MAN / name
        if check and (not path.exists() or path.read_text() != text):
            stale.append(str(path))
        elif not check:
            path.write_text(text)
    for path_ in stale:
        sys.stderr.write(f"{path_} is not what the code says: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
