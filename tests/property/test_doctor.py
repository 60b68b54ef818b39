"""Any box gives a diagnosis: no reading is too odd, and no finding too long."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from natscope.codec.text.counters import (
    FILES,
    counters,
    entries,
    netfilter_sockets,
)
from natscope.model.finding import MOST_FLOWS
from natscope.model.flow import Flow
from natscope.model.measured import Listener, Namespace, Program
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.diagnosis import RULES, diagnose
from natscope.views.doctor.thresholds import Thresholds
from strategies import addresses, flows
from unit.views.doctor.boxes import SYSCTLS, Box

_LOWEST: dict[str, Any] = {
    field.name: 1 if isinstance(field.default, int) else 0.001
    for field in fields(Thresholds)
}
LOW = Thresholds(**_LOWEST)
"""At which nearly everything is found."""
COUNTERS = (
    *("Ip.ForwDatagrams", "Ip6OutForwDatagrams", "TcpExt.IPReversePathFilter"),
    *("Udp.InCsumErrors", "softnet.dropped", "cpu0.softirq", "cpu0.total"),
    *("netlink.7.dropped", "netlink.x.dropped", "cpu9.softirq", ""),
)
STATS = ("invalid", "drop", "insert_failed", "early_drop", "chaintoolong", "error")
NFT = """\
table ip nat {
	flowtable fast {
		devices = { lan }
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 8080-8090 dnat to 10.0.0.7
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "wan" ip saddr 10.1.0.0/16 masquerade random
		ct original zone set 7
		ct helper set "ftp"
	}
}
"""
small = st.integers(0, 9)


def totals(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, int] | None]:
    return st.none() | st.dictionaries(st.sampled_from(names), small)


measured = st.fixed_dictionaries(
    {
        "interval_ms": st.sampled_from((0, 1, 10_000)),
        "count": st.none() | small,
        "limit": st.none() | small,
        "rose": totals(STATS),
        "counters_rose": totals(COUNTERS),
        "nics": st.just({"ens5": {"conntrack_allowance_available": 1}}),
        "nics_rose": st.just({"ens5": {"pps_allowance_exceeded": 1}}),
        "expectations": st.none() | small,
        "listeners": st.lists(
            st.builds(
                Listener,
                st.sampled_from(("tcp", "udp")),
                addresses(4) | addresses(6),
                st.integers(0, 0xFFFF),
            ),
            max_size=3,
        ).map(tuple),
        "namespaces": st.just((Namespace("other", 5),)),
        "programs": st.just((Program(7, "conntrackd"),)),
        "log": st.lists(st.text(max_size=30), max_size=2).map(tuple),
    }
)


@given(
    rows=st.lists(flows(), max_size=6),
    read=measured,
    odd=st.dictionaries(
        st.sampled_from(sorted(SYSCTLS)), st.text("-0123456789²\t x", max_size=6)
    ),
)
def test_any_box_gives_a_diagnosis(
    rows: list[Flow], read: dict[str, object], odd: dict[str, str]
) -> None:
    box = Box(nft=NFT, sysctls=odd, measured=read)
    snapshot = replace(box.snapshot, table=FlowTable.from_flows(rows))
    found = diagnose(snapshot, LOW)
    asked = {*found.checked, *(one.rule for one in found.not_checked)}
    assert asked == {rule.id for rule in RULES}
    for one in found.findings:
        assert len(one.flows) <= MOST_FLOWS
        assert one.headline
        assert "\n" not in one.headline
        assert one.why
        assert one.verify
    assert len({one.key for one in found.findings}) == len(found.findings)


numbers = st.sampled_from(
    ("0", "12", "ff", "-1", "x", "²", "9" * 30, "cpu0", "entries")
)
lines = st.lists(st.lists(numbers, max_size=11).map(" ".join), max_size=5)


@given(path=st.sampled_from(FILES), text=lines.map("\n".join) | st.text())
def test_any_file_of_proc_gives_counters_or_none(path: str, text: str) -> None:
    assert all(value >= 0 for value in counters({path: text}).values())
    assert (entries(text) or 0) >= 0
    assert all(port >= 0 for port in netfilter_sockets(text))
