"""An IP packet as far as netfilter looks at it, and what is asked about one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from natscope import uapi
from natscope.model.ipversion import family_of
from natscope.model.tuples import Address, FlowTuple
from natscope.uapi import SctpChunk, TcpFlag

_SEQUENCE = 1 << 32
_TTL = 64
ICMP_ERRORS = {
    uapi.IPPROTO_ICMP: frozenset({3, 4, 5, 11, 12}),
    uapi.IPPROTO_ICMPV6: frozenset(range(128)),
}
"""Types that quote the packet they are about: icmp_is_err(), icmpv6_is_err()."""
ICMP_REPLIES = {
    uapi.IPPROTO_ICMP: uapi.ICMP_REPLY_TYPE,
    uapi.IPPROTO_ICMPV6: uapi.ICMPV6_REPLY_TYPE,
}
"""Types with an id and a sequence number, each with its counterpart."""
_ECHO_REQUEST = {uapi.IPPROTO_ICMP: 8, uapi.IPPROTO_ICMPV6: 128}

WINDOW = 64_240
"""The TCP window Linux opens with."""
SPI = 0x100
"""The least security parameters index that IANA has not reserved."""
ICV = bytes(12)
"""The integrity check value of AH (RFC 2404), as good as any."""
GRE_KEY, GRE_PPTP = 0x2000, 0x2001
"""gre_flags of a header with a key: of RFC 2890, of PPTP (RFC 2637)."""
GRE_IPV4, GRE_PPP = 0x0800, 0x880B
GRE_INNER = bytes(20)
"""Room for the header of what GRE carries: NAT drops GRE of less than 8 bytes
(gre_manip_pkt)."""
TAG = 1
"""The verification tag SCTP packets have here, the one an INIT offers."""
INIT_BODY = b"".join(part.to_bytes(4, "big") for part in (TAG, 1 << 16, 0xA000A, 1))
"""Initiate tag, window, 10 streams out and in, first TSN (RFC 9260 section 3.3.2)."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a packet: its first byte in the whole, and whether others follow."""

    offset: int = 0
    """In bytes, a multiple of 8."""
    more: bool = False


@dataclass(frozen=True, slots=True)
class Extension:
    """An IPv6 extension header; ``body`` is all after its next-header byte."""

    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of an SCTP packet (RFC 9260 section 3.2)."""

    type: int
    flags: int = 0
    body: bytes = b""


Extensions = tuple[Extension, ...]
Chunks = tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 or IPv6 packet: its headers, and its payload as bytes.

    ``None`` is absent: another protocol has the field, or the header was cut off.
    ``src`` and ``dst`` are of one IP version.
    """

    src: Address
    dst: Address
    proto: int
    """Of the transport header; IPv6 extension headers stand in ``extensions``."""
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None
    icmp_seq: int | None = None
    icmp_rest: int | None = None
    """The last 32 bits of an ICMP header without id: an MTU, a gateway, a pointer."""
    tcp_flags: int | None = None
    """Bits of uapi.TcpFlag."""
    seq: int | None = None
    """Of TCP, ESP and AH."""
    ack: int | None = None
    window: int | None = None
    """As the TCP header has it, not scaled."""
    tcp_options: bytes = b""
    """As on the wire, padded to a multiple of 4."""
    vtag: int | None = None
    """The verification tag of SCTP."""
    chunks: Chunks = ()
    """Of SCTP."""
    spi: int | None = None
    """Of ESP and AH."""
    ah_next: int | None = None
    """The protocol AH protects; over IPv6, AH is an extension header."""
    gre_flags: int | None = None
    """The first 16 bits of GRE, version included (RFC 2784, 2890, 2637)."""
    gre_protocol: int | None = None
    """What GRE carries, an EtherType."""
    gre_key: int | None = None
    """The key of RFC 2890; in version 1 (PPTP) the call id."""
    ttl: int = _TTL
    """Hop limit in IPv6."""
    tos: int = 0
    """DSCP and ECN: the TOS byte, IPv6's traffic class."""
    flow_label: int = 0
    """Of IPv6."""
    ip_id: int = 0
    """Identification: of IPv4, and of IPv6's fragment header."""
    dont_fragment: bool = True
    """Linux sets it; in IPv6 no router fragments."""
    fragment: Fragment | None = None
    """Set for a part of a packet alone."""
    ip_options: bytes = b""
    """Of IPv4, as on the wire, padded to a multiple of 4."""
    extensions: Extensions = ()
    """Of IPv6, all but the fragment header."""
    payload: bytes = b""
    """What follows the headers named here."""
    quoted: Packet | None = None
    """The packet an ICMP error is about; most often its beginning alone."""
    length: int | None = None
    """Bytes the IP header tells, when more than there are here: it was cut off."""
    bad_checksum: bool = False
    """Sent with a wrong transport checksum; not told of a packet that is read."""

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return family_of(self.src)

    @property
    def is_icmp_error(self) -> bool:
        """Whether conntrack looks for the flow of the quoted packet."""
        return self.icmp_type in ICMP_ERRORS.get(self.proto, ())

    @property
    def gre_version(self) -> int:
        """0 of RFC 2784, 1 of PPTP."""
        return (self.gre_flags or 0) & 7

    @property
    def tuple(self) -> FlowTuple:
        """The tuple conntrack looks up (nf_ct_get_tuple, nf_conntrack_inet_error).

        Of an ICMP error it is that of a reply to the quoted packet.  GRE has keys
        in PPTP alone, and there conntrack knows the source's from its helper.
        """
        if self.is_icmp_error and self.quoted is not None:
            return self.quoted.tuple.reversed()
        sport, dport = self.sport, self.dport
        if self.proto == uapi.IPPROTO_GRE:
            sport, dport = 0, (self.gre_key or 0) if self.gre_version == 1 else 0
        return FlowTuple(
            self.src,
            self.dst,
            self.proto,
            sport=sport,
            dport=dport,
            icmp_type=self.icmp_type,
            icmp_code=self.icmp_code,
            icmp_id=self.icmp_id,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A packet, and where it comes from."""

    packet: Packet
    iif: str | None = None
    """The interface it comes in by; None: the box itself sends it."""
    mark: int = 0
    """Of the packet (meta mark), before any rule."""
    mac: str | None = None
    """The sender's, ``02:00:00:00:00:01``; None: any will do."""


def opening(flow: FlowTuple) -> Packet:
    """A packet that begins a flow: a SYN, an echo request, an INIT, or a bare header.

    Its tuple is ``flow``, where that can begin one.
    """
    packet = Packet(flow.src, flow.dst, flow.proto)
    match flow.proto:
        case uapi.IPPROTO_TCP:
            packet = replace(packet, tcp_flags=TcpFlag.SYN, seq=0, ack=0, window=WINDOW)
        case uapi.IPPROTO_ICMP | uapi.IPPROTO_ICMPV6:
            return _icmp_opening(packet, flow)
        case uapi.IPPROTO_SCTP:
            packet = replace(
                packet, vtag=0, chunks=(Chunk(SctpChunk.INIT, 0, INIT_BODY),)
            )
        case uapi.IPPROTO_GRE:
            if flow.dport:
                packet = replace(packet, gre_flags=GRE_PPTP, gre_key=flow.dport)
                return replace(packet, gre_protocol=GRE_PPP)
            carried = replace(packet, gre_flags=0, gre_protocol=GRE_IPV4)
            return replace(carried, payload=GRE_INNER)
        case uapi.IPPROTO_ESP:
            return replace(packet, spi=SPI, seq=1)
        case uapi.IPPROTO_AH:
            next_ = uapi.IPPROTO_NONE
            return replace(packet, spi=SPI, seq=1, ah_next=next_, payload=ICV)
    return replace(packet, sport=flow.sport, dport=flow.dport)


def _icmp_opening(packet: Packet, flow: FlowTuple) -> Packet:
    echo = _ECHO_REQUEST[flow.proto]
    kind = echo if flow.icmp_type is None else flow.icmp_type
    packet = replace(packet, icmp_type=kind, icmp_code=flow.icmp_code or 0)
    if kind not in ICMP_REPLIES[flow.proto]:
        return replace(packet, icmp_rest=0)
    number = 1 if flow.icmp_id is None else flow.icmp_id
    return replace(packet, icmp_id=number, icmp_seq=1)


def answer(packet: Packet) -> Packet:
    """What the other end would send back.

    Where it would stay silent (a reset, an ICMP error) or no rule is known, the same
    packet turned round.
    """
    turned = replace(
        packet,
        src=packet.dst,
        dst=packet.src,
        sport=packet.dport,
        dport=packet.sport,
        ttl=_TTL,
        ip_id=0,
        fragment=None,
        length=None,
        bad_checksum=False,
    )
    if packet.proto == uapi.IPPROTO_TCP:
        return _tcp_answer(packet, turned)
    if packet.proto == uapi.IPPROTO_SCTP:
        return _sctp_answer(packet, turned)
    if packet.icmp_type is not None:
        types = ICMP_REPLIES.get(packet.proto, {})
        kind = types.get(packet.icmp_type, packet.icmp_type)
        return replace(turned, icmp_type=kind)
    return turned


def _tcp_answer(packet: Packet, turned: Packet) -> Packet:
    """The acknowledgement: SYN, FIN and every byte count one (RFC 9293)."""
    flags = packet.tcp_flags or 0
    if flags & TcpFlag.RST:
        return replace(turned, seq=packet.ack or 0, ack=packet.seq or 0)
    is_syn, is_fin = bool(flags & TcpFlag.SYN), bool(flags & TcpFlag.FIN)
    opens = is_syn and not flags & TcpFlag.ACK
    end = (packet.seq or 0) + len(packet.payload) + is_syn + is_fin
    also = TcpFlag.SYN if opens else TcpFlag.FIN if is_fin else 0
    return replace(
        turned,
        tcp_flags=TcpFlag.ACK | also,
        seq=0 if opens else packet.ack or 0,
        ack=end % _SEQUENCE,
        # the window scale and SACK count only when both ends offer them
        tcp_options=packet.tcp_options if opens else b"",
        payload=b"",
    )


_SCTP_ANSWERS = {
    SctpChunk.DATA: SctpChunk.SACK,
    SctpChunk.INIT: SctpChunk.INIT_ACK,
    SctpChunk.INIT_ACK: SctpChunk.COOKIE_ECHO,
    SctpChunk.COOKIE_ECHO: SctpChunk.COOKIE_ACK,
    SctpChunk.HEARTBEAT: SctpChunk.HEARTBEAT_ACK,
    SctpChunk.SHUTDOWN: SctpChunk.SHUTDOWN_ACK,
    SctpChunk.SHUTDOWN_ACK: SctpChunk.SHUTDOWN_COMPLETE,
}
_COOKIE = b"natscope"
_INIT_LENGTH = 16
"""Tag, window, streams out and in, first TSN."""
_STATE_COOKIE = b"\0\7\0\14" + _COOKIE
"""Parameter 7, of 12 bytes."""


def _sctp_answer(packet: Packet, turned: Packet) -> Packet:
    """The chunk the association's next step needs.

    Both ends use one tag, the one an INIT offers, so that no packet but the INIT
    must be known to answer another.
    """
    if not packet.chunks:
        return turned
    asked = packet.chunks[0]
    kind = _SCTP_ANSWERS.get(asked.type, asked.type)
    vtag, body = packet.vtag, b""
    match kind:
        case SctpChunk.INIT_ACK:
            vtag = int.from_bytes(asked.body[:4], "big")
            body = asked.body[:_INIT_LENGTH] + _STATE_COOKIE
        case SctpChunk.COOKIE_ECHO:
            body = _COOKIE
        case SctpChunk.SACK:
            body = asked.body[:4] + (1 << 16).to_bytes(4, "big") + bytes(4)
        case _ if kind == asked.type or kind == SctpChunk.HEARTBEAT_ACK:
            body = asked.body
    return replace(turned, vtag=vtag, chunks=(Chunk(kind, 0, body),), payload=b"")
