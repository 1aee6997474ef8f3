# SPDX-License-Identifier: Apache-2.0
"""Puts packets on an interface as they are, whatever the kernel would say:
`send_raw.py INTERFACE SHAPE SOURCE TARGET MARK COUNT`. UDP to port 9 with the mark as payload, in
one of the shapes below."""

import socket
import struct
import sys
from collections.abc import Callable
from ipaddress import ip_address

ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
UDP, ROUTING, DESTINATION_OPTIONS = 17, 43, 60


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source: bytes, target: bytes, payload: bytes) -> bytes:
    segment = struct.pack("!HHHH", 4000, 9, 8 + len(payload), 0) + payload
    pseudo = source + target + struct.pack("!II", len(segment), UDP)
    return segment[:6] + struct.pack("!H", checksum(pseudo + segment) or 0xFFFF) + segment[8:]


def ipv4(source: str, target: str, payload: bytes, *, version: int = 4, ihl: int | None = None,
         options: bytes = b"", total: int | None = None, ttl: int = 64,
         spoil: bool = False) -> bytes:
    addresses = ip_address(source).packed, ip_address(target).packed
    body = udp(*addresses, payload)
    words = 5 + len(options) // 4 if ihl is None else ihl
    length = 20 + len(options) + len(body) if total is None else total
    header = struct.pack("!BBHHHBBH", version << 4 | words, 0, length, 1, 0, ttl, UDP, 0)
    header += addresses[0] + addresses[1] + options
    value = checksum(header) ^ (0x1234 if spoil else 0)
    return header[:10] + struct.pack("!H", value) + header[12:] + body


def ipv6(source: str, target: str, payload: bytes, *, extension: bytes = b"", first: int = UDP,
         length: int | None = None, hops: int = 64) -> bytes:
    addresses = ip_address(source).packed, ip_address(target).packed
    body = extension + udp(*addresses, payload)
    return struct.pack("!IHBB", 6 << 28, len(body) if length is None else length, first,
                       hops) + addresses[0] + addresses[1] + body


SHAPES_4: dict[str, Callable[[str, str, bytes], bytes]] = {
    "plain": ipv4,
    "options": lambda s, t, p: ipv4(s, t, p, options=b"\x01\x01\x01\x00"),
    "version_0": lambda s, t, p: ipv4(s, t, p, version=0),
    "version_5": lambda s, t, p: ipv4(s, t, p, version=5),
    "version_15": lambda s, t, p: ipv4(s, t, p, version=15),
    "short_ihl": lambda s, t, p: ipv4(s, t, p, ihl=4),
    "long_ihl": lambda s, t, p: ipv4(s, t, p, ihl=15),
    "total_short": lambda s, t, p: ipv4(s, t, p, total=10),
    "total_long": lambda s, t, p: ipv4(s, t, p, total=4000),
    "bad_checksum": lambda s, t, p: ipv4(s, t, p, spoil=True),
    "ttl_0": lambda s, t, p: ipv4(s, t, p, ttl=0),
    "empty": lambda s, t, p: b"",
    "one_byte": lambda s, t, p: b"\x45",
}
SHAPES_6: dict[str, Callable[[str, str, bytes], bytes]] = {
    "plain": ipv6,
    "destination_options": lambda s, t, p: ipv6(
        s, t, p, first=DESTINATION_OPTIONS, extension=bytes([UDP, 0, 1, 4, 0, 0, 0, 0])),
    "total_short": lambda s, t, p: ipv6(s, t, p, length=4),
    "total_long": lambda s, t, p: ipv6(s, t, p, length=4000),
    "hop_limit_0": lambda s, t, p: ipv6(s, t, p, hops=0),
    # RFC 5095: type 0, one more address to visit.
    "routing_header_0": lambda s, t, p: ipv6(
        s, t, p, first=ROUTING,
        extension=bytes([UDP, 2, 0, 1, 0, 0, 0, 0]) + ip_address(t).packed),
    # A header that says that another follows behind the packet's end.
    "empty_chain": lambda s, t, p: ipv6(s, t, b"", first=DESTINATION_OPTIONS,
                                        extension=bytes([DESTINATION_OPTIONS, 255]) + p),
}


def main() -> None:
    interface, shape, source, target, mark, count = sys.argv[1:7]
    v6 = ":" in target
    packet = (SHAPES_6 if v6 else SHAPES_4)[shape](source, target, mark.encode())
    kind = ETH_P_IPV6 if v6 else ETH_P_IP
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind)) as out:
        for _ in range(int(count)):
            try:
                out.sendto(packet, (interface, kind))
            except OSError:
                # The kernel itself refuses some, an empty one for example: they arrive nowhere.
                pass


if __name__ == "__main__":
    main()
