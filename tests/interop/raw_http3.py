# SPDX-License-Identifier: Apache-2.0
"""HTTP/3 without manners, on aioquic's QUIC: every byte of every stream and datagram is the
caller's, and what the other side does is written down: status, capsules, datagrams, how each stream
ended, how the connection did. The adversaries are made of this; nothing here keeps a rule."""

import asyncio
import ipaddress
import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pylsqpack
from aioquic.asyncio import QuicConnectionProtocol
from aioquic.quic.events import (ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted,
                                 QuicEvent, StopSendingReceived, StreamDataReceived, StreamReset)

from connect_ip import Address, CapsuleParser, CapsuleType, decode_varint, encode_varint

Headers = Sequence[tuple[bytes, bytes]]

# RFC 9114 8.1, RFC 9297 5.2, RFC 9204 6
H3_DATAGRAM_ERROR = 0x33
H3_NO_ERROR = 0x100
H3_GENERAL_PROTOCOL_ERROR = 0x101
H3_STREAM_CREATION_ERROR = 0x103
H3_CLOSED_CRITICAL_STREAM = 0x104
H3_FRAME_UNEXPECTED = 0x105
H3_FRAME_ERROR = 0x106
H3_EXCESSIVE_LOAD = 0x107
H3_ID_ERROR = 0x108
H3_SETTINGS_ERROR = 0x109
H3_MISSING_SETTINGS = 0x10A
H3_REQUEST_REJECTED = 0x10B
H3_REQUEST_CANCELLED = 0x10C
H3_REQUEST_INCOMPLETE = 0x10D
H3_MESSAGE_ERROR = 0x10E
QPACK_DECOMPRESSION_FAILED = 0x200

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 13
CONTROL, PUSH, QPACK_ENCODER, QPACK_DECODER = 0, 1, 2, 3
ENABLE_CONNECT_PROTOCOL, H3_DATAGRAM = 0x08, 0x33

POLL_S = 0.005


def frame(kind: int, payload: bytes = b"") -> bytes:
    return encode_varint(kind) + encode_varint(len(payload)) + payload


def settings_payload(pairs: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(encode_varint(key) + encode_varint(value) for key, value in pairs)


def settings_frame(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, settings_payload(pairs))


@dataclass
class Stream:
    """What has been received on one stream, and how it ended."""
    id: int
    buffer: bytes = b""
    kind: int | None = None  # of a unidirectional stream
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    capsules: list[tuple[CapsuleType, bytes]] = field(default_factory=list)
    parser: CapsuleParser = field(default_factory=CapsuleParser)
    finished: bool = False
    reset_code: int | None = None
    stop_code: int | None = None

    @property
    def status(self) -> int | None:
        """Of the final response."""
        for block in self.headers:
            status = int(dict(block).get(b":status", b"0"))
            if status >= 200:
                return status
        return None

    @property
    def ended(self) -> bool:
        return self.finished or self.reset_code is not None or self.stop_code is not None

    @property
    def code(self) -> int | None:
        """The error the other side named, by RESET_STREAM or STOP_SENDING."""
        return self.reset_code if self.reset_code is not None else self.stop_code


class RawConnection(QuicConnectionProtocol):
    """Either side of a connection. Call transmit() after a series of sends."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.streams: dict[int, Stream] = {}
        self.datagrams: list[bytes] = []  # whole, with the Quarter Stream ID
        self.close_code: int | None = None
        self.close_reason = ""
        self.handshake_done = False
        self.is_client = self._quic.configuration.is_client
        self._encoder = pylsqpack.Encoder()
        self._decoder = pylsqpack.Decoder(0, 0)

    # --- what is sent

    def uni_stream(self, kind: int, data: bytes = b"", end: bool = False) -> int:
        stream_id = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(stream_id, encode_varint(kind) + data, end)
        return stream_id

    def bidi_stream(self) -> int:
        return self._quic.get_next_available_stream_id()

    def write(self, stream_id: int, data: bytes, end: bool = False) -> None:
        self._quic.send_stream_data(stream_id, data, end)

    def write_data(self, stream_id: int, payload: bytes, end: bool = False,
                   frame_bytes: int | None = None) -> None:
        """DATA frames, of frame_bytes each."""
        step = frame_bytes or max(len(payload), 1)
        pieces = [payload[at:at + step] for at in range(0, len(payload), step)]
        self.write(stream_id, b"".join(frame(DATA, piece) for piece in pieces), end)

    def headers_frame(self, stream_id: int, headers: Headers) -> bytes:
        # Capacity 0: no dynamic table, so nothing goes on the encoder stream.
        _, block = self._encoder.encode(stream_id, list(headers))
        return frame(HEADERS, block)

    def datagram(self, data: bytes) -> None:
        self._quic.send_datagram_frame(data)

    def reset(self, stream_id: int, code: int) -> None:
        self._quic.reset_stream(stream_id, code)

    def stop(self, stream_id: int, code: int) -> None:
        self._quic.stop_stream(stream_id, code)

    # --- what is received

    def stream(self, stream_id: int) -> Stream:
        return self.streams.setdefault(stream_id, Stream(stream_id))

    @property
    def closed(self) -> bool:
        return self.close_code is not None

    def control(self) -> Stream | None:
        """The other side's control stream."""
        return next((one for one in self.streams.values() if one.kind == CONTROL), None)

    def settings(self) -> dict[int, int] | None:
        control = self.control()
        for kind, payload in control.frames if control else []:
            if kind == SETTINGS:
                return decode_settings(payload)
        return None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            stream = self.stream(event.stream_id)
            stream.buffer += event.data
            stream.finished = event.end_stream
            self._parse(stream)
        elif isinstance(event, StreamReset):
            self.stream(event.stream_id).reset_code = event.error_code
        elif isinstance(event, StopSendingReceived):
            self.stream(event.stream_id).stop_code = event.error_code
        elif isinstance(event, DatagramFrameReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, HandshakeCompleted):
            self.handshake_done = True
        elif isinstance(event, ConnectionTerminated):
            self.close_code, self.close_reason = event.error_code, event.reason_phrase

    def _parse(self, stream: Stream) -> None:
        is_uni = stream.id & 2 != 0
        if is_uni and stream.kind is None:
            if not (found := decode_varint(stream.buffer)):
                return
            stream.kind, stream.buffer = found[0], stream.buffer[found[1]:]
        if is_uni and stream.kind != CONTROL:
            stream.buffer = b""
            return
        while (kind := decode_varint(stream.buffer)) and \
                (length := decode_varint(stream.buffer, kind[1])):
            end = length[1] + length[0]
            if len(stream.buffer) < end:
                return
            payload, stream.buffer = stream.buffer[length[1]:end], stream.buffer[end:]
            stream.frames.append((kind[0], payload))
            if kind[0] == HEADERS:
                stream.headers.append(self._decoder.feed_header(stream.id, payload)[1])
            elif kind[0] == DATA:
                stream.capsules += stream.parser.feed(payload)

    # --- waiting

    async def until(self, predicate: Callable[[], Any], limit: float) -> bool:
        """Whether predicate became true within the limit, or the connection closed meanwhile."""
        deadline = self._loop.time() + limit
        while not predicate():
            if self._loop.time() > deadline or self.closed:
                return bool(predicate())
            await asyncio.sleep(POLL_S)
        return True

    async def answers_pings(self, limit: float) -> bool:
        """The QUIC connection is alive."""
        if self.closed:
            return False
        ping = asyncio.ensure_future(self.ping())
        await self.until(ping.done, limit)
        alive = ping.done() and not ping.exception() and not self.closed
        ping.cancel()
        return alive


def decode_settings(payload: bytes) -> dict[int, int]:
    settings, at = {}, 0
    while (key := decode_varint(payload, at)) and (value := decode_varint(payload, key[1])):
        settings[key[0]], at = value[0], value[1]
    return settings


# --- inner packets

_echo_sequence = itertools.count(1)


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source: Address, destination: Address, protocol: int, payload: bytes,
              ttl: int = 64, total_length: int | None = None) -> bytes:
    if source.version == 6:
        length = len(payload) if total_length is None else total_length
        return struct.pack("!IHBB", 6 << 28, length, protocol, ttl) + source.packed + \
            destination.packed + payload
    length = 20 + len(payload) if total_length is None else total_length
    header = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, ttl, protocol, 0) + \
        source.packed + destination.packed
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def icmp_packet(source: Address, destination: Address, kind: int, code: int, body: bytes,
                ttl: int = 64) -> bytes:
    """body: all behind the checksum."""
    head = struct.pack("!BBH", kind, code, 0)
    if source.version == 4:
        value = checksum(head + body)
        return ip_packet(source, destination, 1, head[:2] + struct.pack("!H", value) + body, ttl)
    pseudo = source.packed + destination.packed + struct.pack("!II", 4 + len(body), 58)
    value = checksum(pseudo + head + body)
    return ip_packet(source, destination, 58, head[:2] + struct.pack("!H", value) + body, ttl)


def echo_request(source: str | Address, destination: str | Address, ttl: int = 64,
                 size: int = 32, mark: bytes = b"") -> tuple[bytes, int]:
    """An ICMP echo request as a packet, and its sequence number."""
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    sequence = next(_echo_sequence) & 0xFFFF
    body = struct.pack("!HH", 0x6D76, sequence) + mark + bytes(size)
    return icmp_packet(source, destination, 8 if source.version == 4 else 128, 0, body,
                       ttl), sequence


def udp_packet(source: Address, destination: Address, size: int = 40, ttl: int = 64,
               total_length: int | None = None, mark: bytes = b"") -> bytes:
    """To the discard port, without a UDP checksum; IPv6 does not take that, but it is seen."""
    payload = mark + bytes(size)
    body = struct.pack("!HHHH", 4000, 9, 8 + len(payload), 0) + payload
    return ip_packet(source, destination, 17, body, ttl, total_length)


def every_cut(packet: bytes) -> list[bytes]:
    return [packet[:length] for length in range(len(packet))]


def every_other_version(packet: bytes) -> list[bytes]:
    return [bytes([version << 4 | 5]) + packet[1:] for version in range(16)
            if version != packet[0] >> 4]


def tcp_syn(source: Address, destination: Address, port: int = 9, ttl: int = 64) -> bytes:
    """Opens a connection, which a host answers in any case: with SYN or with RST."""
    segment = struct.pack("!HHIIBBHHH", 4000, port, 1, 0, 5 << 4, 2, 1024, 0, 0)
    pseudo = source.packed + destination.packed + struct.pack("!II", len(segment), 6)
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    return ip_packet(source, destination, 6, segment, ttl)


def icmp_of(packet: bytes) -> tuple[int, int, bytes] | None:
    """Type, code and the rest behind the checksum of an ICMP packet, else None."""
    if len(packet) >= 28 and packet[0] >> 4 == 4 and packet[9] == 1:
        message = packet[(packet[0] & 15) * 4:]
    elif len(packet) >= 48 and packet[0] >> 4 == 6 and packet[6] == 58:
        message = packet[40:]
    else:
        return None
    return message[0], message[1], message[4:]


def is_reply(packet: bytes, sequence: int) -> bool:
    icmp = icmp_of(packet)
    return icmp is not None and icmp[0] in (0, 129) and icmp[2][2:4] == struct.pack("!H", sequence)


def is_error(packet: bytes) -> bool:
    icmp = icmp_of(packet)
    return icmp is not None and icmp[0] in ((3, 4, 11, 12) if packet[0] >> 4 == 4 else (1, 2, 3, 4))


def protocol_quoted_by(error: bytes) -> int:
    """Of the packet that an ICMP error is about."""
    icmp = icmp_of(error)
    assert icmp is not None
    return icmp[2][4 + (9 if error[0] >> 4 == 4 else 6)]
