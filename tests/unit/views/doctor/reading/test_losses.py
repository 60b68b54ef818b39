"""insert_failed and drop: which trouble they tell of (research/users.md §5.2).

Each line of the table, and the mixtures of two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from natscope import uapi
from natscope.model.flow import Flow
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.reading.losses import Losses
from natscope.views.doctor.thresholds import DEFAULT
from unit.views.doctor.boxes import Box, snat, tcp

POST = "chain c { type nat hook postrouting priority srcnat; policy accept;\n"
MASQUERADE = f"table ip nat {{ {POST} masquerade\n}} }}\n"
RANGE = f"table ip nat {{ {POST} meta l4proto udp masquerade to :2000-2099\n}} }}\n"
DNS = "table ip d { chain c { type nat hook prerouting priority dstnat; udp dport 53 dnat to 10.0.0.53\n} }\n"
ZONES = (
    "table ip raw {\n\tchain c {\n\t\ttype filter hook prerouting priority raw;\n"
    '\t\tiifname "lan" ct original zone set 1\n\t}\n}\n'
)
FEW = [snat(17, 2000 + at, 443) for at in range(9)]
FULL = [snat(17, 2000 + at, 443) for at in range(95)]
QUERIES = [
    snat(17, 4000 + at, 53, status=uapi.Status.DST_NAT | uapi.Status.CONFIRMED)
    for at in range(9)
]
ZONED = [replace(one, orig=replace(one.orig, zone=1)) for one in FEW]
EXPLAINED = ("R01", "R02", "R03", "R04", "R05", "R06", "R14", "R15", "R22")


@dataclass(frozen=True)
class Line:
    id: str
    rose: Mapping[str, int]
    rules: tuple[str, ...]
    flows: Sequence[Flow] = field(default_factory=lambda: FEW)
    nft: str = MASQUERADE
    count: int = 9


TABLE = [
    Line("nothing", {}, ()),
    Line("drop, and the table is full", {"drop": 20}, ("R01",), count=100),
    Line("drop, and races were settled", {"drop": 20, "clash_resolve": 20},
         ("R01", "R05"), count=100),
    Line("drop, and entries were thrown out", {"drop": 20, "early_drop": 5},
         ("R01", "R06"), count=100),
    Line("drop, and the table has room", {"drop": 20}, ("R01",)),
    Line("both, and the ports are taken", {"drop": 20, "insert_failed": 20}, ("R03",),
         FULL, RANGE),
    Line("both, and there are zones", {"drop": 20, "insert_failed": 20}, ("R22",),
         ZONED, ZONES),
    Line("both, and zones NAT keeps apart", {"drop": 20, "insert_failed": 20},
         ("R04",), ZONED, ZONES + MASQUERADE),
    Line("both, and name servers behind DNAT", {"drop": 20, "insert_failed": 20},
         ("R05",), QUERIES, DNS),
    Line("both", {"drop": 20, "insert_failed": 20}, ("R04",)),
    Line("both, and races were settled",
         {"drop": 20, "insert_failed": 20, "clash_resolve": 20}, ("R04",)),
    Line("both, and no rule translates", {"drop": 20, "insert_failed": 20}, ("R04",),
         nft=""),
    Line("insertion and chains", {"insert_failed": 20, "chaintoolong": 20}, ("R02",)),
    Line("all three", {"drop": 20, "insert_failed": 40, "chaintoolong": 20},
         ("R02", "R04")),
    Line("drop and chains, and the table is full",
         {"drop": 20, "insert_failed": 20, "chaintoolong": 20}, ("R02", "R01"),
         count=100),
    Line("both, and more drops in a full table", {"drop": 60, "insert_failed": 20},
         ("R01", "R04"), count=100),
    Line("races were settled", {"clash_resolve": 20}, ("R05",)),
    Line("insertion alone", {"insert_failed": 20}, ()),
    Line("INVALID", {"invalid": 50}, ("R15",), tcp("ESTABLISHED", 1)),
]  # fmt: skip


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.id)
def test_the_counters_that_rose_lead_to(line: Line) -> None:
    measured: dict[str, Any] = {
        "rose": line.rose,
        "count": line.count,
        "limit": 100,
        "buckets": 262_144,
    }
    box = Box(line.flows, line.nft, measured=measured)
    found = diagnose(box.snapshot, only=EXPLAINED)
    assert found.not_checked == ()
    assert sorted(one.rule for one in found.findings) == sorted(line.rules)


@dataclass(frozen=True)
class Told:
    id: str
    rose: Mapping[str, int] | None
    losses: Losses


TOLD = [
    Told("not read", None, Losses()),
    Told("full", {"drop": 7}, Losses(no_entry=7)),
    Told("taken", {"drop": 7, "insert_failed": 7}, Losses(taken=7)),
    Told("chains", {"insert_failed": 7, "chaintoolong": 7}, Losses(chained=7)),
    Told("a program's", {"insert_failed": 7}, Losses()),
    Told("read a moment apart", {"drop": 101, "insert_failed": 100}, Losses(taken=100)),
    Told(
        "each of them",
        {"drop": 30, "insert_failed": 30, "chaintoolong": 10},
        Losses(no_entry=10, taken=20, chained=10),
    ),
]


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.id)
def test_losses_are_told_apart(case: Told) -> None:
    assert Losses.of(case.rose, DEFAULT) == case.losses
