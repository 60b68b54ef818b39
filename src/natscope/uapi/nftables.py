"""Numbers of nf_tables, and of what it traces."""

from __future__ import annotations

# linux/netfilter.h: families of tables, beside AF_INET and AF_INET6
NFPROTO_INET = 1
NFPROTO_ARP = 3
NFPROTO_NETDEV = 5
NFPROTO_BRIDGE = 7

NFT_MSG_TRACE = 17  # enum nf_tables_msg_types, linux/netfilter/nf_tables.h


class NftaTrace:
    """enum nft_trace_attributes; the CT ones since 6.16."""

    NFTA_TRACE_TABLE = 1
    NFTA_TRACE_CHAIN = 2
    NFTA_TRACE_RULE_HANDLE = 3
    NFTA_TRACE_TYPE = 4
    NFTA_TRACE_VERDICT = 5
    NFTA_TRACE_ID = 6
    NFTA_TRACE_LL_HEADER = 7
    NFTA_TRACE_NETWORK_HEADER = 8
    NFTA_TRACE_TRANSPORT_HEADER = 9
    NFTA_TRACE_IIF = 10
    NFTA_TRACE_IIFTYPE = 11
    NFTA_TRACE_OIF = 12
    NFTA_TRACE_OIFTYPE = 13
    NFTA_TRACE_MARK = 14
    NFTA_TRACE_NFPROTO = 15
    NFTA_TRACE_POLICY = 16
    NFTA_TRACE_PAD = 17
    NFTA_TRACE_CT_ID = 18
    NFTA_TRACE_CT_DIRECTION = 19
    NFTA_TRACE_CT_STATUS = 20
    NFTA_TRACE_CT_STATE = 21


class NftTraceType:
    """enum nft_trace_types."""

    POLICY = 1
    RETURN = 2
    RULE = 3


class NftaVerdict:
    """enum nft_verdict_attributes."""

    NFTA_VERDICT_CODE = 1
    NFTA_VERDICT_CHAIN = 2
    NFTA_VERDICT_CHAIN_ID = 3
