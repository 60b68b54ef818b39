"""Checksums of packets: the Internet checksum, and SCTP's CRC32c."""

from __future__ import annotations

from natscope.model.tuples import Address

_ALL = 0xFFFF
_CASTAGNOLI = 0x82F63B78
"""The polynomial of RFC 9260 appendix A, its bits in reverse."""


def internet_checksum(data: bytes) -> int:
    """The ones' complement of the ones' complement sum of 16-bit words (RFC 1071)."""
    number = int.from_bytes(data + bytes(len(data) & 1), "big")
    # 2**16 is 1 modulo 0xffff, so the remainder is the folded sum; only words that
    # are all zero have the sum 0, every other multiple of 0xffff is -0
    folded = number % _ALL or (_ALL if number else 0)
    return _ALL ^ folded


def pseudo_header(src: Address, dst: Address, proto: int, length: int) -> bytes:
    """What transport checksums cover of IP (RFC 9293 section 3.1, RFC 8200 8.1)."""
    size = 2 if src.version == 4 else 4
    end = bytes(1) + bytes([proto]) + length.to_bytes(size, "big")
    if size == 4:
        end = length.to_bytes(size, "big") + bytes(3) + bytes([proto])
    return src.packed + dst.packed + end


def crc32c(data: bytes) -> int:
    """CRC-32 of Castagnoli; SCTP carries it with the low byte first."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFF_FFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
    return byte


_TABLE = tuple(_entry(byte) for byte in range(256))
