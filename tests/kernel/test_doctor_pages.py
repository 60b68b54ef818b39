"""What the pages of the findings tell to type, typed."""

from __future__ import annotations

import re

import pytest

from conftest import unavailable
from natscope.actions import mending
from natscope.errors import NatscopeError
from natscope.render.findings import page
from natscope.sources import tools
from natscope.views.doctor.diagnosis import RULES
from natscope.views.doctor.rule import Rule
from unit.sourcetree import ROOT

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

BOX = """\
table ip nat {
    chain prerouting { type nat hook prerouting priority dstnat; tcp dport 80 accept; }
    chain postrouting { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
}
table ip filter {
    ct helper ftp { type "ftp" protocol tcp; }
    chain prerouting { type filter hook prerouting priority filter; tcp dport 21 accept; }
    chain input { type filter hook input priority filter; }
    chain forward { type filter hook forward priority filter; }
}
table inet filter {
    chain forward { type filter hook forward priority filter; }
}
"""
"""The tables a page takes to be there."""
COMMAND = re.compile(r"^# (nft (?:add|insert|replace) .*)$", re.MULTILINE)
BY_HANDLE = re.compile(r"rule (\S+ \S+ \S+) handle (?:N|\d+)\b")


def _commands(rule: Rule) -> list[str]:
    found: list[str] = COMMAND.findall((ROOT / page(rule)).read_text())
    return [one for one in found if "TABLE CHAIN" not in one]


def _with_handle(command: str) -> str:
    place = BY_HANDLE.search(command)
    if place is None:
        return command
    listed = tools.run(["nft", "-a", "list", "chain", *place[1].split()])
    handle = re.findall(r"# handle (\d+)", listed)[-1]
    return BY_HANDLE.sub(rf"rule \1 handle {handle}", command)


@pytest.mark.parametrize(
    "rule", [one for one in RULES if _commands(one)], ids=lambda one: one.id
)
def test_the_rules_a_page_tells_to_add_are_taken(rule: Rule) -> None:
    try:
        tools.run(["nft", "-f", "-"], stdin=BOX)
    except NatscopeError as error:
        unavailable(f"no helper, or no nft: {error}")
    for command in _commands(rule):
        written = command.replace("SHARED-ADDRESS", "203.0.113.7")
        mending.run(_with_handle(written))


def test_most_pages_with_a_remedy_of_rules_are_tried() -> None:
    assert sum(bool(_commands(one)) for one in RULES) > 12
