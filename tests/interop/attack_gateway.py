# SPDX-License-Identifier: Apache-2.0
"""The adversary as a client: `attack_gateway.py --address ADDR:PORT --uri URI ... [CASE...]`
attacks a CONNECT-IP gateway, one connection a case, and prints one JSON line a case:
{"case", "rule", "expected", "outcome", "ok"}. It has no TUN: its inner packets are made here.

The cases are in attack_gateway_cases.py."""

import argparse
import asyncio
import ipaddress
import json
import socket
import ssl
import sys
import traceback
from typing import Any
from urllib.parse import urlsplit

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

import raw_http3 as raw
from attack import Case, Outcome, ending
from connect_ip import (Address, CapsuleType, PrefixEntry, decode_prefixes, decode_varint,
                        encode_prefixes, encode_varint)
from marks import control_of, mark_of

CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 5.0
ASSIGN_LIMIT_S = 1.0
ECHO_LIMIT_S = 0.4
ECHO_TRIES = 8
PING_LIMIT_S = 3.0
HONEST_SETTINGS = raw.settings_frame((raw.H3_DATAGRAM, 1), (0x21, 7))


class Attack:
    """A connection to the gateway, and the honest parts of a case."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.uri = urlsplit(options.uri)
        self.gateway_addresses = {address.version: address for address in options.inner}
        self.addresses: dict[int, Address] = {}  # what the gateway assigned to the honest request
        self.tunnel_stream: int | None = None
        self.control_stream = -1
        self.notes: dict[str, Any] = {}
        self.mark = self.control_mark = b""  # of the case's packets, for who captures them
        self.unseen = False  # none with the mark may be captured, one with the control's was sent
        self.conn: raw.RawConnection
        self._transport: asyncio.DatagramTransport | None = None

    async def connect(self, settings: bytes | None = HONEST_SETTINGS, datagrams: bool = True,
                      certificate: bool = True, alpn: str = "h3") -> None:
        """QUIC, and a control stream with these bytes (None: no control stream)."""
        options = self.options
        configuration = QuicConfiguration(
            alpn_protocols=[alpn], max_datagram_size=1400, server_name=self.uri.hostname,
            max_datagram_frame_size=65535 if datagrams else None, idle_timeout=20)
        if options.ca:
            configuration.load_verify_locations(options.ca)
        else:
            configuration.verify_mode = ssl.CERT_NONE
        if options.cert and certificate:
            configuration.load_cert_chain(options.cert, options.key)
        host, _, port = options.address.rpartition(":")
        self._transport, self.conn = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: raw.RawConnection(QuicConnection(configuration=configuration)),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET, local_addr=(
                "::" if ":" in host else "0.0.0.0", 0))
        self.conn.connect((host.strip("[]"), int(port)))
        await asyncio.wait_for(self.conn.wait_connected(), CONNECT_LIMIT_S)
        if settings is not None:
            self.control_stream = self.conn.uni_stream(raw.CONTROL, settings)
            self.conn.transmit()

    def of_another_client(self) -> "Attack":
        """The same gateway with the other identity, for addresses that are not ours."""
        other = argparse.Namespace(**vars(self.options))
        other.cert, other.key = self.options.other_cert, self.options.other_key
        assert other.cert and other.key, "no other identity"
        return Attack(other)

    def close(self) -> None:
        """The other side knows at once; the closing period of RFC 9000 10.2 is not waited for."""
        if self._transport:
            self.conn.close(error_code=raw.H3_NO_ERROR)
            self._transport.close()

    def headers(self, **changes: bytes | None) -> list[tuple[bytes, bytes]]:
        """An honest request's. Keywords replace fields (`protocol` is `:protocol`, `_` is `-` in
        the others) or, as None, leave them out."""
        fields: dict[str, bytes | None] = {
            ":method": b"CONNECT", ":protocol": b"connect-ip", ":scheme": b"https",
            ":authority": self.uri.netloc.encode(), ":path": self.uri.path.encode(),
            "capsule-protocol": b"?1"}
        if self.options.token:
            fields["authorization"] = b"Bearer " + self.options.token.encode()
        for name, value in changes.items():
            fields[":" + name if ":" + name in fields else name.replace("_", "-")] = value
        return [(name.encode(), value) for name, value in fields.items() if value is not None]

    def send_request(self, headers: raw.Headers | None = None, more: bytes = b"",
                     end: bool = False) -> int:
        stream_id = self.conn.bidi_stream()
        block = self.conn.headers_frame(stream_id, headers or self.headers())
        self.conn.write(stream_id, block + more, end)
        self.conn.transmit()
        return stream_id

    async def tunnel(self) -> int:
        """An honest tunnel with its addresses; the stream's id."""
        await self.conn.until(self.conn.settings, ANSWER_LIMIT_S)
        stream_id = self.send_request()
        stream = self.conn.stream(stream_id)
        await self.conn.until(lambda: stream.status or stream.ended, ANSWER_LIMIT_S)
        if self.conn.closed:
            return stream_id
        if stream.status != 200:
            raise AssertionError(f"the honest request got {stream.status}, {ending(stream)}")
        if not await self.conn.until(lambda: self._read_addresses(stream), ASSIGN_LIMIT_S):
            nothing = [ipaddress.ip_network("0.0.0.0/32"), ipaddress.ip_network("::/128")]
            self.conn.write_data(stream_id, encode_prefixes(CapsuleType.ADDRESS_REQUEST, [
                PrefixEntry(number, prefix) for number, prefix in enumerate(nothing, 1)]))
            self.conn.transmit()
            if not await self.conn.until(lambda: self._read_addresses(stream) or self.conn.closed,
                                         ANSWER_LIMIT_S):
                raise AssertionError("the honest request was assigned nothing")
        self.tunnel_stream = stream_id
        return stream_id

    def _read_addresses(self, stream: raw.Stream) -> bool:
        for kind, value in stream.capsules:
            if kind == CapsuleType.ADDRESS_ASSIGN:
                granted = [entry for entry in decode_prefixes(kind, value) if not entry.rejected]
                self.addresses = {entry.prefix.version: entry.prefix.network_address
                                  for entry in granted}
        return bool(self.addresses)

    def capsules(self, data: bytes, end: bool = False, frame_bytes: int | None = None) -> None:
        """Bytes for the honest tunnel's data stream."""
        assert self.tunnel_stream is not None
        self.conn.write_data(self.tunnel_stream, data, end, frame_bytes)
        self.conn.transmit()

    def packet(self, packet: bytes, context: bytes = b"\0") -> None:
        """An inner packet in an HTTP Datagram of the honest tunnel."""
        assert self.tunnel_stream is not None
        self.conn.datagram(encode_varint(self.tunnel_stream // 4) + context + packet)
        self.conn.transmit()

    def packets(self) -> list[bytes]:
        """Inner packets received on the honest tunnel so far, in frames and in capsules."""
        assert self.tunnel_stream is not None
        found = []
        for data in self.conn.datagrams:
            quarter = decode_varint(data)
            if quarter and quarter[0] == self.tunnel_stream // 4:
                found.append(data[quarter[1]:])
        found += [value for kind, value in self.conn.stream(self.tunnel_stream).capsules
                  if kind == CapsuleType.DATAGRAM]
        return [payload[1:] for payload in found if payload[:1] == b"\0"]

    def icmp_errors(self) -> list[str]:
        """Type/code of the ICMP errors that came through the tunnel."""
        texts = []
        for packet in self.packets():
            icmp = raw.icmp_of(packet)
            if icmp and raw.is_error(packet):
                texts.append(f"v{packet[0] >> 4} {icmp[0]}/{icmp[1]}")
        return texts

    async def echo(self, tries: int = ECHO_TRIES) -> bool:
        """Whether the gateway's inner address answers through the honest tunnel."""
        stream = self.conn.stream(self.tunnel_stream or 0)
        for _ in range(tries):
            if stream.ended or self.conn.closed or self.tunnel_stream is None:
                return False
            version = min(self.addresses)
            packet, sequence = raw.echo_request(self.addresses[version],
                                                self.gateway_addresses[version])
            self.packet(packet)
            if await self.conn.until(
                    lambda number=sequence: stream.ended or any(
                        raw.is_reply(one, number) for one in self.packets()), ECHO_LIMIT_S):
                return not stream.ended and not self.conn.closed
        return False

    async def honest_request_works(self) -> bool:
        stream = self.conn.stream(self.send_request())
        await self.conn.until(lambda: stream.status or stream.ended, ANSWER_LIMIT_S)
        return stream.status == 200

    async def look(self, stream_id: int | None) -> Outcome:
        """What has become of it all."""
        outcome = Outcome(notes=self.notes)
        # What was sent has arrived before the echo that asks for its effect.
        await self.conn.answers_pings(PING_LIMIT_S)
        watched = self.tunnel_stream if stream_id is None else stream_id
        stream = self.conn.stream(watched) if watched is not None else None
        if self.tunnel_stream is not None and watched == self.tunnel_stream:
            outcome.tunnel_works = await self.echo()
        elif stream:
            await self.conn.until(lambda: stream.status or stream.ended, ANSWER_LIMIT_S)
            if self.tunnel_stream is not None:
                outcome.tunnel_works = await self.echo()
        if stream:
            # A refusal is whole when its stream ended.
            if (stream.status or 0) >= 300:
                await self.conn.until(lambda: stream.ended, ANSWER_LIMIT_S)
            outcome.status = stream.status
            outcome.stream, outcome.stream_code = ending(stream)
        outcome.connection_works = await self.conn.answers_pings(PING_LIMIT_S)
        if outcome.connection_works and self.control_stream >= 0 and not outcome.tunnel_works:
            outcome.next_request_works = await self.honest_request_works()
        outcome.close_code, outcome.close_reason = self.conn.close_code, self.conn.close_reason
        return outcome


async def run_case(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    attack = Attack(options)
    attack.mark, attack.control_mark = mark_of(case.name), control_of(case.name)
    line: dict[str, Any] = {"case": case.name, "rule": case.rule,
                            "expected": case.expectation.text, "ok": False}
    try:
        watched = await case.attack(attack)
        outcome = await attack.look(watched)
        line.update(outcome=outcome.text(), ok=case.expectation.holds(outcome))
    except Exception as e:  # pylint: disable=broad-except
        line.update(outcome=f"{type(e).__name__}: {e}", trace=traceback.format_exc())
    finally:
        attack.close()
    line["unseen"] = attack.unseen
    return line


async def run(options: argparse.Namespace, cases: list[Case]) -> bool:
    good = True
    for case in cases:
        line = await run_case(case, options)
        good = good and line["ok"]
        print(json.dumps(line), flush=True)
    return good


def add_options(parser: argparse.ArgumentParser) -> None:
    """What a connection to the gateway needs."""
    parser.add_argument("--address", required=True, help="ADDR:PORT of the gateway")
    parser.add_argument("--uri", required=True, help="https://HOST:PORT/PATH, without variables")
    parser.add_argument("--ca", help="PEM file that signs the gateway's certificate")
    parser.add_argument("--cert", help="PEM file, own certificate")
    parser.add_argument("--key", help="PEM file, own key")
    parser.add_argument("--other-cert", help="PEM file, of another client than --cert")
    parser.add_argument("--other-key", help="PEM file, its key")
    parser.add_argument("--token", help="bearer token to send")
    parser.add_argument("--inner", required=True, help="the gateway's inner addresses",
                        type=lambda text: [ipaddress.ip_address(word) for word in text.split(",")])


def main() -> None:
    from attack_gateway_cases import TABLE  # pylint: disable=import-outside-toplevel
    parser = argparse.ArgumentParser(description="Attacks a CONNECT-IP gateway, for tests.")
    add_options(parser)
    parser.add_argument("--list", action="store_true", help="name the cases and exit")
    parser.add_argument("case", nargs="*", choices=[[], *TABLE.cases], help="default: all")
    options = parser.parse_args()
    if options.list:
        print("\n".join(TABLE.cases))
        return
    chosen = [TABLE.cases[name] for name in options.case] or list(TABLE.cases.values())
    sys.exit(0 if asyncio.run(run(options, chosen)) else 1)


if __name__ == "__main__":
    main()
