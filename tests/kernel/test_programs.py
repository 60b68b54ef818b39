"""The programs behind netlink ports, of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from natscope.sources.netns import Namespace, new_namespace
from natscope.sources.programs import KEEP_S, Programs

pytestmark = pytest.mark.kernel

NAME = "a) b (c"
"""A process may call itself so; proc_pid_stat(5) puts it in parentheses."""
HOLDER = f"""
import socket
open("/proc/self/comm", "w").write({NAME!r})
held = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) for _ in range(2)]
for one in held:
    one.bind((0, 0))
print(*(one.getsockname()[0] for one in held), flush=True)
input()
"""


@contextmanager
def holder() -> Iterator[tuple[int, int]]:
    """A program with two netfilter sockets: the first has its process id as port."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first, second = map(int, process.stdout.readline().split())
        assert first == process.pid != second
        try:
            yield first, second
        finally:
            process.kill()


def test_a_program_is_found_by_any_of_its_ports(netns: Namespace) -> None:
    with holder() as ports:
        assert Programs().names([0, *ports]) == dict.fromkeys(ports, NAME)
        assert Programs().name(ports[1]) == NAME


def test_a_program_is_found_in_another_namespace(netns: Namespace) -> None:
    with (
        new_namespace("other") as other,
        other.enter(),
        holder() as (_, port),
        netns.enter(),
    ):
        assert Programs().name(port) is None
        assert Programs(other.path).name(port) == NAME


def test_a_name_outlives_its_program_and_is_looked_up_again_later(
    netns: Namespace,
) -> None:
    now = [1000.0]
    programs = Programs(clock=lambda: now[0])
    with holder() as (_, port):
        assert programs.name(port) == NAME
    now[0] += KEEP_S - 1
    assert programs.name(port) == NAME
    now[0] += 1
    assert programs.name(port) is None


def test_a_process_that_has_no_netlink_socket_is_not_named(netns: Namespace) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert Programs().name(process.pid) is None
        finally:
            process.kill()


def test_a_namespace_that_has_gone_names_nobody(netns: Namespace) -> None:
    with new_namespace("other") as other:
        programs = Programs(other.path)
    assert programs.name(os.getpid() ^ 1 << 31) is None
