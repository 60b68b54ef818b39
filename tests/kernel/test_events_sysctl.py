"""nf_conntrack_events: set while it is needed, and put back."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kernel import crowd
from kernel.ordinary import run_as_nobody
from kernel.test_watch import watching
from natscope.actions import plan
from natscope.errors import NamespaceError
from natscope.model.event import EventKind
from natscope.sources import box
from natscope.sources.events import EventStream
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace, new_namespace
from natscope.sources.sharing import DIRECTORY
from natscope.sources.sysctls import ALWAYS, AUTOMATIC, EVENTS, OFF, ensured_events

pytestmark = pytest.mark.kernel


def set_events(value: int) -> None:
    (box.SYSCTLS / EVENTS).write_text(str(value))


def told(stream: EventStream) -> int:
    """How many events are there; making a flow has told of it before it returns."""
    return len(stream.take())


@pytest.mark.parametrize("before", [OFF, AUTOMATIC, ALWAYS])
def test_the_value_found_is_put_back(netns: Namespace, before: int) -> None:
    set_events(before)
    with ensured_events() as found:
        assert found == before
        assert box.read_sysctl(EVENTS) == ALWAYS
    assert box.read_sysctl(EVENTS) == before


def test_it_is_put_back_when_the_body_raises(netns: Namespace) -> None:
    set_events(OFF)
    with pytest.raises(ZeroDivisionError), ensured_events():
        raise ZeroDivisionError
    assert box.read_sysctl(EVENTS) == OFF


def test_what_somebody_else_set_meanwhile_stays(netns: Namespace) -> None:
    set_events(OFF)
    with ensured_events():
        set_events(AUTOMATIC)
    assert box.read_sysctl(EVENTS) == AUTOMATIC


def test_the_last_one_that_wants_it_puts_back_what_the_first_one_found(
    netns: Namespace,
) -> None:
    set_events(AUTOMATIC)
    with (
        watching("--ensure-events") as first,
        watching("--ensure-events") as second,
    ):
        assert first.end()[0] == 0
        assert box.read_sysctl(EVENTS) == ALWAYS
        assert second.end()[0] == 0
    assert box.read_sysctl(EVENTS) == AUTOMATIC
    inode = Path("/proc/thread-self/ns/net").stat().st_ino
    assert not (DIRECTORY / f"events-{inode}").exists()


def test_who_was_killed_does_not_keep_the_last_one_from_putting_it_back(
    netns: Namespace,
) -> None:
    set_events(OFF)
    with watching("--ensure-events") as first, ensured_events() as found:
        assert found == ALWAYS
        first.process.kill()
        first.process.wait()
    assert box.read_sysctl(EVENTS) == OFF


def test_another_namespace_is_changed_and_not_this_one(netns: Namespace) -> None:
    set_events(OFF)
    with new_namespace("other") as other, ensured_events(other.path):
        assert box.read_sysctl(EVENTS) == OFF
        with other.enter():
            assert box.read_sysctl(EVENTS) == ALWAYS


def test_a_namespace_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NamespaceError), ensured_events("no-such-namespace"):
        pass


def test_flows_born_at_0_tell_nothing_and_at_1_everything(netns: Namespace) -> None:
    silent, *loud = crowd.flows(3, 40)
    set_events(OFF)
    with Kernel() as kernel, kernel.events() as stream:
        plan.insert(kernel, [silent]).run()
        assert told(stream) == 0
        with ensured_events():
            plan.insert(kernel, loud).run()
            entries = kernel.count()[0]
            assert told(stream) == entries - 1


def test_flows_born_at_1_tell_their_end_to_who_came_later(netns: Namespace) -> None:
    with Kernel() as kernel, ensured_events():
        plan.insert(kernel, crowd.flows(3, 40)).run()
    with Kernel() as kernel, kernel.events() as stream:
        entries = plan.flush(kernel).run().done
        batch = stream.take()
        assert batch.kinds.tolist() == [EventKind.DESTROY] * entries


PROGRAM = """
from natscope.errors import NatscopeError
from natscope.sources.sysctls import ensured_events
try:
    with ensured_events():
        print("changed")
except NatscopeError as error:
    print(type(error).__name__, error, error.hint, sep="; ")
"""


def test_an_ordinary_user_is_told_what_is_needed(netns: Namespace) -> None:
    done = run_as_nobody(sys.executable, "-c", PROGRAM)
    assert done.stdout.startswith(
        "PermissionNeeded; setting net.netfilter.nf_conntrack_events to 1: "
        "Permission denied; root alone may set it"
    ), done


def test_a_read_only_proc_sys_is_named(netns: Namespace) -> None:
    remount = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys"
    python = shlex.join((sys.executable, "-c", PROGRAM))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{remount} && exec {python}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Read-only file system; /proc/sys is read-only here" in done.stdout, done
