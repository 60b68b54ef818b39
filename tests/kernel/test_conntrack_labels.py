"""Labels: their file stands in /etc, so each run has an /etc of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kernel import oracle

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

RULE = (
    "add table ip t; add chain ip t c { type filter hook output priority 0; }; "
    "add rule ip t c ct label 1 counter"
)
ETC = """
mount -t tmpfs none /etc && mkdir /etc/xtables
[ ! -f "$1" ] || cp "$1" /etc/xtables/connlabel.conf
shift
exec "$@"
"""
KEY = "-p udp -s 10.0.0.2 -d 10.0.0.3 --sport 1 --dport 2"
LINES = (
    f"-I {KEY} -t 60 --label-add web",
    "-L -l web",
    "-L -l vip",
    "-L -l web -o xml",
    "-L -l web -o save",
    "-L -o labels",
    f"-U -f ipv4 {KEY} --label-add vip",
    f"-U -f ipv4 {KEY} -l web -m 5",
    f"-G {KEY} -o labels",
    f"-U -f ipv4 {KEY} --label-del web",
    "-L -o labels,id",
    f"-U -f ipv4 {KEY} --label-del",
    "-L -l vip",
    "-U -f ipv4 --label-add foo",
    f"-I {KEY} -t 60 --label-add vip",
    "-D -l vip",
)


def said(tool: tuple[str, ...], labels: Path, words: str) -> oracle.Said:
    environment = os.environ | {
        "NATSCOPE_CONNTRACK_VERSION": oracle.stock_version(),
    }
    inside = ["unshare", "-m", "sh", "-c", ETC, "sh", str(labels)]
    done = subprocess.run(
        [*inside, *tool, *words.split()],
        capture_output=True,
        check=False,
        env=environment,
    )
    return oracle.Said(oracle.masked(done.stdout), done.stderr, done.returncode)


def told(tool: tuple[str, ...], labels: Path) -> list[oracle.Said]:
    subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
    return [said(tool, labels, words) for words in LINES]


@pytest.mark.parametrize("text", ["1 web\n2 vip\n", None], ids=["named", "no file"])
def test_labels_are_set_found_and_shown_as_the_stock_tool_does(
    tmp_path: Path, text: str | None
) -> None:
    labels = tmp_path / "connlabel.conf"
    if text is not None:
        labels.write_text(text)
    subprocess.run(["nft", RULE], check=True)
    results = zip(
        LINES, told(("conntrack",), labels), told(oracle.OURS, labels), strict=True
    )
    for words, stock, ours in results:
        assert without_ids(ours) == without_ids(stock), words


def without_ids(found: oracle.Said) -> oracle.Said:
    text = oracle.ID.sub(rb"\1I", found.stdout)
    return oracle.Said(text, found.stderr, found.code)
