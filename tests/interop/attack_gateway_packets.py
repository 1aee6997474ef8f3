# SPDX-License-Identifier: Apache-2.0
"""Bad inner packets, for attack_gateway_cases.py: dropped, perhaps with an ICMP error, and nothing
worse. What is dropped carries the case's mark, and whoever captures the gateway's TUN must not see
it there (marks.py); a packet behind it with the control's mark does arrive."""

import ipaddress
import struct

import raw_http3 as raw
from attack import IGNORED, Table
from connect_ip import encode_varint
from raw_http3 import every_cut, every_other_version, udp_packet

TABLE = Table()
TABLE.group = "packets"


def _packet_case(name, rule, make, families=(4, 6), unseen=True):
    """make(source, destination, mark) gives packets; destination is the gateway's inner address."""
    for version in families:
        async def attack(a, version=version):
            await a.connect()
            await a.tunnel()
            for packet in make(a.addresses[version], a.gateway_addresses[version], a.mark):
                a.packet(packet)
            await _finish(a, unseen)
            a.notes["icmp"] = a.icmp_errors()

        TABLE.add(f"packet_{name}_v{version}", rule, IGNORED, attack)


async def _finish(a, unseen=True):
    """The positive control, behind all packets of the case."""
    a.packet(udp_packet(a.addresses[4], a.gateway_addresses[4], mark=a.control_mark))
    assert await a.echo(), "the tunnel is dead"
    a.unseen = unseen


def _other(address):
    return ipaddress.ip_address("203.0.113.77" if address.version == 4 else "2001:db8:bad::77")


def _from(v4, v6):
    """A packet to the gateway from this address."""
    return lambda source, to, mark: [
        udp_packet(ipaddress.ip_address(v4 if source.version == 4 else v6), to, mark=mark)]


def _to(v4, v6=None):
    """A packet of the client's own to this address."""
    return lambda source, to, mark: [
        udp_packet(source, ipaddress.ip_address(v4 if source.version == 4 else v6), mark=mark)]


def _fragment(packet, field):
    """An IPv4 packet as a fragment, with its checksum right."""
    header = packet[:6] + struct.pack("!H", field) + packet[8:10] + b"\0\0" + packet[12:20]
    return header[:10] + struct.pack("!H", raw.checksum(header)) + header[12:] + packet[20:]


_packet_case("from_a_spoofed_source", "9484 11: Z2; C1", lambda source, to, mark: [
    raw.echo_request(_other(source), to, mark=mark)[0]])
_packet_case("from_the_gateway_itself", "9484 11: Z2", lambda source, to, mark: [
    raw.echo_request(to, to, mark=mark)[0]])
_packet_case("from_loopback", "9484 11: Z2", _from("127.0.0.1", "::1"))
_packet_case("from_nowhere", "9484 11: Z2", _from("0.0.0.0", "::"))
_packet_case("from_multicast", "9484 11: Z2", _from("224.0.0.1", "ff02::1"))
_packet_case("to_loopback", "9484 7.2: Z5", _to("127.0.0.1", "::1"))
_packet_case("to_no_route", "9484 7.2.1: E1", _to("203.0.113.77", "2001:db8:bad::77"))
_packet_case("to_link_local", "9484 7.2: K6", _to("169.254.9.9", "fe80::9"))
_packet_case("to_multicast", "9484 7.2: K6", _to("224.0.0.251", "ff02::fb"))
_packet_case("to_broadcast", "9484 7.2: K6", _to("255.255.255.255"), (4,))
# The gateway's kernel is the one that ends it.
_packet_case("hop_limit_0", "9484 7.2: K4", lambda source, to, mark: [
    udp_packet(source, to, ttl=0, mark=mark)], unseen=False)
_packet_case("hop_limit_1_to_no_route", "9484 7.2: K4", lambda source, to, mark: [
    udp_packet(source, _other(source), ttl=1, mark=mark)])
_packet_case("length_too_large", "9484 7.2: K2", lambda source, to, mark: [
    udp_packet(source, to, total_length=60_000, mark=mark)])
_packet_case("length_too_small", "9484 7.2: K2", lambda source, to, mark: [
    udp_packet(source, to, total_length=7, mark=mark)])
_packet_case("every_cut", "9484 7.2: K2", lambda source, to, mark: every_cut(
    udp_packet(source, to, size=8, mark=mark)))
_packet_case("every_version", "9484 7.2: K2", lambda source, to, mark: every_other_version(
    udp_packet(source, to, mark=mark)))
_packet_case("every_header_length", "9484 7.2: K2", lambda source, to, mark: [
    bytes([0x40 | words]) + udp_packet(source, to, mark=mark)[1:] for words in range(16)
    if words != 5], (4,))
_packet_case("bad_checksum", "9484 7.2: K2", lambda source, to, mark: [
    (packet := udp_packet(source, to, mark=mark))[:10] + b"\xde\xad" + packet[12:]], (4,))
# Putting fragments together is the kernel's.
_packet_case("fragments_overlap", "9484 7.2", lambda source, to, mark: [
    _fragment(udp_packet(source, to, mark=mark), field)
    for field in (0x2000, 0x2001, 0x3FFF, 0x1FFF)], (4,), unseen=False)
_packet_case("header_chain_of_hop_by_hop", "9484 4.8: S10, Z4", lambda source, to, mark: [
    raw.ip_packet(source, to, 0, (b"\0\0" + bytes(6)) * 100 + b"\x3b\0" + bytes(6) + mark)], (6,))
_packet_case("header_chain_runs_out", "9484 4.8: S10, Z4", lambda source, to, mark: [
    raw.ip_packet(source, to, kind, b"\x3c\xff" + bytes(6) + mark)
    for kind in (0, 43, 44, 51, 60)], (6,))
_packet_case("routing_header_0", "9484 11: Z4", lambda source, to, mark: [
    raw.ip_packet(source, to, 43, b"\x3b\x02\0\x01" + bytes(4) + _other(source).packed + mark)],
             (6,))


@TABLE.case("9484 11: Z2; C1", IGNORED)
async def spoofed_echo_is_not_answered(a):
    """Not to the one whose address it bears either, who would get an answer to an echo of his."""
    victim = a.of_another_client()
    try:
        await victim.connect()
        await victim.tunnel()
        await a.connect()
        await a.tunnel()
        sequences = []
        for version in (4, 6):
            assert victim.addresses[version] != a.addresses[version], "one session, not two"
            packet, sequence = raw.echo_request(victim.addresses[version],
                                                a.gateway_addresses[version], mark=a.mark)
            a.packet(packet)
            sequences.append(sequence)
        await _finish(a)
        assert await victim.echo(), "the victim's own echo is not answered"
        for one in (a, victim):
            replies = [packet for packet in one.packets()
                       if any(raw.is_reply(packet, sequence) for sequence in sequences)]
            assert not replies, f"a reply to a spoofed echo: {replies}"
    finally:
        victim.close()


@TABLE.case("9484 4.6: S9", IGNORED)
async def tcp_to_the_gateway_in_a_scope_of_udp(a):
    """Its own inner address is no part of the scope; without one it answers."""
    for path, answered_by_tcp in ((a.uri.path, True),
                                  ("/.well-known/masque/ip/10.9.0.77/17/", False)):
        await a.connect()
        a.uri = a.uri._replace(path=path)
        await a.tunnel()
        a.packet(raw.tcp_syn(a.addresses[4], a.gateway_addresses[4]))
        assert await a.echo(), "the tunnel is dead"
        by_tcp = any(packet[0] >> 4 == 4 and packet[9] == 6 for packet in a.packets())
        assert by_tcp is answered_by_tcp, f"{path}: answered by TCP: {by_tcp}"
        a.notes[path] = a.icmp_errors()
        if answered_by_tcp:
            a.close()


@TABLE.case("9484 10.1: U1, U3", IGNORED)
async def echo_of_1280_bytes_is_answered(a):
    await a.connect()
    await a.tunnel()
    packet, sequence = raw.echo_request(a.addresses[6], a.gateway_addresses[6], size=1232)
    assert len(packet) == 1280
    for _ in range(5):
        a.packet(packet)
        if await a.conn.until(lambda: any(raw.is_reply(one, sequence) for one in a.packets()), 2):
            return
    raise AssertionError("an IPv6 packet of 1280 bytes is not answered")


@TABLE.case("9484 7.2.1: E5", IGNORED)
async def icmp_errors_are_limited(a):
    """A flood of packets to nowhere does not come back as a flood of errors."""
    await a.connect()
    await a.tunnel()
    for _ in range(20):
        for _ in range(25):
            a.conn.datagram(encode_varint(a.tunnel_stream // 4) + b"\0" +
                            udp_packet(a.addresses[6], _other(a.addresses[6]), mark=a.mark))
        a.conn.transmit()
        await a.conn.answers_pings(3)
    await _finish(a)
    a.notes["errors"] = len(a.icmp_errors())
    assert 1 <= a.notes["errors"] <= 60, f"{a.notes['errors']} ICMP errors for 500 packets"


@TABLE.case("9484 7.2.1; 4443 2.4: E5", IGNORED)
async def no_error_answers_an_error(a):
    """What is no error and goes to the same nowhere is answered with one."""
    await a.connect()
    await a.tunnel()
    for version, kind, code in ((4, 3, 1), (4, 5, 1), (6, 1, 0), (6, 137, 0)):
        mine, other = a.addresses[version], _other(a.addresses[version])
        a.packet(raw.icmp_packet(mine, other, kind, code, bytes(4) + udp_packet(other, mine) +
                                 a.mark))
    for version in (4, 6):
        a.packet(udp_packet(a.addresses[version], _other(a.addresses[version])))
    await _finish(a)
    errors = [packet for packet in a.packets() if raw.is_error(packet)]
    assert {packet[0] >> 4 for packet in errors} == {4, 6}, f"not answered: {errors}"
    about_errors = [packet for packet in errors if raw.protocol_quoted_by(packet) in (1, 58)]
    assert not about_errors, f"an error about an error: {about_errors}"
