"""All of standard error, and what exit codes mean."""

from __future__ import annotations

import os
import sys

from natscope.errors import FilterError, NatscopeError, UnknownColumn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class ExitCode:
    """Exit codes of natscope's own commands."""

    DONE = 0
    """Done."""
    NOTHING = 1
    """Nothing matched."""
    USAGE = 2
    """The command line or the filter cannot be understood."""
    REFUSED = 3
    """The kernel, a permission, a file or a missing tool stood in the way."""
    PARTLY = 4
    """Done in part; standard error says what is missing."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C."""


LONGEST_LINE = 2_000
"""Beyond this, the middle of a message is left out."""


class UsageError(NatscopeError):
    """A command line that cannot be understood."""


def guarded(run: Callable[[], int]) -> int:
    """Run a command; turn its errors into words and an exit code.

    A reader that goes away (``| head``) ends the process quietly, as it does
    C programs.
    """
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return run()
    except SystemExit as stop:  # argparse, which has said why
        return stop.code if isinstance(stop.code, int) else ExitCode.USAGE
    except FilterError as error:
        complain(f"{error}\n{_indent(error.pointer())}", error.hint)
        return ExitCode.USAGE
    except (UsageError, UnknownColumn) as error:
        complain(str(error), error.hint)
        return ExitCode.USAGE
    except NatscopeError as error:
        complain(str(error), error.hint)
        return ExitCode.REFUSED
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        complain(f"{what}{error.strerror or error}")
        return ExitCode.REFUSED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def complain(message: str, hint: str | None = None) -> None:
    """Say what went wrong, and what to do."""
    note(f"natscope: {message}")
    if hint:
        note(f"  {hint}")


def note(line: str) -> None:
    """One line of narration."""
    _tell(_harmless(line) + "\n")


def is_terminal() -> bool:
    """Whether a person reads the narration."""
    return sys.stderr is not None and sys.stderr.isatty()


def progress(line: str) -> None:
    """A line that the next one replaces, on a terminal."""
    _tell(f"\r{_harmless(line)}\x1b[K")


def ask(question: str) -> str:
    """A person's answer; empty if there is none to be had."""
    _tell(question)
    return "" if sys.stdin is None else sys.stdin.readline()  # None: it is closed


def _tell(text: str) -> None:
    if sys.stderr is None:
        return  # closed before we began
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens: there is nowhere left to say so


def _harmless(line: str) -> str:
    """A line a terminal will not obey, cut where it has no end."""
    if len(line) > LONGEST_LINE:
        half = LONGEST_LINE // 2
        line = f"{line[:half]} … {line[-half:]}"
    marks = (c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in line)
    return "".join(marks)


def flush() -> None:
    """Write out what argparse complained of."""
    _tell("")


def unknown_command(name: str, known: Iterable[str]) -> int:
    """Refuse a command that is none, naming the nearest."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    hint = f"did you mean {near[0]}?" if near else "natscope --help lists them"
    complain(f"no command {name!r}", hint)
    return ExitCode.USAGE


def wire() -> Callable[[str, bytes], None] | None:
    """A printer of netlink datagrams, when NATSCOPE_DEBUG asks for the wire."""
    if "wire" not in os.environ.get("NATSCOPE_DEBUG", "").split(","):
        return None
    from natscope.codec.wire import describe

    def show(direction: str, data: bytes) -> None:
        note(f"{direction} {len(data)} bytes")
        for line in describe(data):
            note("  " + line)

    return show


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
