"""Every kernel number natscope uses, under the kernel's own name.

The only place for them.  Each class is one C enum; its docstring names the
header, and its members are plain ints: enum would cost a short command a third
of its time.  Bits and values from newer kernels are not an error anywhere: see
:func:`names`, :func:`status_names` and :func:`state_name`.
"""

from __future__ import annotations

AF_UNSPEC = 0
AF_INET = 2
AF_INET6 = 10

# linux/netlink.h
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_BROADCAST_ERROR = 4
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100  # in NLMSG_ERROR: the request is not echoed
NLM_F_ACK_TLVS = 0x200  # in NLMSG_ERROR: extended ack attributes follow
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLMSGERR_ATTR_MSG = 1
NLMSGERR_ATTR_OFFS = 2
NLA_F_NESTED = 0x8000
NLA_F_NET_BYTEORDER = 0x4000
NLA_TYPE_MASK = 0x3FFF
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55

# linux/netfilter/nfnetlink.h
NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_CTNETLINK_EXP = 2
NFNL_SUBSYS_ULOG = 4
NFNL_SUBSYS_NFTABLES = 10


class Group:
    """enum nfnetlink_groups: what a socket may listen to."""

    CONNTRACK_NEW = 1
    CONNTRACK_UPDATE = 2
    CONNTRACK_DESTROY = 3
    CONNTRACK_EXP_NEW = 4
    CONNTRACK_EXP_UPDATE = 5
    CONNTRACK_EXP_DESTROY = 6
    NFTRACE = 9


class CtMsg:
    """enum cntl_msg_types, linux/netfilter/nfnetlink_conntrack.h."""

    NEW = 0
    GET = 1
    DELETE = 2
    GET_CTRZERO = 3
    GET_STATS_CPU = 4
    GET_STATS = 5
    GET_DYING = 6
    GET_UNCONFIRMED = 7


class Cta:
    """enum ctattr_type."""

    CTA_TUPLE_ORIG = 1
    CTA_TUPLE_REPLY = 2
    CTA_STATUS = 3
    CTA_PROTOINFO = 4
    CTA_HELP = 5
    CTA_NAT_SRC = 6
    CTA_TIMEOUT = 7
    CTA_MARK = 8
    CTA_COUNTERS_ORIG = 9
    CTA_COUNTERS_REPLY = 10
    CTA_USE = 11
    CTA_ID = 12
    CTA_NAT_DST = 13
    CTA_TUPLE_MASTER = 14
    CTA_SEQ_ADJ_ORIG = 15
    CTA_SEQ_ADJ_REPLY = 16
    CTA_SECMARK = 17  # obsolete, still printed by old listings
    CTA_ZONE = 18
    CTA_SECCTX = 19
    CTA_TIMESTAMP = 20
    CTA_MARK_MASK = 21
    CTA_LABELS = 22
    CTA_LABELS_MASK = 23
    CTA_SYNPROXY = 24
    CTA_FILTER = 25
    CTA_STATUS_MASK = 26
    CTA_TIMESTAMP_EVENT = 27  # since 6.14


class CtaTuple:
    """enum ctattr_tuple."""

    CTA_TUPLE_IP = 1
    CTA_TUPLE_PROTO = 2
    CTA_TUPLE_ZONE = 3


class CtaIp:
    """enum ctattr_ip."""

    CTA_IP_V4_SRC = 1
    CTA_IP_V4_DST = 2
    CTA_IP_V6_SRC = 3
    CTA_IP_V6_DST = 4


class CtaProto:
    """enum ctattr_l4proto.  GRE keys travel as ports."""

    CTA_PROTO_NUM = 1
    CTA_PROTO_SRC_PORT = 2
    CTA_PROTO_DST_PORT = 3
    CTA_PROTO_ICMP_ID = 4
    CTA_PROTO_ICMP_TYPE = 5
    CTA_PROTO_ICMP_CODE = 6
    CTA_PROTO_ICMPV6_ID = 7
    CTA_PROTO_ICMPV6_TYPE = 8
    CTA_PROTO_ICMPV6_CODE = 9


class CtaProtoinfo:
    """enum ctattr_protoinfo."""

    CTA_PROTOINFO_TCP = 1
    CTA_PROTOINFO_DCCP = 2
    CTA_PROTOINFO_SCTP = 3


class CtaTcp:
    """enum ctattr_protoinfo_tcp."""

    CTA_PROTOINFO_TCP_STATE = 1
    CTA_PROTOINFO_TCP_WSCALE_ORIGINAL = 2
    CTA_PROTOINFO_TCP_WSCALE_REPLY = 3
    CTA_PROTOINFO_TCP_FLAGS_ORIGINAL = 4
    CTA_PROTOINFO_TCP_FLAGS_REPLY = 5


class CtaDccp:
    """enum ctattr_protoinfo_dccp.  The tracker left the kernel in 6.17."""

    CTA_PROTOINFO_DCCP_STATE = 1
    CTA_PROTOINFO_DCCP_ROLE = 2
    CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ = 3
    CTA_PROTOINFO_DCCP_PAD = 4


class CtaSctp:
    """enum ctattr_protoinfo_sctp."""

    CTA_PROTOINFO_SCTP_STATE = 1
    CTA_PROTOINFO_SCTP_VTAG_ORIGINAL = 2
    CTA_PROTOINFO_SCTP_VTAG_REPLY = 3


class CtaCounters:
    """enum ctattr_counters."""

    CTA_COUNTERS_PACKETS = 1
    CTA_COUNTERS_BYTES = 2
    CTA_COUNTERS32_PACKETS = 3
    CTA_COUNTERS32_BYTES = 4
    CTA_COUNTERS_PAD = 5


class CtaTimestamp:
    """enum ctattr_tstamp."""

    CTA_TIMESTAMP_START = 1
    CTA_TIMESTAMP_STOP = 2
    CTA_TIMESTAMP_PAD = 3


class CtaNat:
    """enum ctattr_nat; only ever sent to the kernel."""

    CTA_NAT_V4_MINIP = 1
    CTA_NAT_V4_MAXIP = 2
    CTA_NAT_PROTO = 3
    CTA_NAT_V6_MINIP = 4
    CTA_NAT_V6_MAXIP = 5


class CtaProtonat:
    """enum ctattr_protonat."""

    CTA_PROTONAT_PORT_MIN = 1
    CTA_PROTONAT_PORT_MAX = 2


class CtaSeqadj:
    """enum ctattr_seqadj."""

    CTA_SEQADJ_CORRECTION_POS = 1
    CTA_SEQADJ_OFFSET_BEFORE = 2
    CTA_SEQADJ_OFFSET_AFTER = 3


class CtaSynproxy:
    """enum ctattr_synproxy."""

    CTA_SYNPROXY_ISN = 1
    CTA_SYNPROXY_ITS = 2
    CTA_SYNPROXY_TSOFF = 3


class CtaHelp:
    """enum ctattr_help."""

    CTA_HELP_NAME = 1
    CTA_HELP_INFO = 2


class CtaSecctx:
    """enum ctattr_secctx."""

    CTA_SECCTX_NAME = 1


class CtaFilter:
    """enum ctattr_filter."""

    CTA_FILTER_ORIG_FLAGS = 1
    CTA_FILTER_REPLY_FLAGS = 2


class FilterFlag:
    """CTA_FILTER_F_*, net/netfilter/nf_conntrack_netlink.c."""

    IP_SRC = 1 << 0
    IP_DST = 1 << 1
    TUPLE_ZONE = 1 << 2
    PROTO_NUM = 1 << 3
    PROTO_SRC_PORT = 1 << 4
    PROTO_DST_PORT = 1 << 5


class CtaStats:
    """enum ctattr_stats_cpu; gaps are counters the kernel no longer has."""

    CTA_STATS_SEARCHED = 1
    CTA_STATS_FOUND = 2
    CTA_STATS_NEW = 3
    CTA_STATS_INVALID = 4
    CTA_STATS_IGNORE = 5
    CTA_STATS_DELETE = 6
    CTA_STATS_DELETE_LIST = 7
    CTA_STATS_INSERT = 8
    CTA_STATS_INSERT_FAILED = 9
    CTA_STATS_DROP = 10
    CTA_STATS_EARLY_DROP = 11
    CTA_STATS_ERROR = 12
    CTA_STATS_SEARCH_RESTART = 13
    CTA_STATS_CLASH_RESOLVE = 14
    CTA_STATS_CHAIN_TOOLONG = 15


class ExpMsg:
    """enum ctnl_exp_msg_types, linux/netfilter/nfnetlink_conntrack.h."""

    NEW = 0
    GET = 1
    DELETE = 2
    GET_STATS_CPU = 3


class CtaExpect:
    """enum ctattr_expect."""

    CTA_EXPECT_MASTER = 1
    CTA_EXPECT_TUPLE = 2
    CTA_EXPECT_MASK = 3
    CTA_EXPECT_TIMEOUT = 4
    CTA_EXPECT_ID = 5
    CTA_EXPECT_HELP_NAME = 6
    CTA_EXPECT_ZONE = 7
    CTA_EXPECT_FLAGS = 8
    CTA_EXPECT_CLASS = 9
    CTA_EXPECT_NAT = 10
    CTA_EXPECT_FN = 11


class CtaExpectNat:
    """enum ctattr_expect_nat."""

    CTA_EXPECT_NAT_DIR = 1
    CTA_EXPECT_NAT_TUPLE = 2


class CtaStatsExp:
    """enum ctattr_expect_stats."""

    CTA_STATS_EXP_NEW = 1
    CTA_STATS_EXP_CREATE = 2
    CTA_STATS_EXP_DELETE = 3


class ExpectFlag:
    """NF_CT_EXPECT_*, linux/netfilter/nf_conntrack_common.h."""

    PERMANENT = 1
    INACTIVE = 2
    USERSPACE = 4


class CtaStatsGlobal:
    """enum ctattr_stats_global."""

    CTA_STATS_GLOBAL_ENTRIES = 1
    CTA_STATS_GLOBAL_MAX_ENTRIES = 2


class Status:
    """enum ip_conntrack_status, linux/netfilter/nf_conntrack_common.h."""

    EXPECTED = 1 << 0
    SEEN_REPLY = 1 << 1
    ASSURED = 1 << 2
    CONFIRMED = 1 << 3
    SRC_NAT = 1 << 4
    DST_NAT = 1 << 5
    SEQ_ADJUST = 1 << 6
    SRC_NAT_DONE = 1 << 7
    DST_NAT_DONE = 1 << 8
    DYING = 1 << 9
    FIXED_TIMEOUT = 1 << 10
    TEMPLATE = 1 << 11
    UNTRACKED = 1 << 12
    HELPER = 1 << 13
    OFFLOAD = 1 << 14
    HW_OFFLOAD = 1 << 15


# enum tcp_conntrack, linux/netfilter/nf_conntrack_tcp.h; 9 was LISTEN once.
TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
# enum sctp_conntrack, linux/netfilter/nf_conntrack_sctp.h
SCTP_STATES = (
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
)
# enum ct_dccp_states, linux/netfilter/nf_conntrack_dccp.h
DCCP_STATES = (
    "NONE",
    "REQUEST",
    "RESPOND",
    "PARTOPEN",
    "OPEN",
    "CLOSEREQ",
    "CLOSING",
    "TIMEWAIT",
    "IGNORE",
    "INVALID",
)


class TcpFlag:
    """The flags of a TCP header (RFC 9293, RFC 3168)."""

    FIN = 1 << 0
    SYN = 1 << 1
    RST = 1 << 2
    PSH = 1 << 3
    ACK = 1 << 4
    URG = 1 << 5
    ECE = 1 << 6
    CWR = 1 << 7


class SctpChunk:
    """enum sctp_cid, linux/sctp.h."""

    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    ECN_ECNE = 12
    ECN_CWR = 13
    SHUTDOWN_COMPLETE = 14


IPPROTO_HOPOPTS = 0
IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_DCCP = 33
IPPROTO_ROUTING = 43
IPPROTO_FRAGMENT = 44
IPPROTO_GRE = 47
IPPROTO_ESP = 50
IPPROTO_AH = 51
IPPROTO_ICMPV6 = 58
IPPROTO_NONE = 59
IPPROTO_DSTOPTS = 60
IPPROTO_SCTP = 132
IPPROTO_UDPLITE = 136
PORT_PROTOCOLS = frozenset(
    {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_UDPLITE}
)

# IANA protocol numbers that reach a NAT box; the rest are shown as numbers.
PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    4: "ipip",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "icmpv6",
    88: "eigrp",
    89: "ospf",
    94: "ipip",
    97: "etherip",
    103: "pim",
    108: "ipcomp",
    112: "vrrp",
    115: "l2tp",
    132: "sctp",
    136: "udplite",
}
PROTOCOL_NUMBERS = {name: number for number, name in reversed(PROTOCOLS.items())}

# Request types whose reply swaps type, net/netfilter/nf_conntrack_proto_icmp.c
# (invmap) and nf_conntrack_proto_icmpv6.c.
ICMP_REPLY_TYPE = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ICMPV6_REPLY_TYPE = {128: 129, 129: 128, 139: 140, 140: 139}


def names(enum: type) -> dict[int, str]:
    """The members of one of the classes here: value to name."""
    return {value: name for name, value in vars(enum).items() if name[0] != "_"}


def protocol_name(number: int) -> str:
    """Name of an IP protocol number; an unknown one is its number."""
    return PROTOCOLS.get(number, str(number))


def status_names(bits: int) -> list[str]:
    """Names of the set bits; a bit this version does not know is ``BIT<n>``."""
    known = names(Status)
    return [known.get(1 << n, f"BIT{n}") for n in range(32) if bits >> n & 1]


def state_name(states: tuple[str, ...], value: int) -> str:
    """Name of a protocol state; one from a newer kernel is ``STATE<n>``."""
    return states[value] if value < len(states) else f"STATE{value}"
