# SPDX-License-Identifier: Apache-2.0
"""Capsule bytes that a receiver must refuse, or must take, whichever side it is: name, RFC section
and rows, bytes as hex split by field, what must come of it."""

import ipaddress

import raw_http3 as raw
from attack import ABORTED, IGNORED, Expectation, stream_error
from connect_ip import AddressRange, CapsuleType, encode_capsule, encode_ranges, encode_varint

MESSAGE_ERROR = stream_error(raw.H3_MESSAGE_ERROR)

# RFC 9484 4.7, RFC 9297 3.3
BAD_CAPSULES: list[tuple[str, str, str, Expectation]] = [
    ("assign_host_bits", "9484 4.7.1: A3, X", "01 07 00 04 01020304 1c", MESSAGE_ERROR),
    ("assign_version_5", "9484 4.7.1: A3, X", "01 07 00 05 01020304 20", MESSAGE_ERROR),
    ("assign_prefix_33", "9484 4.7.1: A3, X", "01 07 00 04 01020304 21", MESSAGE_ERROR),
    ("assign_prefix_129", "9484 4.7.1: A3, X",
     "01 13 00 06 20010db8000000000000000000000001 81", MESSAGE_ERROR),
    ("assign_trailing_byte", "9297 3.3: H18, X", "01 08 00 04 01020304 20 ff", MESSAGE_ERROR),
    ("assign_cut_address", "9297 3.3: H18, X", "01 04 00 04 0102", MESSAGE_ERROR),
    ("assign_v6_with_v4_bytes", "9297 3.3: H18, X", "01 07 00 06 01020304 20", MESSAGE_ERROR),
    ("assign_cut_request_id", "9297 3.3: H18, X", "01 01 40", MESSAGE_ERROR),
    ("request_empty", "9484 4.7.2: R7", "02 00", ABORTED),
    ("request_id_0", "9484 4.7.2: R1, X", "02 07 00 04 00000000 20", MESSAGE_ERROR),
    ("request_host_bits", "9484 4.7.2: R2, X", "02 07 01 04 0a000001 18", MESSAGE_ERROR),
    ("request_version_0", "9484 4.7.2: R2, X", "02 07 01 00 00000000 20", MESSAGE_ERROR),
    ("request_trailing_byte", "9297 3.3: H18, X", "02 08 01 04 00000000 20 00", MESSAGE_ERROR),
    ("routes_start_after_end", "9484 4.7.3: V3, X", "03 0a 04 c0000209 c0000201 00", MESSAGE_ERROR),
    ("routes_touching", "9484 4.7.3: V5, V6",
     "03 14 04 c0000200 c000020a 00 04 c000020a c0000214 00", ABORTED),
    ("routes_descending", "9484 4.7.3: V5, V6",
     "03 14 04 c0000300 c000030a 00 04 c0000200 c000020a 00", ABORTED),
    ("routes_v6_before_v4", "9484 4.7.3: V5, V6",
     "03 2c 06 20010db8000000000000000000000000 20010db800000000000000000000000f 00"
     "04 c0000200 c0000201 00", ABORTED),
    ("routes_proto_17_before_6", "9484 4.7.3: V5, V6",
     "03 14 04 c0000200 c0000201 11 04 c0000300 c0000301 06", ABORTED),
    ("routes_same_twice", "9484 4.7.3: V5, V6",
     "03 14 04 c0000200 c000020a 00 04 c0000200 c000020a 00", ABORTED),
    ("routes_version_7", "9484 4.7.3: V3, X", "03 0a 07 c0000201 c0000209 00", MESSAGE_ERROR),
    ("routes_cut_entry", "9297 3.3: H18, X", "03 09 04 c0000201 c0000209", MESSAGE_ERROR),
    # Detecting it is optional; who detects it must abort.
    ("routes_proto_0_overlap", "9484 4.7.3: V7",
     "03 14 04 c0000200 c00002ff 00 04 c0000207 c0000207 06", ABORTED | IGNORED),
]

# RFC 9297 3.2, RFC 9000 16: none of these may end anything.
GOOD_CAPSULES: list[tuple[str, str, str]] = [
    ("capsule_grease", "9297 5.4: H13, X", "17 03 aabbcc"),
    ("capsule_unknown_empty", "9297 3.2: H13", "4040 00"),
    ("capsule_unknown_8_byte_type", "9297 3.2: H13", "ffffffffffffffff 02 0102"),
    ("capsule_old_drafts", "9297 3.2: H13", "9eca6a00 07 00 04 01020304 20 80ff37a0 01 00"),
    ("capsule_pref64", "9297 3.2: H13", "a74c0fbc 0d 60 0064ff9b0000000000000000"),
    ("capsule_datagram_empty", "9484 6: D4, H20", "00 00"),
    ("capsule_datagram_empty_packet", "9484 6: D4, H20", "00 01 00"),
    ("capsule_datagram_unknown_context", "9484 6: D3, H20", "00 03 05 aabb"),
    ("capsule_datagram_garbage", "9484 7.2: D4, H20", "00 06 00 ffffffffff"),
]


def from_hex(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def many_requests(count: int, first: int = 1) -> bytes:
    """One ADDRESS_REQUEST with `count` entries, each for any IPv4 address, numbered from `first`."""
    return encode_capsule(CapsuleType.ADDRESS_REQUEST, b"".join(
        encode_varint(number) + b"\x04\0\0\0\0\x20" for number in range(first, first + count)))


def many_assignments(count: int) -> bytes:
    return encode_capsule(CapsuleType.ADDRESS_ASSIGN, b"".join(
        b"\0\x04" + (0x0A640000 + number).to_bytes(4, "big") + b"\x20" for number in range(count)))


def many_routes(count: int) -> bytes:
    """Ordered, one address each, with a gap between any two."""
    base = int(ipaddress.ip_address("10.128.0.0"))
    return encode_ranges(AddressRange(ipaddress.ip_address(base + 2 * number),
                                      ipaddress.ip_address(base + 2 * number))
                         for number in range(count))
