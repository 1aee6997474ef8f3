# SPDX-License-Identifier: Apache-2.0
"""What attack_client.py does to a client: bad settings, answers and capsules, addresses and routes
that a client must not take, bad datagrams and packets. Each function is a case of that name."""

import ipaddress

import raw_http3 as raw
from attack import IGNORED, Expectation, Outcome, Table
from attack_client import HONEST_ANSWER, HONEST_SETTINGS
from bad_capsules import (BAD_CAPSULES, GOOD_CAPSULES, from_hex, many_assignments, many_requests,
                          many_routes)
from connect_ip import (AddressRange, CapsuleType, decode_prefixes, encode_capsule, encode_ranges,
                        encode_varint)
from raw_http3 import every_cut, every_other_version, udp_packet

TABLE = Table()
MANY = 10_000
UNKNOWN_CAPSULE = 0x17 + 0x29 * 1000


def gives_up(*codes: int) -> Expectation:
    """The request ends with one of the codes, or the connection does: a client needs it for nothing
    else, and may close it with the code or with H3_NO_ERROR."""
    def holds(outcome: Outcome) -> bool:
        if outcome.close_code is not None:
            return outcome.close_code in (*codes, raw.H3_NO_ERROR)
        return outcome.stream in ("reset", "stop") and outcome.stream_code in codes

    return Expectation("gives up: " + "/".join(map(hex, codes)), holds)


def closes(*codes: int) -> Expectation:
    return Expectation("closes: " + "/".join(map(hex, codes)),
                       lambda outcome: outcome.close_code in codes)


ABORTS = gives_up(raw.H3_MESSAGE_ERROR, raw.H3_REQUEST_CANCELLED, raw.H3_GENERAL_PROTOCOL_ERROR,
                  raw.H3_EXCESSIVE_LOAD)
ENDS = Expectation("no tunnel any more", lambda outcome: (
    not outcome.tunnel_works and (outcome.stream != "open" or outcome.close_code is not None)))
STAYS = Expectation("keeps the session", lambda outcome: (
    outcome.stream == "open" and outcome.connection_works))
NO_REQUEST = Expectation("sends no request", lambda outcome: outcome.notes.get("request") is False)

# --- settings and control streams
TABLE.group = "http3"


def _settings_case(name, rule, expectation, control):
    async def attack(a):
        a.settings(control)
        stream_id = await a.request(2)
        a.notes["request"] = stream_id is not None
        if stream_id is not None:
            a.answer(HONEST_ANSWER, raw.frame(raw.DATA, a.honest_capsules()))

    TABLE.add(name, rule, expectation, attack)


_BOTH = ((raw.ENABLE_CONNECT_PROTOCOL, 1), (raw.H3_DATAGRAM, 1))
_settings_case("settings_without_extended_connect", "8441 3: Q1, C2", NO_REQUEST,
               raw.settings_frame((raw.H3_DATAGRAM, 1)))
_settings_case("settings_extended_connect_0", "8441 3: Q1, C2", NO_REQUEST,
               raw.settings_frame((raw.ENABLE_CONNECT_PROTOCOL, 0), (raw.H3_DATAGRAM, 1)))
_settings_case("settings_extended_connect_2", "8441 3: C1",
               NO_REQUEST | closes(raw.H3_SETTINGS_ERROR),
               raw.settings_frame((raw.ENABLE_CONNECT_PROTOCOL, 2), (raw.H3_DATAGRAM, 1)))
_settings_case("settings_h3_datagram_2", "9297 2.1.1: H8", closes(raw.H3_SETTINGS_ERROR),
               raw.settings_frame((raw.ENABLE_CONNECT_PROTOCOL, 1), (raw.H3_DATAGRAM, 2)))
_settings_case("settings_of_http2", "9114 7.2.4.1", closes(raw.H3_SETTINGS_ERROR),
               raw.settings_frame(*_BOTH, (0x04, 0)))
_settings_case("settings_twice", "9114 7.2.4: W1", closes(raw.H3_FRAME_UNEXPECTED),
               raw.settings_frame(*_BOTH) * 2)
_settings_case("settings_missing", "9114 6.2.1: W1", closes(raw.H3_MISSING_SETTINGS),
               raw.frame(raw.GOAWAY, b"\0"))
_settings_case("settings_unknown_many", "9114 7.2.4: W2", IGNORED, raw.settings_frame(
    *_BOTH, *((0x1F * number + 0x21, number) for number in range(200))))
_settings_case("max_push_id_from_server", "9114 7.2.7", closes(raw.H3_FRAME_UNEXPECTED),
               HONEST_SETTINGS + raw.frame(raw.MAX_PUSH_ID, b"\x08"))
_settings_case("goaway_of_no_request_stream", "9114 5.2: W8", closes(raw.H3_ID_ERROR),
               HONEST_SETTINGS + raw.frame(raw.GOAWAY, b"\x01"))


@TABLE.case("9297 2.1.1: H9", NO_REQUEST | ENDS | Expectation(
    "no DATAGRAM frame", lambda outcome: outcome.notes.get("datagrams") == 0))
async def settings_without_h3_datagram(a):
    a.settings(raw.settings_frame((raw.ENABLE_CONNECT_PROTOCOL, 1)))
    a.notes["request"] = await a.request(2) is not None
    if a.notes["request"]:
        a.answer(HONEST_ANSWER, raw.frame(raw.DATA, a.honest_capsules()))
        await a.echo(capsule=True)
        a.notes["datagrams"] = len(a.conn.datagrams)


@TABLE.case("9114 6.2.1: W1", closes(raw.H3_STREAM_CREATION_ERROR))
async def second_control_stream(a):
    await a.tunnel()
    a.settings()


@TABLE.case("9114 6.2.1: W1", closes(raw.H3_CLOSED_CRITICAL_STREAM))
async def control_stream_ends(a):
    await a.tunnel()
    a.control(b"", end=True)


# A client that allows no such stream in its transport parameters never sees it: IGNORED.
@TABLE.case("9114 6.1: W4", closes(raw.H3_STREAM_CREATION_ERROR) | IGNORED)
async def server_opens_a_request_stream(a):
    await a.tunnel()
    a.conn.write(1, raw.frame(raw.DATA, b"x"))
    a.conn.transmit()


@TABLE.case("9114 4.6", closes(raw.H3_ID_ERROR, raw.H3_STREAM_CREATION_ERROR))
async def push_stream_that_nobody_allowed(a):
    await a.tunnel()
    a.conn.uni_stream(raw.PUSH, b"\0")
    a.conn.transmit()


@TABLE.case("9114 6.2.3: W5", IGNORED)
async def unknown_unidirectional_stream(a):
    await a.tunnel()
    a.conn.uni_stream(0x21, bytes(3000))
    a.conn.transmit()


@TABLE.case("9114 5.2: W8", IGNORED)
async def goaway_leaves_the_tunnel(a):
    await a.tunnel()
    a.control(raw.frame(raw.GOAWAY, encode_varint((1 << 62) - 4)))
    a.control(raw.frame(raw.GOAWAY, b"\x04"))


@TABLE.case("9114 5.2: W8", closes(raw.H3_ID_ERROR))
async def goaway_id_increases(a):
    await a.tunnel()
    a.control(raw.frame(raw.GOAWAY, b"\x04"))
    a.control(raw.frame(raw.GOAWAY, b"\x08"))


# --- answers to the request
TABLE.group = "answers"


def _answer_case(name, rule, expectation, headers, more=b"", end=False):
    async def attack(a):
        a.settings()
        assert await a.request() is not None
        data = raw.frame(raw.DATA, a.honest_capsules()) if more == b"" and not end else more
        a.answer(headers, data, end)

    TABLE.add(name, rule, expectation, attack)


_OK = list(HONEST_ANSWER)
for _status in (204, 205, 206, 301, 400, 401, 403, 404, 407, 421, 425, 429, 500, 501, 503):
    _answer_case(f"status_{_status}", "9484 4.5: Q4, Q5", ENDS, [(b":status", b"%d" % _status)])
_answer_case("status_503_and_end", "9484 4.5: Q5", ENDS,
             [(b":status", b"503"), (b"retry-after", b"99999999999999999999")], end=True)
_answer_case("status_299", "9484 4.5: Q4", IGNORED, [(b":status", b"299")])
_answer_case("status_101", "9114 4.5", ENDS, [(b":status", b"101")])
_answer_case("status_missing", "9114 4.3.2: W6", ENDS, [(b"server", b"x")])
_answer_case("status_of_4_digits", "9110 15", ENDS, [(b":status", b"2000")])
_answer_case("status_not_a_number", "9110 15", ENDS, [(b":status", b"2x0")])
_answer_case("status_twice", "9114 4.3: W6", ENDS, [(b":status", b"200"), (b":status", b"200")])
# RFC 9110 9.3.6 has a client ignore it in an answer to CONNECT (nghttp3 removes it); 9297 refuses it.
_answer_case("content_length", "9297 3.2: H16", ENDS | IGNORED, [*_OK, (b"content-length", b"5")])
_answer_case("content_type", "9297 3.2: H16", ENDS, [*_OK, (b"content-type", b"text/plain")])
_answer_case("transfer_encoding", "9114 4.2: H16", ENDS, [*_OK, (b"transfer-encoding", b"chunked")])
_answer_case("upper_case_field", "9114 4.2: W6", ENDS, [*_OK, (b"X-Upper", b"1")])
_answer_case("pseudo_of_a_request", "9114 4.3: W6", ENDS, [(b":path", b"/"), *_OK])
_answer_case("capsule_protocol_missing", "9297 3.4: Q3, H19", IGNORED, [(b":status", b"200")])
_answer_case("capsule_protocol_false", "9297 3.4: H19", IGNORED,
             [(b":status", b"200"), (b"capsule-protocol", b"?0")])
_answer_case("fields_of_1_mib", "limit; 9114 4.2.2", ENDS | IGNORED,
             _OK + [(b"x-%d" % number, b"\x7e" * 50_000) for number in range(20)])
_answer_case("end_at_once", "9484 4.1: L1, L3", ENDS, _OK, end=True)


@TABLE.case("9110 15.2", IGNORED)
async def interim_answers_first(a):
    a.settings()
    assert await a.request() is not None
    for status in (b"100", b"103", b"103"):
        a.answer([(b":status", status)])
    a.answer(_OK, raw.frame(raw.DATA, a.honest_capsules()))


@TABLE.case("9114 4.1.1: W10", ENDS)
async def rejected_by_reset(a):
    a.settings()
    stream_id = await a.request()
    a.conn.reset(stream_id, raw.H3_REQUEST_REJECTED)
    a.conn.stop(stream_id, raw.H3_REQUEST_REJECTED)
    a.conn.transmit()


@TABLE.case("9114 4.1: W7", closes(raw.H3_FRAME_UNEXPECTED))
async def data_before_headers(a):
    a.settings()
    stream_id = await a.request()
    a.conn.write(stream_id, raw.frame(raw.DATA, a.honest_capsules()))
    a.conn.transmit()


@TABLE.case("9114 4.4: W7", closes(raw.H3_FRAME_UNEXPECTED) | ABORTS)
async def trailers_on_the_tunnel(a):
    await a.tunnel()
    a.answer([(b"x-trailer", b"1")])


@TABLE.case("9114 7.2.5", closes(raw.H3_ID_ERROR, raw.H3_FRAME_UNEXPECTED))
async def push_promise(a):
    stream_id = await a.tunnel()
    a.conn.write(stream_id, raw.frame(raw.PUSH_PROMISE, b"\0\0\0\xd1"))
    a.conn.transmit()


@TABLE.case("9204 2.2.3", closes(raw.QPACK_DECOMPRESSION_FAILED))
async def field_section_is_noise(a):
    a.settings()
    stream_id = await a.request()
    a.conn.write(stream_id, raw.frame(raw.HEADERS, b"\xff" * 40))
    a.conn.transmit()


@TABLE.case("9484 4.1: L3", ENDS)
async def reset_of_the_tunnel(a):
    stream_id = await a.tunnel()
    a.conn.reset(stream_id, raw.H3_REQUEST_CANCELLED)
    a.conn.transmit()
    await a.conn.until(lambda: a.conn.stream(stream_id).ended, 3)


@TABLE.case("9484 4.1: L1, L3", ENDS)
async def end_of_the_tunnel(a):
    stream_id = await a.tunnel()
    a.conn.write(stream_id, b"", end=True)
    a.conn.transmit()
    await a.conn.until(lambda: a.conn.stream(stream_id).ended, 3)


# --- capsules
TABLE.group = "capsules"


def _capsule_case(name, rule, expectation, make, end=False):
    """make: bytes, or a function of the attack that gives them."""
    async def attack(a):
        await a.tunnel()
        a.capsules(make(a) if callable(make) else make, end)

    TABLE.add(name, rule, expectation, attack)


for _name, _rule, _hex, _ in BAD_CAPSULES:
    _capsule_case(_name, _rule, ABORTS | IGNORED if _name == "routes_proto_0_overlap" else ABORTS,
                  from_hex(_hex))
for _name, _rule, _hex in GOOD_CAPSULES:
    _capsule_case(_name, _rule, IGNORED, from_hex(_hex))
_capsule_case("capsule_cut_by_end", "9297 3.3: H18, X", ENDS, from_hex("01 0e 01 04 0000"), True)
_capsule_case("capsule_unknown_of_1_mib", "9297 3.2: H13, H17", IGNORED,
              encode_capsule(UNKNOWN_CAPSULE, bytes(1 << 20)))
_capsule_case("capsule_datagram_of_1_tib", "9297 3.5: H22", IGNORED | ABORTS,
              b"\0" + encode_varint(1 << 40) + bytes(1000))
_capsule_case("many_assignments", "limit, 9484 4.7.1", IGNORED | ABORTS | ENDS,
              many_assignments(MANY))
_capsule_case("many_routes", "limit, 9484 4.7.3", IGNORED | ABORTS, many_routes(MANY))
_capsule_case("request_of_64_entries", "limit, 9484 4.7.2: R4", IGNORED | ABORTS, many_requests(64))
_capsule_case("two_requests_of_64_entries", "limit, 9484 4.7.2: R4", IGNORED | ABORTS,
              many_requests(64) + many_requests(64, 65))
# As many ranges as are taken, the two honest ones among them.
_capsule_case("routes_of_136_kib", "9484 4.7.3: V2", IGNORED,
              lambda a: a.routes([f"2001:db8:a::{2 * number:x}" for number in range(4094)]))
_capsule_case("assign_with_a_denial", "9484 4.7.2: R5", IGNORED,
              lambda a: a.assign(["0.0.0.0/32", "::/128"]))
_capsule_case("assign_everything", "9484 4.7.1", IGNORED | ABORTS,
              lambda a: a.assign(["0.0.0.0/0", "::/0"]))
_capsule_case("assign_loopback", "9484 4.7.1", IGNORED | ABORTS,
              lambda a: a.assign(["127.0.0.1/32", "::1/128"]))
_capsule_case("assign_multicast", "9484 4.7.1", IGNORED | ABORTS,
              lambda a: a.assign(["224.0.0.1/32", "ff02::1/128"]))
_capsule_case("assign_the_outer_address", "9484 11: Z6", IGNORED | ABORTS,
              lambda a: a.assign(["192.0.2.2/32", "192.0.2.1/32"]))
_capsule_case("assign_twice_the_same", "9484 4.7.1: A1", IGNORED,
              lambda a: a.assign([str(a.client[4]), str(a.client[4])]))
# The routes of the honest network are replaced, so that no echo comes back where it is refused.
_capsule_case("route_everything", "9484 11: Z6", STAYS, lambda a: encode_capsule(
    CapsuleType.ROUTE_ADVERTISEMENT, from_hex("04 00000000 ffffffff 00 06" + "00" * 16 + "ff" * 16 +
                                              "00")))
_capsule_case("route_everything_in_pieces", "9484 11: Z6", IGNORED, lambda a: encode_ranges([
    AddressRange(ipaddress.ip_address(start), ipaddress.ip_address(end)) for start, end in (
        ("0.0.0.0", "10.76.255.255"), ("10.77.0.0", "10.77.0.255"),
        ("10.77.1.0", "255.255.255.255"))]))
_capsule_case("route_the_outer_network", "9484 11: Z6", IGNORED,
              lambda a: a.routes(["192.0.2.0/24"]))
_capsule_case("route_the_outer_address", "9484 11: Z6", IGNORED,
              lambda a: a.routes(["192.0.2.1/32"]))
_capsule_case("route_loopback", "9484 4.7.3", IGNORED | ABORTS,
              lambda a: a.routes(["127.0.0.0/8", "::1/128"]))
_capsule_case("route_multicast", "9484 4.7.3", IGNORED | ABORTS,
              lambda a: a.routes(["224.0.0.0/4", "ff00::/8"]))


@TABLE.case("9484 4.7.1: A1", IGNORED)
async def assign_and_withdraw_100_times(a):
    await a.tunnel()
    for number in range(100):
        a.capsules(from_hex("01 00") + a.assign([f"10.77.0.{100 + number % 50}/32"]))
        if number % 10 == 9:
            await a.conn.answers_pings(3)
    a.capsules(a.assign([]))


@TABLE.case("9297 3.1: H12", IGNORED)
async def assign_in_1_byte_data_frames(a):
    await a.tunnel()
    a.capsules(from_hex("01 00") + a.assign(["10.77.0.99/32"]) + a.routes([]), frame_bytes=1)


@TABLE.case("9484 4.7.2: R4, R5", IGNORED)
async def request_of_addresses_from_the_client(a):
    """A client that gives no addresses must still answer, with denials."""
    stream_id = await a.tunnel()
    a.capsules(from_hex("02 1a 07 04 00000000 20 09 06 00000000000000000000000000000000 80"))
    stream = a.conn.stream(stream_id)

    def answered():
        return {(entry.request_id, entry.rejected) for kind, value in stream.capsules
                if kind == CapsuleType.ADDRESS_ASSIGN for entry in decode_prefixes(kind, value)}

    assert await a.conn.until(lambda: {(7, True), (9, True)} <= answered(), 5), answered()


@TABLE.case("9297 3.5: H20", IGNORED)
async def packet_in_a_datagram_capsule(a):
    await a.tunnel()
    assert await a.echo(capsule=True), "a packet in a DATAGRAM capsule is not delivered"


# --- datagrams and packets
TABLE.group = "packets"


def _datagram_case(name, rule, expectation, data):
    async def attack(a):
        await a.tunnel()
        a.conn.datagram(data)
        a.conn.transmit()

    TABLE.add(name, rule, expectation, attack)


_datagram_case("datagram_unknown_stream", "9297 2.1: H6", IGNORED, from_hex("0b 00") + bytes(40))
_datagram_case("datagram_quarter_id_too_large", "9297 2.1: H3", closes(raw.H3_DATAGRAM_ERROR),
               from_hex("d000000000000000 00"))
_datagram_case("datagram_empty", "9297 2.1: H3", closes(raw.H3_DATAGRAM_ERROR), b"")
_datagram_case("datagram_cut_quarter_id", "9297 2.1: H3", closes(raw.H3_DATAGRAM_ERROR), b"\x40")
_datagram_case("datagram_without_context", "9484 6: D4",
               IGNORED | gives_up(raw.H3_DATAGRAM_ERROR, raw.H3_MESSAGE_ERROR), b"\0")
_datagram_case("datagram_unknown_context", "9484 6: D3", IGNORED, from_hex("00 05") + bytes(60))
_datagram_case("datagram_empty_packet", "9484 6: D4", IGNORED, from_hex("00 00"))


@TABLE.case("9297 2.1: H6", IGNORED)
async def datagram_before_the_answer(a):
    a.settings()
    for _ in range(20):
        a.conn.datagram(b"\0\0" + bytes(60))
    await a.accept()


def _packet_case(name, rule, make, unseen=True):
    """make(proxy, client, mark) gives packets. unseen: none of them gets beyond the client, and one
    behind them does (marks.py)."""
    async def attack(a):
        await a.tunnel()
        for version in (4, 6):
            for packet in make(a.proxy[version], a.client[version], a.mark):
                a.packet(packet)
        a.packet(udp_packet(a.proxy[4], a.client[4], mark=a.control_mark))
        a.unseen = unseen

    TABLE.add(f"packet_{name}", rule, IGNORED, attack)


def _to(v4, v6):
    return lambda proxy, client, mark: [
        udp_packet(proxy, ipaddress.ip_address(v4 if client.version == 4 else v6), mark=mark)]


_packet_case("to_another_address", "9484 7.2: K2",
             lambda proxy, client, mark: [udp_packet(proxy, client + 5, mark=mark)])
_packet_case("to_the_outer_address", "9484 7.2: K2", _to("192.0.2.2", "2001:db8:ff::2"))
_packet_case("to_loopback", "9484 7.2: K2", _to("127.0.0.1", "::1"))
_packet_case("from_loopback", "9484 11: Z2", lambda proxy, client, mark: [
    udp_packet(ipaddress.ip_address("127.0.0.1" if client.version == 4 else "::1"), client,
               mark=mark)])
_packet_case("from_itself", "9484 11: Z2",
             lambda proxy, client, mark: [udp_packet(client, client, mark=mark)])
_packet_case("to_multicast", "9484 7.2: K6", _to("224.0.0.251", "ff02::fb"))
_packet_case("every_cut", "9484 7.2: K2", lambda proxy, client, mark: every_cut(
    udp_packet(proxy, client, size=8, mark=mark)))
_packet_case("every_version", "9484 7.2: K2", lambda proxy, client, mark: every_other_version(
    udp_packet(proxy, client, mark=mark)))
_packet_case("length_wrong", "9484 7.2: K2", lambda proxy, client, mark: [
    udp_packet(proxy, client, total_length=length, mark=mark)
    for length in (0, 7, 19, 21, 60_000)])
# A host takes what has arrived.
_packet_case("hop_limit_0", "9484 7.2: K4",
             lambda proxy, client, mark: [udp_packet(proxy, client, ttl=0, mark=mark)], unseen=False)
