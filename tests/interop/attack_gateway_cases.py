# SPDX-License-Identifier: Apache-2.0
"""What attack_gateway.py does: bad capsules, bad datagrams, bad requests, bad HTTP/3, bad packets
(attack_gateway_packets.py). Each function is a case of that name; its decorator names the rule and what must come of it."""

import raw_http3 as raw
from attack import (ABORTED, CLEAN_END, IGNORED, LIMITED, MALFORMED, Table, answered,
                    connection_error, stream_error)
from attack_gateway_packets import TABLE as PACKETS
from bad_capsules import (BAD_CAPSULES, GOOD_CAPSULES, from_hex, many_assignments, many_requests,
                          many_routes)
from connect_ip import CapsuleType, decode_prefixes, encode_capsule, encode_varint

TABLE = Table()
TABLE.group = "capsules"
MANY = 10_000
UNKNOWN_CAPSULE = 0x17 + 0x29 * 1000


def _capsule_case(name, rule, data, expectation):
    async def attack(a):
        await a.connect()
        await a.tunnel()
        a.capsules(data)

    TABLE.add(name, rule, expectation, attack)


for _name, _rule, _hex, _expectation in BAD_CAPSULES:
    _capsule_case(_name, _rule, from_hex(_hex), _expectation)
for _name, _rule, _hex in GOOD_CAPSULES:
    _capsule_case(_name, _rule, from_hex(_hex), IGNORED)

# --- capsules on the stream

_capsule_case("capsule_empty_assign_non_minimal", "9000 16: varint 1, A1", from_hex("4001 4000"),
              IGNORED)
_capsule_case("capsule_unknown_of_1_mib", "9297 3.2: H13, H17",
              encode_capsule(UNKNOWN_CAPSULE, bytes(1 << 20)), IGNORED)
_capsule_case("capsule_many_assignments", "limit, 9484 4.7.1", many_assignments(MANY),
              IGNORED | LIMITED)
_capsule_case("capsule_many_routes", "limit, 9484 4.7.3", many_routes(MANY), IGNORED | LIMITED)


@TABLE.case("9297 3.1: H12", IGNORED)
async def request_in_1_byte_data_frames(a):
    await a.connect()
    stream_id = await a.tunnel()
    before = len(a.conn.stream(stream_id).capsules)
    a.capsules(from_hex("02 08 4009 04 00000000 20"), frame_bytes=1)
    await _expect_answer_to(a, stream_id, before, 9)


@TABLE.case("9000 16: varint 1", IGNORED)
async def request_with_non_minimal_varints(a):
    await a.connect()
    stream_id = await a.tunnel()
    before = len(a.conn.stream(stream_id).capsules)
    a.capsules(from_hex("80000002 c00000000000000e c000000000000007 04 00000000 20"))
    await _expect_answer_to(a, stream_id, before, 7)


async def _expect_answer_to(a, stream_id, before, request_id):
    """RFC 9484 4.7.2: each request is answered with its Request ID, be it a denial."""
    stream = a.conn.stream(stream_id)

    def answered_ids():
        return [entry.request_id for kind, value in stream.capsules[before:]
                if kind == CapsuleType.ADDRESS_ASSIGN for entry in decode_prefixes(kind, value)]

    assert await a.conn.until(lambda: request_id in answered_ids(), 5), \
        f"request {request_id} was not answered: {answered_ids()}, {stream.ended}"


@TABLE.case("9484 4.7.2: R4; limit", IGNORED | LIMITED)
async def request_of_10000_entries(a):
    await a.connect()
    await a.tunnel()
    a.capsules(many_requests(MANY))
    await a.conn.answers_pings(5)


# An answer lists the leases and an entry a request, in one capsule: at some number there is no room.
_capsule_case("request_of_30_entries", "9484 4.7.2: R4", many_requests(30), IGNORED)
_capsule_case("request_of_64_entries", "9484 4.7.2: R4; limit", many_requests(64),
              IGNORED | LIMITED)
_capsule_case("two_requests_of_64_entries", "9484 4.7.2: R4; limit",
              many_requests(64) + many_requests(64, 65), IGNORED | LIMITED)


@TABLE.case("9484 4.7.2: R1", IGNORED | ABORTED)
async def request_id_reused(a):
    await a.connect()
    await a.tunnel()
    a.capsules(from_hex("02 07 05 04 00000000 20" * 2))


@TABLE.case("9297 3.3: H18, X", stream_error(raw.H3_MESSAGE_ERROR, raw.H3_REQUEST_INCOMPLETE))
async def capsule_cut_by_fin(a):
    await a.connect()
    await a.tunnel()
    a.capsules(from_hex("02 0e 01 04 0000"), end=True)


@TABLE.case("9297 3.3: H18, X", stream_error(raw.H3_MESSAGE_ERROR, raw.H3_REQUEST_INCOMPLETE))
async def unknown_capsule_cut_by_fin(a):
    await a.connect()
    await a.tunnel()
    a.capsules(encode_varint(UNKNOWN_CAPSULE) + encode_varint(100) + bytes(50), end=True)


@TABLE.case("9484 4.1: L3; 9220 3: C5", CLEAN_END)
async def clean_fin(a):
    await a.connect()
    stream_id = await a.tunnel()
    a.conn.write(stream_id, b"", end=True)
    a.conn.transmit()
    stream = a.conn.stream(stream_id)
    await a.conn.until(lambda: stream.ended, 5)


@TABLE.case("9114 4.1.1: W10", stream_error(
    raw.H3_REQUEST_CANCELLED, raw.H3_NO_ERROR, raw.H3_MESSAGE_ERROR) | CLEAN_END)
async def reset_by_client(a):
    await a.connect()
    stream_id = await a.tunnel()
    a.conn.reset(stream_id, raw.H3_REQUEST_CANCELLED)
    a.conn.transmit()
    stream = a.conn.stream(stream_id)
    await a.conn.until(lambda: stream.ended, 5)


@TABLE.case("9000 3.5; 9114 4.1.1", stream_error(
    raw.H3_REQUEST_CANCELLED, raw.H3_NO_ERROR, raw.H3_MESSAGE_ERROR) | CLEAN_END)
async def stop_sending_by_client(a):
    await a.connect()
    stream_id = await a.tunnel()
    a.conn.stop(stream_id, raw.H3_REQUEST_CANCELLED)
    a.conn.transmit()
    stream = a.conn.stream(stream_id)
    await a.conn.until(lambda: stream.ended, 5)


@TABLE.case("9297 3.5: H22", IGNORED | ABORTED | LIMITED)
async def datagram_capsule_of_1_tib(a):
    await a.connect()
    await a.tunnel()
    a.capsules(b"\0" + encode_varint(1 << 40) + bytes(1000))


@TABLE.case("9297 3.5: H20", IGNORED)
async def datagram_capsule_instead_of_frame(a):
    await a.connect()
    await a.tunnel()
    version = min(a.addresses)
    packet, sequence = raw.echo_request(a.addresses[version], a.gateway_addresses[version])
    a.capsules(encode_capsule(CapsuleType.DATAGRAM, b"\0" + packet))
    assert await a.conn.until(lambda: any(raw.is_reply(one, sequence) for one in a.packets()), 5), \
        "a packet in a DATAGRAM capsule was not forwarded"


@TABLE.case("9484 7.2: U5, H22", IGNORED)
async def datagram_capsule_with_packet_of_60000_bytes(a):
    await a.connect()
    await a.tunnel()
    packet, _ = raw.echo_request(a.addresses[4], a.gateway_addresses[4], size=60_000)
    a.capsules(encode_capsule(CapsuleType.DATAGRAM, b"\0" + packet))


@TABLE.case("9114 7.2.8: W5", IGNORED)
async def unknown_frames_on_the_request_stream(a):
    await a.connect()
    stream_id = await a.tunnel()
    a.conn.write(stream_id, raw.frame(0x21, b"grease") + raw.frame(raw.DATA) +
                 raw.frame(0x1F * 77 + 0x21, bytes(5000)))
    a.conn.transmit()


@TABLE.case("9114 4.4: W7", connection_error(raw.H3_FRAME_UNEXPECTED) | ABORTED)
async def trailers_on_connect(a):
    await a.connect()
    stream_id = await a.tunnel()
    a.conn.write(stream_id, a.conn.headers_frame(stream_id, [(b"x-trailer", b"1")]))
    a.conn.transmit()


# --- datagrams
TABLE.group = "datagrams"

def _datagram_case(name, rule, data, expectation):
    async def attack(a):
        await a.connect()
        await a.tunnel()
        a.conn.datagram(data)
        a.conn.transmit()

    TABLE.add(name, rule, expectation, attack)


_datagram_case("datagram_unknown_stream", "9297 2.1: H6", from_hex("0b 00") + bytes(40), IGNORED)
_datagram_case("datagram_impossible_stream", "9297 2.1: H7",
               from_hex("c000ffffffffffff 00") + bytes(40),
               IGNORED | connection_error(raw.H3_ID_ERROR))
_datagram_case("datagram_quarter_id_too_large", "9297 2.1: H3", from_hex("d000000000000000 00"),
               connection_error(raw.H3_DATAGRAM_ERROR))
_datagram_case("datagram_empty", "9297 2.1: H3", b"", connection_error(raw.H3_DATAGRAM_ERROR))
_datagram_case("datagram_cut_quarter_id", "9297 2.1: H3", from_hex("40"),
               connection_error(raw.H3_DATAGRAM_ERROR))
_datagram_case("datagram_without_context", "9484 6: D4", b"\0",
               IGNORED | stream_error(raw.H3_DATAGRAM_ERROR, raw.H3_MESSAGE_ERROR))
_datagram_case("datagram_cut_context", "9484 6: D4", from_hex("00 40"),
               IGNORED | stream_error(raw.H3_DATAGRAM_ERROR, raw.H3_MESSAGE_ERROR))
_datagram_case("datagram_unknown_context", "9484 6: D3", from_hex("00 05") + bytes(60), IGNORED)
_datagram_case("datagram_unknown_client_context", "9484 6: D1, D3", from_hex("00 02") + bytes(60),
               IGNORED)
_datagram_case("datagram_empty_packet", "9484 6: D4", from_hex("00 00"), IGNORED)
_datagram_case("datagram_non_minimal_ids", "9000 16: varint 1", from_hex("8000 0000 4000") +
               bytes(20), IGNORED)


@TABLE.case("9297 2.1: H6", IGNORED)
async def datagram_before_request(a):
    await a.connect()
    for _ in range(20):
        a.conn.datagram(b"\0\0" + bytes(60))
    a.conn.transmit()
    await a.tunnel()


@TABLE.case("9297 2.1: H5", IGNORED)
async def datagram_after_the_stream_ended(a):
    await a.connect()
    first = await a.tunnel()
    a.conn.write(first, b"", end=True)
    a.conn.transmit()
    await a.conn.until(lambda: a.conn.stream(first).ended, 5)
    a.addresses.clear()
    await a.tunnel()
    for _ in range(20):
        a.conn.datagram(encode_varint(first // 4) + b"\0" + bytes(60))
    a.conn.transmit()


@TABLE.case("9297 2: H1", answered(405, 404, 400))
async def datagram_for_a_get(a):
    """The answer is final and ends the request before there is anything to abort."""
    await a.connect()
    await a.tunnel()
    get = a.send_request(a.headers(method=b"GET", protocol=None, path=b"/", capsule_protocol=None))
    for _ in range(3):
        a.conn.datagram(encode_varint(get // 4) + b"\0" + bytes(60))
        a.conn.transmit()
        await a.conn.answers_pings(5)
    stream = a.conn.stream(get)
    assert stream.finished and stream.reset_code is None, f"the answer was cut: {stream.reset_code}"
    assert await a.echo(), "the tunnel beside it is dead"
    return get


# --- requests
TABLE.group = "requests"

def _request_case(name, rule, expectation, reorder=None, **changes):
    async def attack(a):
        await a.connect()
        headers = a.headers(**changes)
        return a.send_request(reorder(headers) if reorder else headers)

    TABLE.add(name, rule, expectation, attack)


_REFUSED = answered() | stream_error(raw.H3_MESSAGE_ERROR)

_request_case("path_unknown", "9484 4.4: Q9", answered(404, 403, 400), path=b"/other")
_request_case("path_empty", "9114 4.3.1: Q2, W6", MALFORMED, path=b"")
_request_case("path_relative", "9114 4.3.1: Q2, W6", _REFUSED, path=b"ip/*/*/")
_request_case("path_of_50000_bytes", "limit; 9114 4.2.2", _REFUSED | LIMITED,
              path=b"/" + b"a" * 50_000)
_request_case("fields_of_1_mib", "limit; 9114 4.2.2", _REFUSED | LIMITED,
              reorder=lambda headers: headers + [(b"x-%d" % number, b"\x7e" * 50_000)
                                                 for number in range(20)])
_request_case("fields_2000", "limit; 9114 4.2.2", _REFUSED | LIMITED | answered(200),
              reorder=lambda headers: headers + [(b"x-%d" % number, b"1")
                                                 for number in range(2000)])
_request_case("protocol_missing", "9114 4.4: Q2", _REFUSED, protocol=None)
_request_case("protocol_unknown", "9220 3: Q9, C4", answered(501), protocol=b"connect-nothing")
_request_case("protocol_connect_udp", "9220 3: Q9, C4", answered(501), protocol=b"connect-udp")
_request_case("protocol_empty", "9220 3: Q9", _REFUSED, protocol=b"")
_request_case("scheme_missing", "9484 4.4: Q2, C3", MALFORMED, scheme=None)
_request_case("scheme_http", "9484 4.4: Q2, Q7", _REFUSED, scheme=b"http")
_request_case("authority_missing", "9484 4.4: Q2", MALFORMED, authority=None)
_request_case("authority_empty", "9484 4.4: Q2", MALFORMED, authority=b"")
_request_case("authority_of_another_origin", "9110 7.4", answered(421),
              authority=b"other.example:4433")
_request_case("authority_with_another_port", "9110 7.4", answered(200), authority=b"vpn.example")
_request_case("path_missing", "9484 4.4: Q2, C3", MALFORMED, path=None)
_request_case("method_get_with_protocol", "8441 4: C2", _REFUSED, method=b"GET")
_request_case("method_missing", "9114 4.3.1: W6", MALFORMED, method=None)
_request_case("capsule_protocol_missing", "9297 3.4: Q3, H19", answered(200), capsule_protocol=None)
_request_case("capsule_protocol_false", "9297 3.4: H19", answered(200), capsule_protocol=b"?0")
_request_case("capsule_protocol_of_another_type", "9297 3.4: H19", answered(200),
              capsule_protocol=b"1")
_request_case("capsule_protocol_with_parameters", "9297 3.4: H19", answered(200),
              capsule_protocol=b"?1;a=b")
_request_case("capsule_protocol_twice", "9297 3.4: H19", answered(200),
              reorder=lambda headers: [*headers, (b"capsule-protocol", b"?1")])
_request_case("content_length", "9297 3.2: H16, Q6", MALFORMED, content_length=b"5")
_request_case("content_type", "9297 3.2: H16", MALFORMED, content_type=b"text/plain")
_request_case("transfer_encoding", "9114 4.2: W6, H16", MALFORMED, transfer_encoding=b"chunked")
_request_case("connection_field", "9114 4.2: W6", MALFORMED, connection=b"upgrade")
_request_case("upper_case_field", "9114 4.2: W6", MALFORMED,
              reorder=lambda headers: [*headers, (b"X-Upper", b"1")])
# nghttp3 removes such a field instead of refusing the request.
_request_case("field_value_with_newline", "9114 10.3", MALFORMED | answered(200),
              x_field=b"a\r\nb: c")
_request_case("pseudo_after_regular", "9114 4.3: W6", MALFORMED,
              reorder=lambda headers: headers[-1:] + headers[:-1])
_request_case("pseudo_twice", "9114 4.3: W6", MALFORMED,
              reorder=lambda headers: [*headers[:2], (b":path", b"/a"), *headers[2:]])
_request_case("pseudo_unknown", "9114 4.3: W6", MALFORMED,
              reorder=lambda headers: [(b":target", b"x"), *headers])
_request_case("pseudo_of_a_response", "9114 4.3: W6", MALFORMED,
              reorder=lambda headers: [(b":status", b"200"), *headers])

for _name, _scope in [
        ("host_bits", b"192.0.2.1%2F24/*"), ("prefix_33", b"192.0.2.0%2F33/*"),
        ("prefix_129", b"2001%3Adb8%3A%3A%2F129/*"), ("prefix_empty", b"192.0.2.0%2F/*"),
        ("percent_cut", b"192.0.2.1%2/*"), ("percent_not_hex", b"192.0.2.1%zz/*"),
        ("ipproto_256", b"*/256"), ("ipproto_word", b"*/tcp"), ("ipproto_negative", b"*/-1"),
        ("target_nul", b"a%00b/*"), ("zone_id", b"fe80%3A%3A1%25eth0/*")]:
    _request_case(f"scope_{_name}", "9484 4.6: S2, S3, S4, S5", _REFUSED,
                  path=b"/.well-known/masque/ip/" + _scope + b"/")
for _name, _target in [("loopback", b"127.0.0.1"), ("loopback_v6", b"%3A%3A1"),
                       ("link_local", b"169.254.1.1"), ("multicast", b"224.0.0.5"),
                       ("broadcast", b"255.255.255.255"), ("outer", b"192.0.2.1")]:
    _request_case(f"scope_target_{_name}", "9298 7: Z5", answered(),
                  path=b"/.well-known/masque/ip/" + _target + b"/*/")


@TABLE.case("9114 4.1: W6", IGNORED)
async def many_bad_requests_beside_a_tunnel(a):
    await a.connect()
    await a.tunnel()
    for number in range(50):
        a.send_request(a.headers(path=b"/other%d" % number))
    await a.conn.answers_pings(5)


@TABLE.case("9484 11; 9114 10.5", IGNORED | connection_error(raw.H3_EXCESSIVE_LOAD))
async def rapid_reset_of_200_requests(a):
    await a.connect()
    for _ in range(10):
        # Below every usual limit of open streams.
        for _ in range(20):
            a.conn.reset(a.send_request(), raw.H3_REQUEST_CANCELLED)
        await a.conn.answers_pings(5)
    await a.tunnel()


@TABLE.case("9484 7.1: Q8", IGNORED)
async def optimistic_capsules_and_packets(a):
    await a.connect()
    await a.conn.until(a.conn.settings, 5)
    stream_id = a.conn.bidi_stream()
    ask = raw.frame(raw.DATA, from_hex("02 0e 03 04 00000000 20 04 04 00000000 20"))
    a.conn.write(stream_id, a.conn.headers_frame(stream_id, a.headers()) + ask)
    a.conn.datagram(encode_varint(stream_id // 4) + b"\0" + bytes(60))
    a.conn.transmit()
    await _expect_answer_to(a, stream_id, 0, 3)
    a.conn.reset(stream_id, raw.H3_REQUEST_CANCELLED)
    await a.tunnel()


@TABLE.case("9114 4.1: W7", connection_error(raw.H3_FRAME_UNEXPECTED))
async def data_before_headers(a):
    await a.connect()
    stream_id = a.conn.bidi_stream()
    a.conn.write(stream_id, raw.frame(raw.DATA, b"x"))
    a.conn.transmit()
    return stream_id


@TABLE.case("9114 7.2.4: W1", connection_error(raw.H3_FRAME_UNEXPECTED))
async def settings_on_a_request_stream(a):
    await a.connect()
    stream_id = a.conn.bidi_stream()
    a.conn.write(stream_id, raw.settings_frame((0x33, 1)))
    a.conn.transmit()
    return stream_id


@TABLE.case("9114 7.2.6: W8", connection_error(raw.H3_FRAME_UNEXPECTED))
async def goaway_on_a_request_stream(a):
    await a.connect()
    stream_id = await a.tunnel()
    a.conn.write(stream_id, raw.frame(raw.GOAWAY, b"\0"))
    a.conn.transmit()


@TABLE.case("9114 7.1", connection_error(raw.H3_FRAME_ERROR) | ABORTED |
            stream_error(raw.H3_REQUEST_INCOMPLETE))
async def frame_cut_by_fin(a):
    await a.connect()
    stream_id = await a.tunnel()
    a.conn.write(stream_id, from_hex("00 20 0000"), end=True)
    a.conn.transmit()


@TABLE.case("9204 2.2.3", connection_error(raw.QPACK_DECOMPRESSION_FAILED))
async def field_section_is_noise(a):
    await a.connect()
    stream_id = a.conn.bidi_stream()
    a.conn.write(stream_id, raw.frame(raw.HEADERS, b"\xff" * 40))
    a.conn.transmit()
    return stream_id


@TABLE.case("9114 4.1: 7.2.2", stream_error(raw.H3_REQUEST_INCOMPLETE, raw.H3_MESSAGE_ERROR) |
            CLEAN_END | connection_error(raw.H3_FRAME_UNEXPECTED))  # nghttp3 closes
async def request_without_headers(a):
    await a.connect()
    stream_id = a.conn.bidi_stream()
    a.conn.write(stream_id, b"", end=True)
    a.conn.transmit()
    return stream_id


# --- settings and control streams
TABLE.group = "http3"

def _control_case(name, rule, expectation, control):
    async def attack(a):
        await a.connect(settings=control)
        await a.conn.answers_pings(3)
        await a.tunnel()

    TABLE.add(name, rule, expectation, attack)


_H3 = raw.settings_frame((raw.H3_DATAGRAM, 1))
_control_case("settings_h3_datagram_2", "9297 2.1.1: H8", connection_error(raw.H3_SETTINGS_ERROR),
              raw.settings_frame((raw.H3_DATAGRAM, 2)))
_control_case("settings_enable_connect_2", "8441 3: C1", connection_error(raw.H3_SETTINGS_ERROR) |
              IGNORED, raw.settings_frame((raw.H3_DATAGRAM, 1), (raw.ENABLE_CONNECT_PROTOCOL, 2)))
_control_case("settings_twice_the_same_id", "9114 7.2.4: W2",
              connection_error(raw.H3_SETTINGS_ERROR) | IGNORED,
              raw.settings_frame((raw.H3_DATAGRAM, 1), (raw.H3_DATAGRAM, 1)))
_control_case("settings_of_http2", "9114 7.2.4.1: 11.2.2", connection_error(raw.H3_SETTINGS_ERROR),
              raw.settings_frame((raw.H3_DATAGRAM, 1), (0x02, 0)))
_control_case("settings_cut", "9114 7.1", connection_error(raw.H3_FRAME_ERROR,
                                                           raw.H3_SETTINGS_ERROR),
              raw.frame(raw.SETTINGS, from_hex("33 40")))
_control_case("settings_frame_twice", "9114 7.2.4: W1", connection_error(raw.H3_FRAME_UNEXPECTED),
              _H3 + _H3)
_control_case("settings_missing", "9114 6.2.1: W1", connection_error(raw.H3_MISSING_SETTINGS),
              raw.frame(raw.GOAWAY, b"\0"))
_control_case("settings_unknown_many", "9114 7.2.4: W2", IGNORED, raw.settings_frame(
    (raw.H3_DATAGRAM, 1), *((0x1F * number + 0x21, number) for number in range(200))))
_control_case("settings_old_datagram_ids", "9297 A: trap 12", IGNORED, raw.settings_frame(
    (raw.H3_DATAGRAM, 1), (0x276, 1), (0xFFD277, 1)))
_control_case("control_http2_frame", "9114 7.2.8", connection_error(raw.H3_FRAME_UNEXPECTED),
              _H3 + raw.frame(0x02, bytes(5)))
_control_case("control_data_frame", "9114 7.2.1", connection_error(raw.H3_FRAME_UNEXPECTED),
              _H3 + raw.frame(raw.DATA, b"x"))
_control_case("control_unknown_frames", "9114 9: W5", IGNORED,
              _H3 + raw.frame(0x21, bytes(10_000)) + raw.frame(0x40))
_control_case("goaway_from_client", "9114 5.2: W8", IGNORED, _H3 + raw.frame(raw.GOAWAY, b"\x04") +
              raw.frame(raw.GOAWAY, b"\0"))
_control_case("goaway_id_increases", "9114 5.2: W8", connection_error(raw.H3_ID_ERROR),
              _H3 + raw.frame(raw.GOAWAY, b"\0") + raw.frame(raw.GOAWAY, b"\x04"))
# nghttp3 1.15 calls it H3_FRAME_ERROR.
_control_case("max_push_id_decreases", "9114 7.2.7",
              connection_error(raw.H3_ID_ERROR, raw.H3_FRAME_ERROR) | IGNORED,
              _H3 + raw.frame(raw.MAX_PUSH_ID, b"\x08") + raw.frame(raw.MAX_PUSH_ID, b"\x04"))


@TABLE.case("9297 2.1: H9", answered() | IGNORED)
async def settings_without_h3_datagram(a):
    await a.connect(settings=raw.settings_frame((0x21, 1)))
    await a.conn.until(a.conn.settings, 5)
    stream_id = a.send_request(more=raw.frame(raw.DATA, from_hex("02 07 01 04 00000000 20")))
    stream = a.conn.stream(stream_id)
    await a.conn.until(lambda: stream.status or stream.ended, 5)
    if stream.status == 200:
        # Then packets may only come in capsules.
        a.tunnel_stream = stream_id
        await a.conn.until(lambda: a._read_addresses(stream), 5)
        version = min(a.addresses)
        packet, sequence = raw.echo_request(a.addresses[version], a.gateway_addresses[version])
        a.capsules(encode_capsule(CapsuleType.DATAGRAM, b"\0" + packet))
        await a.conn.until(lambda: any(raw.is_reply(one, sequence) for one in a.packets()), 3)
        assert not a.conn.datagrams, "DATAGRAM frames without the peer's SETTINGS_H3_DATAGRAM"
    return stream_id


@TABLE.case("9297 2.1.1; 9221 3: G2", answered() | connection_error(
    raw.H3_SETTINGS_ERROR, raw.H3_DATAGRAM_ERROR) | stream_error(raw.H3_MESSAGE_ERROR))
async def no_datagram_transport_parameter(a):
    await a.connect(datagrams=False)
    await a.conn.until(a.conn.settings, 5)
    stream_id = a.send_request()
    stream = a.conn.stream(stream_id)
    await a.conn.until(lambda: stream.status or stream.ended, 5)
    if stream.status == 200:
        # Served in capsules only: then packets must flow there.
        a.tunnel_stream = stream_id
        a.capsules(from_hex("02 07 01 04 00000000 20"))
        assert await a.conn.until(lambda: a._read_addresses(stream), 5)
        packet, sequence = raw.echo_request(a.addresses[4], a.gateway_addresses[4])
        a.capsules(encode_capsule(CapsuleType.DATAGRAM, b"\0" + packet))
        assert await a.conn.until(
            lambda: any(raw.is_reply(one, sequence) for one in a.packets()), 3), "no reply"
        stream.headers.append([(b":status", b"400")])  # as good as a refusal
    return stream_id


@TABLE.case("9114 6.2.1: W1", connection_error(raw.H3_STREAM_CREATION_ERROR))
async def second_control_stream(a):
    await a.connect()
    a.conn.uni_stream(raw.CONTROL, _H3)
    a.conn.transmit()
    await a.conn.answers_pings(3)


@TABLE.case("9204 4.2", connection_error(raw.H3_STREAM_CREATION_ERROR))
async def second_qpack_encoder_stream(a):
    await a.connect()
    a.conn.uni_stream(raw.QPACK_ENCODER)
    a.conn.uni_stream(raw.QPACK_ENCODER)
    a.conn.transmit()
    await a.conn.answers_pings(3)


@TABLE.case("9114 6.2.1: W1", connection_error(raw.H3_CLOSED_CRITICAL_STREAM))
async def control_stream_ends(a):
    await a.connect()
    await a.tunnel()
    a.conn.write(a.control_stream, b"", end=True)
    a.conn.transmit()


@TABLE.case("9114 6.2.1: W1", connection_error(raw.H3_CLOSED_CRITICAL_STREAM))
async def control_stream_is_reset(a):
    await a.connect()
    await a.tunnel()
    a.conn.reset(a.control_stream, raw.H3_NO_ERROR)
    a.conn.transmit()


@TABLE.case("9114 6.2.2", connection_error(raw.H3_STREAM_CREATION_ERROR))
async def push_stream_from_client(a):
    await a.connect()
    await a.tunnel()
    a.conn.uni_stream(raw.PUSH, b"\0")
    a.conn.transmit()


@TABLE.case("9114 6.2.3: W5", IGNORED)
async def unknown_unidirectional_streams(a):
    await a.connect()
    a.conn.uni_stream(0x21, bytes(3000))
    a.conn.uni_stream(0x40 + 0x1F * 3, bytes(10), end=True)
    a.conn.transmit()
    await a.tunnel()


@TABLE.case("9114 6.2: W5", IGNORED)
async def unidirectional_stream_without_type(a):
    await a.connect()
    stream_id = a.conn._quic.get_next_available_stream_id(is_unidirectional=True)
    a.conn.write(stream_id, b"", end=True)
    a.conn.transmit()
    await a.tunnel()


# --- who may come in
TABLE.group = "requests"

@TABLE.case("9484 11: Z1", answered(401, 403, 407) | connection_error(
    *range(0x100 + 40, 0x100 + 121)))
async def no_credentials(a):
    a.options.token, token = None, a.options.token
    try:
        await a.connect(certificate=False)
        await a.conn.answers_pings(2)
        return a.send_request() if not a.conn.closed else None
    finally:
        a.options.token = token


TABLE.cases.update(PACKETS.cases)
