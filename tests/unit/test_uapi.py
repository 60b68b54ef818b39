"""Kernel numbers against the kernel's own headers, where those are installed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from natscope import uapi
from natscope.uapi import nflog, nftables

HEADERS = Path("/usr/include/linux/netfilter")
"""Debian's linux-libc-dev."""
YOUNGER_THAN_SOME_HEADERS = {
    "CTA_TIMESTAMP_EVENT",
    "NFTA_TRACE_CT_ID",
    "NFTA_TRACE_CT_DIRECTION",
    "NFTA_TRACE_CT_STATUS",
    "NFTA_TRACE_CT_STATE",
}


@dataclass(frozen=True)
class Case:
    """One C enum and the class that repeats it."""

    enum: str
    ours: type
    header: str = "nfnetlink_conntrack.h"
    prefix: str = ""
    left_out: frozenset[str] = field(default_factory=frozenset)

    @property
    def id(self) -> str:
        return f"{self.header}: {self.enum}"


COMMON = "nf_conntrack_common.h"
TABLES = "nf_tables.h"
LOG = "nfnetlink_log.h"
CASES = [
    Case(
        "cntl_msg_types",
        uapi.CtMsg,
        prefix="IPCTNL_MSG_CT_",
        left_out=frozenset({"IPCTNL_MSG_MAX"}),
    ),
    Case(
        "ctattr_type",
        uapi.Cta,
        left_out=frozenset(  # other names of numbers that have one
            {"CTA_NAT", "CTA_NAT_SEQ_ADJ_ORIG", "CTA_NAT_SEQ_ADJ_REPLY"}
        ),
    ),
    Case("ctattr_tuple", uapi.CtaTuple),
    Case("ctattr_ip", uapi.CtaIp),
    Case("ctattr_l4proto", uapi.CtaProto),
    Case("ctattr_protoinfo", uapi.CtaProtoinfo),
    Case("ctattr_protoinfo_tcp", uapi.CtaTcp),
    Case("ctattr_protoinfo_dccp", uapi.CtaDccp),
    Case("ctattr_protoinfo_sctp", uapi.CtaSctp),
    Case("ctattr_counters", uapi.CtaCounters),
    Case("ctattr_tstamp", uapi.CtaTimestamp),
    Case(
        "ctattr_nat",
        uapi.CtaNat,
        left_out=frozenset({"CTA_NAT_MINIP", "CTA_NAT_MAXIP"}),  # older names
    ),
    Case("ctattr_protonat", uapi.CtaProtonat),
    Case("ctattr_seqadj", uapi.CtaSeqadj),
    Case("ctattr_synproxy", uapi.CtaSynproxy),
    Case("ctattr_help", uapi.CtaHelp),
    Case("ctattr_secctx", uapi.CtaSecctx),
    Case("ctattr_stats_cpu", uapi.CtaStats),
    Case("ctattr_stats_global", uapi.CtaStatsGlobal),
    Case("ctattr_filter", uapi.CtaFilter),
    Case(
        "ctnl_exp_msg_types",
        uapi.ExpMsg,
        prefix="IPCTNL_MSG_EXP_",
        left_out=frozenset({"IPCTNL_MSG_EXP_MAX", "MAX"}),
    ),
    Case("ctattr_expect", uapi.CtaExpect),
    Case("ctattr_expect_nat", uapi.CtaExpectNat),
    Case("ctattr_expect_stats", uapi.CtaStatsExp),
    Case(
        "ip_conntrack_status",
        uapi.Status,
        COMMON,
        "IPS_",
        frozenset({"NAT_MASK", "NAT_DONE_MASK", "UNCHANGEABLE_MASK", "NAT_CLASH"}),
    ),
    Case("nft_trace_attributes", nftables.NftaTrace, TABLES),
    Case("nft_trace_types", nftables.NftTraceType, TABLES, "NFT_TRACETYPE_"),
    Case("nft_verdict_attributes", nftables.NftaVerdict, TABLES),
    Case(
        "nfulnl_msg_types",
        nflog.NfulnlMsg,
        LOG,
        "NFULNL_MSG_",
        frozenset({"MAX"}),
    ),
    Case("nfulnl_attr_type", nflog.Nfula, LOG),
    Case("nfulnl_attr_config", nflog.NfulaCfg, LOG),
    Case("nfulnl_msg_config_cmds", nflog.NfulnlCmd, LOG, "NFULNL_CFG_CMD_"),
]


def _header(name: str) -> str:
    path = HEADERS / name
    if not path.exists():
        pytest.skip(f"{path} is not installed (Debian: linux-libc-dev)")
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)


def _values(body: str) -> dict[str, int]:
    """Names and numbers of a C enum's body."""
    found: dict[str, int] = {}
    value = -1
    for line in re.sub(r"^\s*#.*$", "", body, flags=re.MULTILINE).split(","):
        name, _, given = (part.strip() for part in line.partition("="))
        if not name:
            continue
        value = _evaluate(given, found) if given else value + 1
        found[name] = value
    return found


def _evaluate(expression: str, known: dict[str, int]) -> int:
    terms = []
    for term in expression.strip("() \n").split("|"):
        word = term.strip(" ()\n\t")
        shifted = re.fullmatch(r"(\w+)\s*<<\s*(\w+)", word)
        if shifted:
            one, bit = (_number(part, known) for part in shifted.groups())
            terms.append(one << bit)
        else:
            terms.append(_number(word, known))
    value = 0
    for number in terms:
        value |= number
    return value


def _number(word: str, known: dict[str, int]) -> int:
    return known[word] if word in known else int(word, 0)


def _enum(header: str, name: str) -> dict[str, int]:
    found = re.search(rf"\benum\s+{name}\s*\{{(.*?)\}}", _header(header), re.DOTALL)
    if found is None:
        pytest.skip(f"the installed {header} has no enum {name}")
    return _values(found.group(1))


def _boundary(name: str) -> bool:
    return name.startswith("__") or name.endswith(("_UNSPEC", "_BIT"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_our_numbers_are_the_headers(case: Case) -> None:
    theirs = {
        name.removeprefix(case.prefix): value
        for name, value in _enum(case.header, case.enum).items()
        if not _boundary(name)
    }
    theirs = {n: value for n, value in theirs.items() if n not in case.left_out}
    ours = {name: value for value, name in uapi.names(case.ours).items()}
    for name in YOUNGER_THAN_SOME_HEADERS - theirs.keys():
        ours.pop(name, None)
    assert ours == theirs


STATES = [
    ("nf_conntrack_tcp.h", "tcp_conntrack", "TCP_CONNTRACK_", uapi.TCP_STATES),
    ("nf_conntrack_sctp.h", "sctp_conntrack", "SCTP_CONNTRACK_", uapi.SCTP_STATES),
]


@pytest.mark.parametrize(("header", "enum", "prefix", "ours"), STATES)
def test_state_names_stand_at_their_numbers(
    header: str, enum: str, prefix: str, ours: tuple[str, ...]
) -> None:
    values = {
        name.removeprefix(prefix): value for name, value in _enum(header, enum).items()
    }
    renamed = {"LISTEN": "SYN_SENT2"}  # the old name of 9 ends the C enum's list
    theirs = {renamed.get(name, name): value for name, value in values.items()}
    states = {name: value for name, value in theirs.items() if name in ours}
    assert states == dict(zip(ours, range(len(ours)), strict=True))


@dataclass(frozen=True)
class Named:
    id: str
    bits: int
    names: list[str]


NAMED = [
    Named("nothing set", 0, []),
    Named("two known bits", 0b110, ["SEEN_REPLY", "ASSURED"]),
    Named("a bit from a newer kernel", 1 << 20, ["BIT20"]),
    Named("the last bit", 1 << 31 | 1, ["EXPECTED", "BIT31"]),
]


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case.id)
def test_status_bits_are_named(case: Named) -> None:
    assert uapi.status_names(case.bits) == case.names


def test_a_state_from_a_newer_kernel_is_a_number_with_a_word() -> None:
    assert uapi.state_name(uapi.TCP_STATES, 3) == "ESTABLISHED"
    assert uapi.state_name(uapi.TCP_STATES, 200) == "STATE200"


def test_protocols_have_names_and_names_have_numbers() -> None:
    assert uapi.protocol_name(6) == "tcp"
    assert uapi.protocol_name(253) == "253"
    assert {uapi.protocol_name(n): n for n in (4, 6, 17, 58)} == {
        name: uapi.PROTOCOL_NUMBERS[name] for name in ("ipip", "tcp", "udp", "icmpv6")
    }
