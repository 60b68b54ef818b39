"""The namespaces of a twin: who may have them, and that nothing is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from natscope.errors import NatscopeError
from natscope.rehearse.private import Private

pytestmark = pytest.mark.kernel

CROWDED = """
import os
from natscope.rehearse.private import Private
for _ in range(9):
    os.open(os.devnull, os.O_RDONLY)
    with Private() as private:
        assert "lo:" in private.run(["ip", "-o", "link"])
"""
FORBIDDEN = """
from natscope.errors import NamespaceError
from natscope.rehearse.private import Private
try:
    with Private() as private:
        private.write("net/ipv4/ip_forward", "1")
except NamespaceError as error:
    print(error, error.hint, sep="|")
"""


def test_what_else_a_process_has_open_does_not_matter() -> None:
    subprocess.run([sys.executable, "-c", CROWDED], check=True)


def test_an_interrupt_of_the_terminal_does_not_reach_the_namespaces() -> None:
    with Private() as private:
        assert os.getpgid(private.pid) != os.getpgid(0)


def test_a_program_that_does_not_end_in_time_is_ended() -> None:
    with Private() as private:
        with pytest.raises(NatscopeError, match=r"sleep 60: did not end within 0.01 s"):
            private.run(["sleep", "60"], longest_s=0.01)
        assert private.run(["echo", "on it goes"]) == "on it goes\n"


def test_a_closed_one_leaves_no_process() -> None:
    private = Private()
    private.close()
    with pytest.raises(ProcessLookupError):
        os.kill(private.pid, signal.SIG_DFL)


class Interrupted(Exception):
    """What Ctrl-C raises, here."""


def _interrupt(signum: int, frame: object) -> None:
    raise Interrupted


def test_a_program_that_does_not_end_is_ended_with_them() -> None:
    before = signal.signal(signal.SIGALRM, _interrupt)
    try:
        with Private() as private:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                private.run(["sleep", "infinity"])
    finally:
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Case:
    id: str
    unshare: tuple[str, ...]
    before: str
    error: str
    hint: str


CASES = [
    Case(
        "no user namespaces",
        ("--user", "--map-root-user"),
        "echo 0 > /proc/sys/user/max_user_namespaces",
        "cannot make private namespaces: No space left on device",
        "user.max_user_namespaces is 0: as root, sysctl -w",
    ),
    Case(
        "a container's /proc",
        ("--mount",),
        "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys",
        "cannot set up private namespaces: /proc/sys is read-only",
        "docker run --privileged",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_forbids_them_is_named(case: Case) -> None:
    words = f'{case.before}; exec "$@"'
    done = subprocess.run(
        ["unshare", *case.unshare, "sh", "-c", words, "sh",
         sys.executable, "-c", FORBIDDEN],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    error, hint = done.stdout.strip().split("|")
    assert error == case.error
    assert case.hint in hint
