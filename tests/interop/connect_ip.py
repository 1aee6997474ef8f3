# SPDX-License-Identifier: Apache-2.0
"""RFC 9484 and RFC 9297 in Python, written from the RFCs for the interop tests: varints, capsules,
HTTP Datagram payloads. It shares nothing with the product's code, so a misreading does not cancel
out. Parsers are strict: what the RFC calls malformed raises MalformedCapsule."""

import enum
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

VARINT_MAX = (1 << 62) - 1
CAPSULE_BYTES_MAX = 1 << 20
ICMP_PROTOCOLS = {4: 1, 6: 58}


class CapsuleType(enum.IntEnum):
    DATAGRAM = 0
    ADDRESS_ASSIGN = 1
    ADDRESS_REQUEST = 2
    ROUTE_ADVERTISEMENT = 3


class MalformedCapsule(Exception):
    pass


def encode_varint(value: int, size: int | None = None) -> bytes:
    """In the fewest bytes, or in `size` (1, 2, 4, 8): longer forms are legal (RFC 9000 16)."""
    for length, prefix in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if (size is None or size == length) and value < 1 << (8 * length - 2):
            return (value | prefix << (8 * length - 2)).to_bytes(length, "big")
    raise ValueError(f"{value} does not fit a varint of {size} bytes")


def decode_varint(data: bytes, offset: int = 0) -> tuple[int, int] | None:
    """The value and the offset behind it; None when bytes are missing."""
    if offset >= len(data):
        return None
    length = 1 << (data[offset] >> 6)
    if offset + length > len(data):
        return None
    mask = (1 << (8 * length - 2)) - 1
    return int.from_bytes(data[offset:offset + length], "big") & mask, offset + length


@dataclass(frozen=True)
class PrefixEntry:
    """An Assigned Address or a Requested Address: the wire form is the same."""
    request_id: int
    prefix: Network

    @property
    def rejected(self) -> bool:
        """RFC 9484 4.7.2: the all-zero address with the maximum length denies a request."""
        return int(self.prefix.network_address) == 0 and \
            self.prefix.prefixlen == self.prefix.max_prefixlen


@dataclass(frozen=True)
class AddressRange:
    start: Address
    end: Address
    protocol: int = 0

    @property
    def order(self) -> tuple[int, int]:
        return self.start.version, self.protocol

    def contains(self, address: Address, protocol: int) -> bool:
        if address.version != self.start.version or not self.start <= address <= self.end:
            return False
        return self.protocol in (0, protocol) or protocol == ICMP_PROTOCOLS[address.version]

    def prefixes(self) -> Iterable[Network]:
        return ipaddress.summarize_address_range(self.start, self.end)


def encode_capsule(kind: int, value: bytes) -> bytes:
    return encode_varint(kind) + encode_varint(len(value)) + value


def encode_prefixes(kind: CapsuleType, entries: Iterable[PrefixEntry]) -> bytes:
    value = b"".join(encode_varint(entry.request_id) + bytes([entry.prefix.version]) +
                     entry.prefix.network_address.packed + bytes([entry.prefix.prefixlen])
                     for entry in entries)
    return encode_capsule(kind, value)


def encode_ranges(ranges: Iterable[AddressRange]) -> bytes:
    value = b"".join(bytes([one.start.version]) + one.start.packed + one.end.packed +
                     bytes([one.protocol]) for one in ranges)
    return encode_capsule(CapsuleType.ROUTE_ADVERTISEMENT, value)


class _Reader:
    def __init__(self, data: bytes):
        self._data = data
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._data)

    def varint(self) -> int:
        found = decode_varint(self._data, self._at)
        if found is None:
            raise MalformedCapsule("cut varint")
        value, self._at = found
        return value

    def bytes(self, count: int) -> bytes:
        piece = self._data[self._at:self._at + count]
        if len(piece) != count:
            raise MalformedCapsule("cut field")
        self._at += count
        return piece

    def byte(self) -> int:
        return self.bytes(1)[0]

    def address(self, version: int) -> Address:
        if version not in (4, 6):
            raise MalformedCapsule(f"IP version {version}")
        return ipaddress.ip_address(self.bytes(4 if version == 4 else 16))


def decode_prefixes(kind: CapsuleType, value: bytes) -> list[PrefixEntry]:
    reader, entries = _Reader(value), []
    while not reader.done:
        request_id = reader.varint()
        address = reader.address(reader.byte())
        length = reader.byte()
        try:
            # Refuses a length that is too large and host bits (RFC 9484 4.7.1).
            prefix = ipaddress.ip_network((address, length))
        except ValueError as e:
            raise MalformedCapsule(str(e)) from e
        if kind == CapsuleType.ADDRESS_REQUEST and request_id == 0:
            raise MalformedCapsule("Request ID 0 in a request")
        entries.append(PrefixEntry(request_id, prefix))
    if kind == CapsuleType.ADDRESS_REQUEST and not entries:
        raise MalformedCapsule("empty ADDRESS_REQUEST")
    return entries


def decode_ranges(value: bytes) -> list[AddressRange]:
    reader, ranges = _Reader(value), []
    while not reader.done:
        version = reader.byte()
        start, end = reader.address(version), reader.address(version)
        one = AddressRange(start, end, reader.byte())
        if int(start) > int(end):
            raise MalformedCapsule("range ends before it starts")
        if ranges:
            last = ranges[-1]
            # RFC 9484 4.7.3: by version, then protocol, then address, without touching.
            if last.order > one.order or (last.order == one.order and int(last.end) >= int(start)):
                raise MalformedCapsule("ranges out of order")
        ranges.append(one)
    return ranges


class CapsuleParser:
    """Takes the data stream in pieces of any size. Unknown capsules are skipped, unbuffered."""

    def __init__(self) -> None:
        self._buffer = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[tuple[CapsuleType, bytes]]:
        self._buffer += data
        found = []
        while True:
            skipped = min(self._skip, len(self._buffer))
            self._buffer, self._skip = self._buffer[skipped:], self._skip - skipped
            if not (header := self._header()):
                return found
            kind, length, at = header
            if kind not in list(CapsuleType):
                self._buffer, self._skip = self._buffer[at:], length
                continue
            if length > CAPSULE_BYTES_MAX:
                raise MalformedCapsule(f"capsule of {length} bytes")
            if len(self._buffer) < at + length:
                return found
            found.append((CapsuleType(kind), self._buffer[at:at + length]))
            self._buffer = self._buffer[at + length:]

    def finish(self) -> None:
        """RFC 9297 3.3: the stream must not end inside a capsule."""
        if self._buffer or self._skip:
            raise MalformedCapsule("stream ends inside a capsule")

    def _header(self) -> tuple[int, int, int] | None:
        if self._skip or not (kind := decode_varint(self._buffer)):
            return None
        if not (length := decode_varint(self._buffer, kind[1])):
            return None
        return kind[0], length[0], length[1]


@dataclass(frozen=True)
class PacketHeader:
    source: Address
    destination: Address
    protocol: int


def parse_packet(packet: bytes) -> PacketHeader | None:
    """None when it is no whole IP packet. Extension headers are walked (RFC 9484 4.8)."""
    if not packet:
        return None
    if packet[0] >> 4 == 4 and len(packet) >= 20:
        return PacketHeader(ipaddress.ip_address(packet[12:16]),
                            ipaddress.ip_address(packet[16:20]), packet[9])
    if packet[0] >> 4 == 6 and len(packet) >= 40:
        return PacketHeader(ipaddress.ip_address(packet[8:24]),
                            ipaddress.ip_address(packet[24:40]), _upper_protocol(packet))
    return None


def _upper_protocol(packet: bytes) -> int:
    kind, at = packet[6], 40
    while kind in (0, 43, 44, 51, 60) and at + 2 <= len(packet):
        following, length = packet[at], packet[at + 1]
        at += 8 if kind == 44 else (length + 2) * 4 if kind == 51 else (length + 1) * 8
        kind = following
    return kind
