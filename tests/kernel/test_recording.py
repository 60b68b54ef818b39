"""Recordings of a real table: whole after a kill, a full disk, a loss, a rotation."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from kernel import crowd, stock
from natscope import uapi
from natscope.codec.recording import Frame, FrameKind, read_frames
from natscope.errors import NatscopeError
from natscope.filter import parse
from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sinks.recorder import Recorder, Settings
from natscope.sinks.recordingfile import RecordingFailed
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.sources.recording import Recording
from natscope.sources.recordingfiles import older
from natscope.table.flowtable import FlowTable

pytestmark = pytest.mark.kernel

NATSCOPE = (sys.executable, "-m", "natscope")
DEADLINE_S = 20


def _insert(host: int, count: int = 1, first: int = 5000) -> None:
    """UDP flows of a host behind a public address of its own, a port each."""
    for port in range(first, first + count):
        words = f"-p udp -s 10.0.0.{host} -d 198.51.100.53 --sport {port} --dport 53 "
        words += f"-t 1000 -n 203.0.113.{host}"
        stock.conntrack("-I", *words.split())


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _record(recorder: Recorder, events: int) -> None:
    """Record until so many events are in the file."""
    deadline = time.monotonic() + DEADLINE_S
    while recorder.progress.events < events:
        assert time.monotonic() < deadline
        recorder.step(0.05)


def _keys(table: FlowTable) -> list[tuple[object, ...]]:
    return sorted((str(flow.orig), str(flow.reply), flow.id) for flow in table)


def _is_the_kernels(path: Path) -> bool:
    return _keys(Recording(path).table()) == _keys(Kernel().table())


@contextmanager
def _recording(
    path: Path, *words: str, most: int = -1
) -> Iterator[subprocess.Popen[str]]:
    """natscope record, under way; ``most`` limits the size of its files."""

    def limit() -> None:
        if most >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [*NATSCOPE, "record", str(path), *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=limit
    ) as process:
        try:
            _until(lambda: _frames(path)[-1:] != [] or process.poll() is not None)
            yield process
        finally:
            process.kill()


def _frames(path: Path) -> list[FrameKind]:
    if not path.exists():
        return []
    found = read_frames([path.read_bytes()])
    kinds = [one.kind for one in found if isinstance(one, Frame)]
    # until the first dump is over, the subscription may still be without events
    return [FrameKind(k) for k in kinds] if FrameKind.DUMP_END in kinds else []


def test_a_recording_is_the_kernels_table_of_every_protocol(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    _insert(9, 3)
    with Recorder(path) as recorder:
        made = stock.insert_all()
        _record(recorder, made)
        assert recorder.progress.lost == 0
        recorder.finish("test")
    assert _is_the_kernels(path)
    assert Recording(path).problems == []
    header = Recording(path)
    header.table()
    assert header.header is not None
    assert header.header.kernel == os.uname().release


def test_events_played_are_those_the_kernel_sent(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    kernel = Kernel()
    with Recorder(path) as recorder, kernel.events() as stream:
        made = stock.insert_all()
        stock.conntrack("-D", "-p", "udp", "--dport", "53")
        _record(recorder, made + 1)
        sent = [event for _ in range(50) if (b := stream.read(0.02)) for event in b]
        _record(recorder, len(sent))
        recorder.finish("test")
    played = [e for b in Recording(path).events() if not b.repaired for e in b]
    assert [(e.kind, e.flow.id, e.portid) for e in played] == [
        (e.kind, e.flow.id, e.portid) for e in sent
    ]


def test_who_had_a_port_is_told_after_the_flow_is_gone(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    with Recorder(path) as recorder:
        _insert(4)
        _record(recorder, 1)
        then = time.time_ns()
        stock.conntrack("-D", "-s", "10.0.0.4")
        _record(recorder, 2)
        recorder.finish("test")
    seconds = f"{then // 10**9}.{then % 10**9:09}"
    asked = (*NATSCOPE, "who", "203.0.113.4:5000", str(path))
    done = subprocess.run(
        [*asked, "--at", seconds], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == "10.0.0.4:5000 udp"
    now = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (now.returncode, now.stdout) == (1, "")


def test_a_loss_is_recorded_and_repaired(netns: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "r"
    with Recorder(path, buffer=4096) as recorder:
        _insert(5, 60)
        deadline = time.monotonic() + DEADLINE_S
        while not (recorder.progress.lost and recorder.progress.repairs):
            assert time.monotonic() < deadline
            recorder.step(0.05)
        told = recorder.progress
        assert told.lost + told.events >= 60
        recorder.finish("test")
    assert _is_the_kernels(path)
    recording = Recording(path)
    batches = list(recording.events())
    assert sum(batch.lost for batch in batches) == told.lost == recording.lost
    born = [e.flow.id for b in batches for e in b if e.kind == EventKind.NEW]
    assert sorted(map(str, born)) == sorted(str(f.id) for f in Kernel().table())


def test_a_loss_that_silence_follows_is_repaired(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    with Recorder(path, buffer=2 << 20) as recorder:
        crowd.insert(_many_flows(8000))  # the buffer holds some 4000 events
        deadline = time.monotonic() + DEADLINE_S
        while not recorder.progress.repairs:
            assert time.monotonic() < deadline
            recorder.step(0.05)
        assert recorder.progress.lost > 0
        recorder.finish("test")
    assert _is_the_kernels(path)


def _many_flows(count: int) -> list[Flow]:
    inside, outside = ip_address("10.0.0.2"), ip_address("198.51.100.53")
    udp = uapi.IPPROTO_UDP
    return [
        Flow(
            FlowTuple(inside, outside, udp, port, 53),
            FlowTuple(outside, inside, udp, 53, port),
            status=int(uapi.Status.CONFIRMED),
            timeout=1000,
        )
        for port in range(10_000, 10_000 + count)
    ]


def test_a_flow_that_no_longer_matches_is_recorded_until_its_end(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    words = "-p tcp -s {} -d 198.51.100.9 --sport 5000 --dport 443"
    one, other = (words.format(f"10.0.0.{host}").split() for host in (2, 3))
    with Recorder(path, filter=parse("tcp and state established")) as recorder:
        stock.conntrack("-I", *one, "--state", "ESTABLISHED", "-t", "600")
        stock.conntrack("-I", *other, "--state", "TIME_WAIT", "-t", "600")
        stock.conntrack("-U", *one, "--state", "TIME_WAIT", "-t", "600")
        _record(recorder, 2)
        recorder.rotate()
        stock.conntrack("-D", *other)
        stock.conntrack("-D", *one)
        _record(recorder, 3)
        recorder.finish("test")
    recording = Recording(path)
    told = [(e.kind, str(e.flow.orig.src)) for b in recording.events() for e in b]
    assert told == [
        (EventKind.NEW, "10.0.0.2"),
        (EventKind.UPDATE, "10.0.0.2"),
        (EventKind.DESTROY, "10.0.0.2"),
    ]
    assert list(recording.flows()) == []


def test_only_what_a_filter_means_is_recorded(netns: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "r"
    wanted = parse("snat and udp and src port 5001")
    _insert(6, 3)
    with Recorder(path, filter=wanted) as recorder:
        _insert(7, 3)
        stock.conntrack("-D", "-s", "10.0.0.7")
        _record(recorder, 2)
        recorder.finish("test")
    recording = Recording(path)
    told = [e for b in recording.events() for e in b]
    assert [(e.kind, e.flow.orig.sport) for e in told] == [
        (EventKind.NEW, 5001),
        (EventKind.DESTROY, 5001),
    ]
    assert [str(flow.orig.src) for flow in recording.flows()] == ["10.0.0.6"]
    assert recording.header is not None
    assert parse(recording.header.filter).tree == wanted.tree


def test_every_file_of_a_rotation_is_whole_by_itself(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    settings = Settings(rotate_size=3000, keep=2)
    _insert(8, 2)
    with Recorder(path, settings=settings) as recorder:
        for number in range(12):
            _insert(9, 30, first=6000 + 30 * number)
            stock.conntrack("-D", "-s", "10.0.0.9")
            _record(recorder, 60 * (number + 1))
        recorder.finish("test")
        assert recorder.progress.files > 3
    files = [*older(path), path]
    assert len(files) == 3
    assert _is_the_kernels(path)
    for file in files:
        alone = Recording([file])
        assert len(alone.table("src host 10.0.0.8")) == 2
        assert alone.problems == []


def test_a_recorder_that_is_killed_leaves_a_file_that_opens(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    with _recording(path) as process:
        _insert(2, 5)
        _until(lambda: FrameKind.EVENTS in _frames(path))
        _insert(3, 5)
        process.kill()
        process.wait()
    hosts = {str(flow.orig.src) for flow in Recording(path).flows()}
    assert "10.0.0.2" in hosts
    assert hosts <= {"10.0.0.2", "10.0.0.3"}


def test_a_full_disk_ends_a_recording_that_stays_whole(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    with _recording(path, most=8000) as process:
        _insert(2, 1)
        _until(lambda: FrameKind.EVENTS in _frames(path))
        for first in range(5001, 9000, 10):
            _insert(2, 10, first)
            if process.poll() is not None:
                break
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 3
    assert "File too large" in said
    assert "events before are kept and whole" in said
    recording = Recording(path)
    kept = len(recording.table())
    assert kept > 0
    assert recording.problems == []
    assert f"{kept} events before are kept and whole, " in said


def test_a_file_that_cannot_be_begun_is_not_left_behind(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    stock.insert_all()
    with Recorder(path) as recorder:
        recorder.finish("test")
    before = path.read_bytes()
    with _recording(path, most=1400) as process:
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 3
    assert said.endswith("r: File too large\n")
    (aside,) = tmp_path.iterdir()
    assert aside.read_bytes() == before


def test_hangup_sets_the_file_aside_and_terminate_ends_it(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    with _recording(path) as process:
        _insert(2)
        _until(lambda: FrameKind.EVENTS in _frames(path))
        process.send_signal(signal.SIGHUP)
        _until(lambda: older(path) != [] and _frames(path) != [])
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert "1 event and" in said
    assert "in 2 files, 0 lost" in said
    assert _is_the_kernels(path)


def test_nothing_that_is_there_is_overwritten(netns: Namespace, tmp_path: Path) -> None:
    text = tmp_path / "notes"
    text.write_text("mine")
    with pytest.raises(RecordingFailed, match="no recording"):
        Recorder(text)
    assert text.read_text() == "mine"
    path = tmp_path / "r"
    with Recorder(path) as recorder:
        with pytest.raises(RecordingFailed, match="another natscope record"):
            Recorder(path)
        recorder.finish("test")
    before = path.read_bytes()
    with Recorder(path):
        (aside,) = older(path)
        assert aside.read_bytes() == before


def test_as_many_events_are_recorded_as_were_asked_for(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    with _recording(path, "--count", "5") as process:
        _insert(2, 9)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert sum(map(len, Recording(path).events())) == 5


def test_a_moment_needs_a_recording(netns: Namespace, tmp_path: Path) -> None:
    text = tmp_path / "saved"
    text.write_text("")
    for words in (("--at", "-5m"), ("--at", "-5m", str(text))):
        done = subprocess.run(
            [*NATSCOPE, "list", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "--at needs a recording" in done.stderr


def test_a_directory_that_is_not_there_is_said(
    netns: Namespace, tmp_path: Path
) -> None:
    with pytest.raises(NatscopeError, match="No such file or directory"):
        Recorder(tmp_path / "missing" / "r")
