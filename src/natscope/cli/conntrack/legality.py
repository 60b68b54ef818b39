"""Which options go with a command: conntrack's generic_opt_check()."""

from __future__ import annotations

from natscope.cli.conntrack import grammar
from natscope.cli.conntrack.grammar import ILLEGAL, PAIRED, REQUIRED
from natscope.cli.conntrack.request import CommandLineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from natscope.cli.conntrack.grammar import Option
    from natscope.cli.conntrack.protocols import Protocol
    from natscope.cli.conntrack.request import Request

    Pairs = Sequence[tuple[str, str]]


def code_of(request: Request) -> str:
    """A command as the grammar writes it: its letter, x for expectations."""
    for command in grammar.COMMANDS:
        if command.name == request.command:
            return command.letter + ("x" if request.table == "expect" else "")
    return ""


def check(request: Request, protocol: Protocol | None) -> None:
    """Refuse options the command does not take, and commands that lack some.

    Raises:
        CommandLineError: for the first that conntrack would name.
    """
    code, given = code_of(request), request.given
    if "any-nat" in given and not given.isdisjoint(("src-nat", "dst-nat")):
        raise CommandLineError(
            "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'"
        )
    _check(grammar.OPTIONS, code, given, grammar.PAIRS, grammar.PAIRS)
    if protocol is not None and request.command != "help":
        options, pairs = protocol.options, protocol.pairs
        _check(options, code, given, pairs, protocol.pair_names)
    count, stats = (request.command == one for one in ("count", "stats"))
    if (stats and request.output) or (count and request.output - {"json"}):
        # natscope's: a number is JSON
        raise CommandLineError("Illegal option `--output' with this command")
    zero = request.zero and request.table == "conntrack"
    if zero and not given.isdisjoint(grammar.COMPARISONS):
        raise CommandLineError("Can't use -z with filtering parameters")
    if request.filters:
        for end in ("src", "dst"):
            if f"mask-{end}" in given and end not in given:
                raise CommandLineError(f"Can't use --mask-{end} without --{end}")
    no_bits = "status" in given and not request.status_set | request.status_clear
    if code in ("L", "D") and no_bits:
        # the kernel's answer to -L; conntrack's -D would delete everything
        raise CommandLineError("Operation failed: invalid parameters", 1)


def _check(
    options: Sequence[Option],
    code: str,
    given: frozenset[str],
    pairs: Pairs,
    names: Pairs,
) -> None:
    paired = False
    for option in options:
        legality = option.legality(code)
        if option.name not in given:
            if legality == REQUIRED:
                raise CommandLineError(
                    f"You need to supply the `--{option.name}' option for this command"
                )
        elif legality == ILLEGAL:
            raise CommandLineError(
                f"Illegal option `--{option.name}' with this command"
            )
        paired = paired or legality == PAIRED
    if not paired or any(one in given and other in given for one, other in pairs):
        return
    begun = (n for n, pair in enumerate(pairs) if not given.isdisjoint(pair))
    one, other = names[next(begun, 0)]
    raise CommandLineError(f"you have to specify `--{one}' and `--{other}'")


def check_file(request: Request) -> None:
    """Refuse a request that a ``--load-file`` cannot hold.

    Raises:
        CommandLineError: it only shows something, or is about expectations.
    """
    code = code_of(request)
    if code in grammar.IN_FILES:
        return
    shown = f"-{code[:1]} expect" if code.endswith("x") else f"-{code}"
    shown = grammar.NAMES_IN_FILES.get(code, shown) if code else "unknown"
    raise CommandLineError(f"Cannot use command `{shown}' with --load-file")
