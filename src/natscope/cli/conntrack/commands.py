"""Each command of conntrack(8): what it does, says, and ends with."""

from __future__ import annotations

import errno

from natscope.cli import diagnostics, output
from natscope.cli.conntrack import messages, showing
from natscope.cli.conntrack.parse import parse
from natscope.cli.conntrack.request import CommandLineError
from natscope.errors import KernelError, NatscopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from natscope.cli.conntrack.request import Request


def main(argv: list[str]) -> int:
    """Carry out a command line; conntrack's exit code.

    0 is done, 1 a failure or nothing found to change, 2 a usage error.
    """
    name = ""
    try:
        if len(argv) >= 2 and argv[0] in ("-R", "--load-file"):
            from natscope.cli.conntrack.load import load

            return load(argv[1], perform)
        request = parse(argv)
        name = request.title
        say(*request.warnings)
        return _ended(name, perform(request))
    except CommandLineError as error:
        say(*error.warnings, messages.prefixed(str(error)))
        if error.try_help:
            say(messages.try_help())
        if error.hint:
            say(f"  {error.hint}")
        return error.code
    except KernelError as error:
        say(messages.failure(error, name))
        if error.extack:
            say(f"  the kernel says: {error.extack}")
        if error.hint and (error.errno != errno.EPERM or name == "update"):
            say(f"  {error.hint}")
    except NatscopeError as error:
        say(messages.prefixed(str(error)))
    except OSError as error:
        say(messages.prefixed(f"{error.filename or 'output'}: {error.strerror}"))
    return messages.FAILED


def perform(request: Request) -> int | None:
    """Carry out one request.

    Returns:
        How many entries it dealt with, None if that is not to be said.

    Raises:
        CommandLineError, KernelError: what ``main`` words.
    """
    if request.table == "expect":
        from natscope.cli.conntrack import expect

        return expect.perform(request)
    if showing.speaks_of_labels(request):
        showing.label_map(request)
    return _COMMANDS[request.command](request)


def _ended(name: str, count: int | None) -> int:
    """Say how many entries a command dealt with; the exit code."""
    if count is None:
        return messages.DONE
    say(messages.summary(name, count))
    listing = name in ("list", "list expect", "event", "event expect")
    return messages.DONE if count or listing else messages.FAILED


def _list(request: Request) -> int:
    from natscope.cli.conntrack import many

    return many.listing(request)


def _get(request: Request) -> int:
    from natscope.cli.conntrack import single
    from natscope.cli.conntrack.tuples import named_entry

    key = named_entry(request)
    found = single.get(request, key) if key is not None else None
    if not found and (key is None or "zone" not in key):
        # not in zone 0, or asked for by more than its tuple
        from natscope.cli.conntrack import many

        found = many.get(request) or found
    if found is None:
        raise KernelError("looking up an entry", errno.ENOENT, "there is none")
    return found


def _delete(request: Request) -> int:
    from natscope.cli.conntrack.tuples import full_tuple

    key = full_tuple(request)
    if key is None:
        from natscope.cli.conntrack import many

        return many.delete(request)
    from natscope.cli.conntrack import single

    return single.delete(request, key)


def _create(request: Request) -> int:
    from natscope.cli.conntrack import single

    return single.create(request, replace=request.command == "add")


def _update(request: Request) -> int:
    from natscope.cli.conntrack import many

    return many.update(request)


def _flush(request: Request) -> None:
    from natscope.codec.request import flush
    from natscope.sources.nlsocket import NetlinkSocket

    with NetlinkSocket() as sock:
        asked = flush(seq=sock.next_seq(), family=request.family)
        sock.ask(asked, "flushing the table")
    say(messages.prefixed("connection tracking table has been emptied."))


def _event(request: Request) -> int:
    from natscope.cli.conntrack import events

    return events.follow(request)


def _count(_: Request) -> None:
    from natscope.cli.conntrack import single

    single.count()


def _stats(_: Request) -> None:
    from natscope.cli.conntrack import statistics

    statistics.show()


def _version(_: Request) -> None:
    line = f"{messages.PROGRAM} v{messages.VERSION} (conntrack-tools)\n"
    output.write(line.encode())


def _help(request: Request) -> None:
    from natscope.cli.conntrack.usage import usage

    output.write(usage(request, messages.PROGRAM, messages.VERSION).encode())


_COMMANDS: dict[str, Callable[[Request], int | None]] = {
    "list": _list,
    "get": _get,
    "delete": _delete,
    "create": _create,
    "add": _create,
    "update": _update,
    "flush": _flush,
    "event": _event,
    "count": _count,
    "stats": _stats,
    "version": _version,
    "help": _help,
    "": _help,
}


def say(*lines: str) -> None:
    """Lines on standard error."""
    for line in lines:
        diagnostics.note(line)
