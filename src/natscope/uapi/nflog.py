"""Numbers of nfnetlink_log."""

from __future__ import annotations


class NfulnlMsg:
    """enum nfulnl_msg_types, linux/netfilter/nfnetlink_log.h."""

    PACKET = 0
    CONFIG = 1


class Nfula:
    """enum nfulnl_attr_type."""

    NFULA_PACKET_HDR = 1
    NFULA_MARK = 2
    NFULA_TIMESTAMP = 3
    NFULA_IFINDEX_INDEV = 4
    NFULA_IFINDEX_OUTDEV = 5
    NFULA_IFINDEX_PHYSINDEV = 6
    NFULA_IFINDEX_PHYSOUTDEV = 7
    NFULA_HWADDR = 8
    NFULA_PAYLOAD = 9
    NFULA_PREFIX = 10
    NFULA_UID = 11
    NFULA_SEQ = 12
    NFULA_SEQ_GLOBAL = 13
    NFULA_GID = 14
    NFULA_HWTYPE = 15
    NFULA_HWHEADER = 16
    NFULA_HWLEN = 17
    NFULA_CT = 18
    NFULA_CT_INFO = 19
    NFULA_VLAN = 20
    NFULA_L2HDR = 21


class NfulaCfg:
    """enum nfulnl_attr_config."""

    NFULA_CFG_CMD = 1
    NFULA_CFG_MODE = 2
    NFULA_CFG_NLBUFSIZ = 3
    NFULA_CFG_TIMEOUT = 4
    NFULA_CFG_QTHRESH = 5
    NFULA_CFG_FLAGS = 6


class NfulnlCmd:
    """enum nfulnl_msg_config_cmds."""

    NONE = 0
    BIND = 1
    UNBIND = 2
    PF_BIND = 3
    PF_UNBIND = 4


NFULNL_COPY_PACKET = 2
