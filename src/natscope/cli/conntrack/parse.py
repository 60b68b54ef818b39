"""A command line of conntrack(8) to what it asks for, or to conntrack's error."""

from __future__ import annotations

from natscope.cli.conntrack import getopt, grammar, options
from natscope.cli.conntrack.draft import Draft
from natscope.cli.conntrack.request import CommandLineError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from natscope.cli.conntrack.grammar import Command


_NAT = frozenset("ngj")


def parse(words: Sequence[str], program: str = "conntrack") -> Request:
    """What a command line asks for.

    Args:
        words: the arguments, without the program's name.
        program: that name, as typed.

    Raises:
        CommandLineError: with what conntrack would say; ``warnings`` is what
            it would have said before.
    """
    draft = Draft()
    try:
        _read(draft, getopt.Getopt([program, *words], grammar.LETTERS, grammar.LONGS))
        return draft.finished()
    except getopt.MissingArgument as missing:
        error = CommandLineError(f"option `{missing.word}' requires an argument")
    except getopt.UnknownOption as unknown:
        error = CommandLineError(f"unknown option `{unknown.word}'")
    except CommandLineError as found:
        error = found
    error.warnings = tuple(draft.warnings)
    raise error


def parse_line(line: str, program: str = "conntrack") -> Request | None:
    """What a line of a ``--load-file`` asks for; None for a blank or comment.

    ``legality.check_file`` tells whether a file may hold it; conntrack asks
    that when it has read the whole file.

    Raises:
        CommandLineError: as ``parse``.
    """
    words = getopt.words_of_line(line)
    return parse(words, program) if words else None


def _read(draft: Draft, words: getopt.Getopt) -> None:
    """Read every word, from left to right, up to the first error."""
    while (found := words.option()) is not None:
        key, argument = found
        option = grammar.BY_LETTER.get(key)
        command = grammar.COMMANDS_BY_LETTER.get(key)
        takes = option.takes if option is not None else getopt.OPTIONAL
        if key in _NAT and argument and _NAT.issuperset(argument):
            argument = None  # -nj: letters after one that may take an argument
        elif argument is None and takes == getopt.OPTIONAL:
            argument = words.optional_word()
        if command is not None:
            _command(draft.request, command, argument)
        elif option is None:
            options.read_of_protocol(draft, key, argument or "")
        else:
            draft.given.add(option.name)
            options.read(draft, option, argument)
            if option.name == "protonum" and draft.protocol is not None:
                words.add(draft.protocol.longs())


def _command(request: Request, command: Command, table: str | None) -> None:
    named = _table(table)
    if named in ("dying", "unconfirmed") and command.name != "list":
        raise CommandLineError(
            "Can't do that command with tables `dying' and `unconfirmed'"
        )
    if named == "expect" and command.tables == "conntrack":
        raise CommandLineError(f"Can't do --{command.long} on expectations")
    if request.command:
        raise CommandLineError("Invalid commands combination")
    request.command = command.name
    request.table = named if command.tables else "conntrack"


def _table(word: str | None) -> str:
    """The table whose name a word begins."""
    if word is None:
        return "conntrack"
    for table in grammar.TABLES:
        if table.startswith(word):
            return table
    raise CommandLineError(f"unknown type `{word}'")
