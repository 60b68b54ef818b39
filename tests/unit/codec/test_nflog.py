"""nfnetlink_log: requests as nfulnl_recv_config() reads them, and packets."""

from __future__ import annotations

import struct

import pytest

from natscope import uapi
from natscope.codec import nflog, nla, nlmsg
from natscope.codec.nflog import LoggedPacket
from natscope.errors import DecodeError
from natscope.uapi.nflog import Nfula, NfulaCfg, NfulnlCmd


def logged(*attributes: bytes, family: int = uapi.AF_INET, group: int = 0) -> bytes:
    header = struct.pack(">BBH", family, 0, group)
    return nlmsg.build(nflog.PACKET, 0, 0, header + b"".join(attributes))


PREFIX = "nf_ct_proto_6: bad checksum "


def test_a_packet_is_read_with_what_is_said_of_it() -> None:
    message = logged(
        nla.build(Nfula.NFULA_PACKET_HDR, struct.pack(">HBx", 0x0800, 2)),
        nla.build(Nfula.NFULA_PREFIX, PREFIX.encode() + b"\0"),
        nla.build(Nfula.NFULA_IFINDEX_INDEV, struct.pack(">I", 4)),
        nla.build(Nfula.NFULA_IFINDEX_OUTDEV, struct.pack(">I", 5)),
        nla.build(Nfula.NFULA_MARK, struct.pack(">I", 7)),
        nla.build(Nfula.NFULA_TIMESTAMP, struct.pack(">QQ", 3, 250_000)),
        nla.build(Nfula.NFULA_PAYLOAD, b"\x45packet"),
        nla.build(99, b"new"),
        family=uapi.AF_INET6,
        group=3,
    )
    assert nflog.decode(message) == LoggedPacket(
        family=uapi.AF_INET6,
        group=3,
        prefix=PREFIX,
        payload=b"\x45packet",
        hook=2,
        hw_protocol=0x0800,
        iif=4,
        oif=5,
        mark=7,
        time_ns=3_250_000_000,
        unknown=((99, b"new"),),
    )


def test_what_is_not_told_is_none() -> None:
    found = nflog.decode(logged())
    assert (found.iif, found.oif, found.mark, found.time_ns) == (None,) * 4


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(b"\0" * 10, "nfgenmsg", id="too short"),
        pytest.param(
            logged(nla.build(Nfula.NFULA_MARK, b"1")), "NFULA_MARK", id="half a mark"
        ),
        pytest.param(logged(b"\xff\0\1\0"), "nla_len is 255", id="a length too long"),
    ],
)
def test_bytes_that_are_no_logged_packet_are_refused(message: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        nflog.decode(message)


def test_a_group_is_bound_with_whole_headers_and_at_once() -> None:
    request = nflog.bind_request(5, seq=9, copied=256)
    (message,) = nlmsg.split(request)
    assert (message.type, message.seq) == (uapi.NFNL_SUBSYS_ULOG << 8 | 1, 9)
    assert request[16:20] == bytes([uapi.AF_UNSPEC, 0, 0, 5])
    told = {
        a.type: request[a.start : a.end]
        for a in nla.walk(request, nlmsg.ATTRIBUTES_AT, len(request), ())
    }
    assert told == {
        NfulaCfg.NFULA_CFG_CMD: bytes([NfulnlCmd.BIND]),
        NfulaCfg.NFULA_CFG_MODE: struct.pack(">IBx", 256, 2),
        NfulaCfg.NFULA_CFG_QTHRESH: struct.pack(">I", 1),
    }


@pytest.mark.parametrize(
    ("bind", "command"),
    [(True, NfulnlCmd.PF_BIND), (False, NfulnlCmd.PF_UNBIND)],
)
def test_a_familys_log_is_turned(bind: bool, command: int) -> None:
    request = nflog.family_request(uapi.AF_INET6, seq=1, bind=bind)
    assert request[16:20] == bytes([uapi.AF_INET6, 0, 0, 0])
    assert request[24] == command
