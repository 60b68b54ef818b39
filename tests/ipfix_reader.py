"""A small reader of IPFIX (RFC 7011), written from the RFC and nothing of natscope's."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

Key = tuple[int, int]
"""Enterprise number (0 is IANA) and element."""
Record = dict[Key, bytes]


@dataclass
class Reader:
    """One transport session: templates, sequence, records in order."""

    records: list[tuple[int, Record]] = field(default_factory=list)
    """Data records, each with the number of its template."""
    messages: list[bytes] = field(default_factory=list)
    domains: set[int] = field(default_factory=set)
    announced: list[int] = field(default_factory=list)
    """Template numbers in the order they were announced, again if repeated."""
    options: list[Record] = field(default_factory=list)
    _templates: dict[int, list[tuple[Key, int]]] = field(default_factory=dict)
    _scoped: set[int] = field(default_factory=set)
    _counted: int = 0

    def stream(self, data: bytes) -> None:
        """Messages one after the other, as TCP carries them."""
        while data:
            (length,) = struct.unpack_from("!H", data, 2)
            assert 16 <= length <= len(data)
            self.message(data[:length])
            data = data[length:]

    def message(self, data: bytes) -> None:
        """One message."""
        version, length, _, sequence, domain = struct.unpack_from("!HHIII", data)
        assert (version, length) == (10, len(data))
        assert sequence == self._counted & 0xFFFFFFFF
        self.messages.append(data)
        self.domains.add(domain)
        at = 16
        while at < length:
            number, size = struct.unpack_from("!HH", data, at)
            assert 4 < size <= length - at
            self._set(number, data[at + 4 : at + size])
            at += size

    def _set(self, number: int, body: bytes) -> None:
        if number in (2, 3):
            self._announce(body, scoped=number == 3)
            return
        assert number >= 256
        fields = self._templates[number]
        size = sum(length for _, length in fields)
        assert len(body) % size == 0  # no padding is sent
        for start in range(0, len(body), size):
            record, at = {}, start
            for key, length in fields:
                record[key] = body[at : at + length]
                at += length
            self._counted += 1
            if number in self._scoped:
                self.options.append(record)
            else:
                self.records.append((number, record))

    def _announce(self, body: bytes, *, scoped: bool) -> None:
        while body:
            number, count = struct.unpack_from("!HH", body)
            body = body[4:]
            if scoped:
                (scopes,) = struct.unpack_from("!H", body)
                assert 0 < scopes <= count
                body = body[2:]
                self._scoped.add(number)
            fields = []
            for _ in range(count):
                element, length = struct.unpack_from("!HH", body)
                body, enterprise = body[4:], 0
                if element & 0x8000:
                    (enterprise,) = struct.unpack_from("!I", body)
                    body = body[4:]
                fields.append(((enterprise, element & 0x7FFF), length))
            self._templates[number] = fields
            self.announced.append(number)


def numbers(record: Record) -> dict[Key, int]:
    """The values as whole numbers."""
    return {key: int.from_bytes(value, "big") for key, value in record.items()}
