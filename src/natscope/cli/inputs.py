"""The options that say which table to read, shared by every reading command."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, moments
from natscope.cli.diagnostics import UsageError

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.sources.base import Source


def command_parser(name: str, about: str, epilog: str) -> argparse.ArgumentParser:
    """The parser of one command; the epilog is kept as it is typed."""
    return argparse.ArgumentParser(
        prog=f"natscope {name}",
        description=about,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a FILTER or a newer option is not to be guessed at
    )


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add what chooses the source, and the filter words."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[FILE] FILTER",
        help="a saved listing, a recording or a bundle to read instead of the kernel "
        "(- is stdin), then a filter such as: tcp and dst port 443 "
        "(natscope help filter)",
    )
    group = parser.add_argument_group("where to read")
    add_netns_option(group)
    group.add_argument(
        "--all-netns",
        action="store_true",
        help="every named namespace, with a netns column",
    )
    group.add_argument(
        "--proc",
        action="store_true",
        help="/proc/net/nf_conntrack, for kernels without ctnetlink",
    )
    group.add_argument(
        "-r", "--read", metavar="FILE", help="a saved listing (- is stdin)"
    )
    group.add_argument(
        "--at",
        metavar="TIME",
        help="of a recording, the table as it was: '2026-11-17 14:03', 14:03, "
        "-5m, '5m ago' (default: its end)",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="stop at the first line of a saved listing that cannot be read",
    )


def add_netns_option(group: argparse._ActionsContainer) -> None:
    """Add the choice of a network namespace."""
    group.add_argument(
        "--netns", metavar="NAME|PID|PATH", help="another network namespace"
    )


def add_box_options(group: argparse._ActionsContainer) -> None:
    """Add the choice of a box: of this machine, or in a bundle."""
    add_netns_option(group)
    group.add_argument(
        "--bundle", metavar="FILE", help="what natscope bundle wrote (- is stdin)"
    )


def see_one_box(options: argparse.Namespace) -> None:
    """Refuse a box of this machine and one in a bundle at once."""
    if options.bundle is not None and options.netns is not None:
        raise UsageError("choose one of --bundle and --netns")


def add_event_options(group: argparse._ArgumentGroup, *, repairs: bool = False) -> None:
    """Add what says where events come from, and how hard to hold on to them.

    Args:
        group: of the parser.
        repairs: the command may do without what makes a loss good.
    """
    add_netns_option(group)
    group.add_argument(
        "--reliable",
        action="store_true",
        help="the end of a flow that finds no room is sent again by the kernel",
    )
    group.add_argument(
        "--ensure-events",
        action="store_true",
        help="set net.netfilter.nf_conntrack_events to 1 for as long as this runs",
    )
    group.add_argument(
        "--buffer",
        metavar="SIZE",
        help="a receive buffer of this size (default: grows with need)",
    )
    if repairs:
        group.add_argument(
            "--no-repair",
            action="store_true",
            help="no dump at the beginning or after a loss: events alone",
        )


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse, with options allowed between the words of a filter."""
    return parser.parse_intermixed_args(list(_moment_joined(argv)))


def _moment_joined(argv: list[str]) -> Iterator[str]:
    """``--at -5m`` as one word, or argparse takes ``-5m`` for an option."""
    words = iter(argv)
    for word in words:
        following = next(words, None) if word == "--at" else None
        yield word if following is None else f"--at={following}"


def split_words(options: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The file to read, if any, and the words of the filter.

    The first word is a file when it is ``-`` or names one and is no filter
    word; write ``./tcp`` for a file called tcp.
    """
    if options.netns == "":
        raise UsageError("--netns needs a name, a process id or a path")
    if options.read is not None:
        return options.read, options.words
    return file_before(options.words)


def file_before(words: list[str]) -> tuple[str | None, list[str]]:
    """The file that stands before a filter, if one does, and the filter."""
    if words and (words[0] == "-" or _is_file(words[0])):
        return words[0], words[1:]
    if words and _looks_like_a_path(words[0]):
        raise UsageError(
            f"{words[0]}: no such file, and no word a filter begins with",
            hint="natscope help filter tells what a filter is",
        )
    return None, words


def _looks_like_a_path(word: str) -> bool:
    if " " in word or ":" in word or not word:
        return False
    if "/" in word:
        return word[0] in "./~" or word[0].isalpha()
    return word.rpartition(".")[2].isalpha() and "." in word


def _is_file(word: str) -> bool:
    path = Path(word)
    try:
        if not path.exists():
            return False
    except (OSError, ValueError):
        return False  # too long, or with a NUL: a filter
    if path.is_dir():
        return "/" in word
    if "/" in word or "." in word:
        return True
    from natscope.filter import is_word

    return not is_word(word)


def filter_of(words: list[str]) -> Filter | None:
    """The filter of the command line; without words there is none to load.

    Raises:
        FilterError: with a pointer at the word.
    """
    if not words:
        return None
    from natscope.filter import parse as parse_filter

    return parse_filter(words)


@contextmanager
def opened(options: argparse.Namespace, file: str | None) -> Iterator[Source]:
    """The source the options name, closed at the end.

    Raises:
        UsageError: two sources at once.
    """
    named = [file is not None, options.netns is not None, options.all_netns]
    if sum([*named, options.proc]) > 1:
        raise UsageError("choose one of FILE, --netns, --all-netns and --proc")
    if options.proc:
        from natscope.sources.proc import ProcTable

        yield ProcTable(strict=options.strict)
        return
    if file is not None:
        yield _saved(file, options)
        return
    if options.at is not None:
        raise UsageError("--at needs a recording; the kernel knows the present alone")
    from natscope.sources.kernel import Kernel
    from natscope.sources.namespaces import AllNamespaces

    wire = diagnostics.wire()
    kernel: Kernel | AllNamespaces
    kernel = (
        AllNamespaces(wire=wire)
        if options.all_netns
        else Kernel(options.netns, wire=wire)
    )
    with kernel:
        yield kernel


def _saved(file: str, options: argparse.Namespace) -> Source:
    from natscope.sources import saved
    from natscope.sources.recordingfiles import is_recording

    at_ns = None
    if options.at is not None:
        if not is_recording(file):
            raise UsageError(f"--at needs a recording, and {file} is none")
        at_ns = moments.moment_ns(options.at, time.time_ns())
    return saved.opened(file, strict=options.strict, at_ns=at_ns)


def report(source: Source) -> int:
    """Say what a saved listing could not give; the exit code that follows."""
    problems = getattr(source, "problems", None)
    if problems is not None and source.lacks:
        kind = getattr(source, "format", None) or "nothing"
        diagnostics.note(f"read {kind}; it does not tell: {', '.join(source.lacks)}")
    if not problems:
        return diagnostics.ExitCode.DONE
    for problem in list(problems)[:10]:
        diagnostics.complain(str(problem))
    total = getattr(source, "problem_count", len(problems))
    if total > 10:
        diagnostics.complain(f"{total} lines in all could not be read")
    return diagnostics.ExitCode.PARTLY
