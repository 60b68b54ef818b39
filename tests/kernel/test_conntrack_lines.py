"""Lines of live entries and events beside the stock tool's, byte for byte.

Single entries go through the light writer here; what ``-L`` makes of whole
tables is in test_conntrack_parity.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import natscope
from kernel import crowd, oracle, stock
from natscope import uapi
from natscope.actions import changes
from natscope.actions.settings import Settings
from natscope.codec.encode import cells_of
from natscope.codec.events import kind_of
from natscope.codec.scalar import decode_cells
from natscope.codec.vector import decode_flows
from natscope.model.flow import Flow
from natscope.model.labelmap import LabelMap
from natscope.render.conntrack.forms import END, PROLOG
from natscope.render.conntrack.line import line
from natscope.render.conntrack.lines import lines
from natscope.render.conntrack.style import Style
from natscope.sources import labels
from natscope.sources.kernel import Kernel
from natscope.sources.subscription import Subscription
from natscope.table.flowtable import FlowTable
from natscope.uapi import SCTP_STATES, TCP_STATES

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

WAIT_S = 20.0
FORMATS = ("plain", "save", "xml")
OPTIONS = ("extended", "id", "ktimestamp", "extended,id,ktimestamp", "xml,ktimestamp")
CONNLABELS = """\
# a comment
0 web
1 vip customer
3 a_b
3 good
0x10 hexadecimal
5 twice
6 twice
  7 indented
8 blanks behind \t
127 last
128 none has so many
"""
LABELLED = (
    0,
    1,
    3,
    1 << 3,
    1 << 5,
    1 << 6,
    1 << 7 | 1 << 8,
    1 << 16,
    1 << 50,
    1 << 127,
)


def style(option: str = "", names: LabelMap | None = None) -> Style:
    """What ``-o`` makes of the option."""
    words = option.split(",")
    form = [word for word in words if word in FORMATS]
    return Style(
        format=form[0] if form else "plain",
        extended="extended" in words,
        id="id" in words,
        ktimestamp="ktimestamp" in words,
        labels=names,
        now_s=int(time.time()),
    )


def timed() -> None:
    for switch in ("nf_conntrack_acct", "nf_conntrack_timestamp"):
        (stock.SYSCTLS / switch).write_text("1")


def live() -> list[Flow]:
    with natscope.open() as kernel:
        return list(kernel.flows())


def listed(option: str) -> bytes:
    """What the stock tool lists, clocks masked, a document's frame taken off."""
    text = oracle.stock("-L", *(("-o", option) if option else ())).stdout
    return text.removeprefix(PROLOG).removesuffix(END)


def mended(text: bytes) -> bytes:
    """Stock's output with SCTP set right: in XML its states go by TCP's names."""
    out = []
    for one in text.splitlines(keepends=True):
        if b'protoname="sctp"' in one:
            one = re.sub(rb"(?<=<state>)\w+", _own_name, one)
        out.append(one)
    return b"".join(out)


def _own_name(found: re.Match[bytes]) -> bytes:
    return SCTP_STATES[TCP_STATES.index(found[0].decode())].encode()


@pytest.mark.parametrize("option", ["", *FORMATS[1:], *OPTIONS])
def test_each_entry_prints_as_the_stock_tool_prints_it(option: str) -> None:
    timed()
    stock.insert_all()
    crowd.insert(crowd.flows(11, 120))
    expected, flows = mended(listed(option)), live()
    found = b"".join(line(cells_of(flow), style(option)) for flow in flows)
    assert oracle.masked(found) == expected
    table = lines(FlowTable.from_flows(flows), style(option))
    assert oracle.masked(table) == expected


def test_the_stock_tool_gives_sctp_states_tcp_names_in_xml() -> None:
    stock.insert_all()
    element = next(x for x in listed("xml").splitlines() if b'"sctp"' in x)
    assert b"<state>FIN_WAIT</state>" in element
    own = [line(cells_of(flow), style("xml")) for flow in live() if flow.proto == 132]
    assert [b"<state>ESTABLISHED</state>" in x for x in own] == [True]


def test_sctp_tags_are_saved_byte_swapped_as_the_stock_tool_does() -> None:
    made = next(flow for flow in crowd.flows(11, 120) if flow.proto == 132)
    crowd.insert([replace(made, sctp_vtag_orig=11, sctp_vtag_reply=22)])
    assert b"--orig-vtag %d --reply-vtag %d\n" % (11 << 24, 22 << 24) in listed("save")
    own = b"".join(line(cells_of(flow), style("save")) for flow in live())
    assert oracle.masked(own) == listed("save")


def in_private_etc(file: Path, *words: str) -> bytes:
    """What a program prints where /etc holds connlabel.conf alone.

    conntrack looks for it in /etc/xtables, nft in /etc; the mounts are gone
    when the program ends.
    """
    script = (
        'mount -t tmpfs none /etc && mkdir /etc/xtables && cat > /etc/connlabel.conf'
        ' && cp /etc/connlabel.conf /etc/xtables/ && exec "$@"'
    )  # fmt: skip
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *words],
        input=file.read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def connlabels(tmp_path: Path) -> Path:
    """A file of label names, and a rule without which no entry has labels."""
    file = tmp_path / "connlabel.conf"
    file.write_text(CONNLABELS)
    ruleset = (
        "add table ip t; add chain ip t c { type filter hook output priority 0; }; "
        "add rule ip t c ct label set web"
    )
    in_private_etc(file, "nft", ruleset)
    return file


@pytest.mark.parametrize("option", ["labels", "xml,labels", "id,labels"])
def test_labels_have_the_names_the_stock_tool_reads(
    connlabels: Path, option: str
) -> None:
    made = crowd.flows(12, 60)
    bits = [*LABELLED, None] * 6
    crowd.insert([replace(x, labels=b) for x, b in zip(made, bits, strict=False)])
    text = in_private_etc(connlabels, "conntrack", "-L", "-o", option)
    expected = oracle.masked(text.removeprefix(PROLOG).removesuffix(END))
    assert b"vip customer" in expected
    asked, flows = style(option, labels.read(str(connlabels))), live()
    found = b"".join(line(cells_of(flow), asked) for flow in flows)
    assert oracle.masked(found) == mended(expected)
    table = lines(FlowTable.from_flows(flows), asked)
    assert oracle.masked(table) == mended(expected)


@contextmanager
def listener(option: str) -> Iterator[subprocess.Popen[bytes]]:
    """The stock tool following events, once the kernel sends it some."""
    words = ["conntrack", "-E", *(("-o", option) if option else ())]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            until = time.monotonic() + WAIT_S
            while not _listens():
                assert time.monotonic() < until, "conntrack -E does not listen"
            yield process
        finally:
            process.kill()


def _listens() -> bool:
    """Whether any socket of this namespace is in a group of nfnetlink's."""
    sockets = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
    words = (one.split() for one in sockets)
    return any(int(w[1]) == uapi.NETLINK_NETFILTER and int(w[3], 16) for w in words)


@pytest.mark.parametrize("option", ["", "extended,id", "ktimestamp", "save", "xml"])
def test_each_event_prints_as_the_stock_tool_prints_it(option: str) -> None:
    timed()
    with listener(option) as process, Subscription() as own:
        crowd.insert(crowd.flows(13, 25))
        with Kernel() as kernel, kernel.socket() as sock:
            changes.update(sock, kernel.table(), Settings({"mark": 77}))
            changes.delete(sock, kernel.table())
        messages = list(own.receive().messages())
        asked = style(option)
        whats = [kind_of(message).name.lower() for message in messages]
        assert set(whats) == {"new", "update", "destroy"}
        found = b"".join(
            line(decode_cells(message), asked, what)
            for message, what in zip(messages, whats, strict=True)
        )
        frame = PROLOG.count(b"\n") if option == "xml" else 0
        count = found.count(b"\n")
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(frame + count)][frame:]
    # 1.4.7 writes who made a change into XML too, and so breaks it
    text = re.sub(rb" \[USERSPACE\].*", b"", b"".join(told))
    assert oracle.masked(found) == oracle.masked(mended(text))
    codes = np.array(
        [("new", "update", "destroy").index(w) + 1 for w in whats], np.uint8
    )
    table = decode_flows(b"".join(m + bytes(-len(m) & 3) for m in messages))
    assert lines(table, asked, codes) == found
