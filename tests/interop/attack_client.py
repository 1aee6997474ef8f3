# SPDX-License-Identifier: Apache-2.0
"""The adversary as a proxy: `attack_client.py --listen ADDR:PORT --cert F --key F --inner ... CASE`
attacks the next CONNECT-IP client that comes.

It prints {"event": "armed", "case"} when it listens, and what came of it: {"case", "rule",
"expected", "outcome", "ok"}. It has no TUN: its inner packets are made here. The cases are in
attack_client_cases.py."""

import argparse
import asyncio
import ipaddress
import json
import traceback
from typing import Any

from aioquic.asyncio import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, QuicEvent

import raw_http3 as raw
from attack import Case, Outcome, ending
from connect_ip import (AddressRange, CapsuleType, PrefixEntry, decode_varint, encode_capsule,
                        encode_prefixes, encode_ranges, encode_varint)
from marks import control_of, mark_of

CLIENT_LIMIT_S = 15.0
REQUEST_LIMIT_S = 5.0
ECHO_LIMIT_S = 0.4
ECHO_TRIES = 10
PING_LIMIT_S = 3.0
HONEST_SETTINGS = raw.settings_frame((raw.ENABLE_CONNECT_PROTOCOL, 1), (raw.H3_DATAGRAM, 1),
                                     (0x21, 7))
HONEST_ANSWER = [(b":status", b"200"), (b"capsule-protocol", b"?1")]


class Attack:
    """One client's connection, and the honest parts of a case."""

    def __init__(self, conn: raw.RawConnection, inner: list[Any]):
        self.conn = conn
        # The proxy's address and the client's, of each version.
        self.proxy = {one.version: one.ip for one in inner}
        self.client = {one.version: one.ip + 1 for one in inner}
        self.networks = [one.network for one in inner]
        self.request_stream: int | None = None
        self.control_stream = -1
        self.notes: dict[str, Any] = {}
        self.mark = self.control_mark = b""  # of the case's packets, for who captures them
        self.unseen = False  # none with the mark may be captured, one with the control's was sent

    def settings(self, control: bytes = HONEST_SETTINGS) -> None:
        self.control_stream = self.conn.uni_stream(raw.CONTROL, control)
        self.conn.transmit()

    def control(self, data: bytes, end: bool = False) -> None:
        self.conn.write(self.control_stream, data, end)
        self.conn.transmit()

    async def request(self, limit: float = REQUEST_LIMIT_S) -> int | None:
        """The client's CONNECT-IP request: its stream, None when none comes."""
        def found() -> int | None:
            return next((stream.id + 1 for stream in self.conn.streams.values()
                         if stream.id & 3 == 0 and stream.headers), None)

        if not await self.conn.until(found, limit) or not (number := found()):
            return None
        self.request_stream = number - 1
        fields = dict(self.conn.stream(self.request_stream).headers[0])
        assert fields[b":method"] == b"CONNECT" and fields[b":protocol"] == b"connect-ip", fields
        return self.request_stream

    def answer(self, headers: raw.Headers, more: bytes = b"", end: bool = False) -> None:
        assert self.request_stream is not None
        block = self.conn.headers_frame(self.request_stream, headers)
        self.conn.write(self.request_stream, block + more, end)
        self.conn.transmit()

    async def tunnel(self) -> int:
        """An honest tunnel: settings, 200, addresses, routes; it carries packets."""
        self.settings()
        await self.accept()
        assert await self.echo(), "the honest tunnel does not work"
        assert self.request_stream is not None
        return self.request_stream

    async def accept(self) -> None:
        """Answers the request honestly."""
        assert await self.request() is not None, "the client sent no request"
        self.answer(HONEST_ANSWER, raw.frame(raw.DATA, self.honest_capsules()))

    def honest_capsules(self) -> bytes:
        return self.assign([]) + self.routes([])

    def assign(self, more: list[str]) -> bytes:
        """ADDRESS_ASSIGN with the honest addresses and more."""
        entries = [PrefixEntry(0, ipaddress.ip_network(address))
                   for address in self.client.values()]
        entries += [PrefixEntry(0, ipaddress.ip_network(prefix)) for prefix in more]
        return encode_prefixes(CapsuleType.ADDRESS_ASSIGN, entries)

    def routes(self, more: list[str]) -> bytes:
        """ROUTE_ADVERTISEMENT with the honest networks and more, in order."""
        networks = [*self.networks, *map(ipaddress.ip_network, more)]
        networks.sort(key=lambda one: (one.version, int(one.network_address)))
        return encode_ranges(AddressRange(one[0], one[-1]) for one in networks)

    def capsules(self, data: bytes, end: bool = False, frame_bytes: int | None = None) -> None:
        assert self.request_stream is not None
        self.conn.write_data(self.request_stream, data, end, frame_bytes)
        self.conn.transmit()

    def packet(self, packet: bytes) -> None:
        assert self.request_stream is not None
        self.conn.datagram(encode_varint(self.request_stream // 4) + b"\0" + packet)
        self.conn.transmit()

    def packets(self) -> list[bytes]:
        """Inner packets received so far, in frames and in capsules."""
        found = []
        for data in self.conn.datagrams:
            quarter = decode_varint(data)
            if quarter and quarter[0] == (self.request_stream or 0) // 4:
                found.append(data[quarter[1]:])
        found += [value for kind, value in self.conn.stream(self.request_stream or 0).capsules
                  if kind == CapsuleType.DATAGRAM]
        return [payload[1:] for payload in found if payload[:1] == b"\0"]

    async def echo(self, tries: int = ECHO_TRIES, version: int = 4, capsule: bool = False) -> bool:
        """Whether the client's kernel answers through the tunnel."""
        stream = self.conn.stream(self.request_stream or 0)
        for _ in range(tries):
            if self.request_stream is None or stream.ended or self.conn.closed:
                return False
            packet, sequence = raw.echo_request(self.proxy[version], self.client[version])
            if capsule:
                self.capsules(encode_capsule(CapsuleType.DATAGRAM, b"\0" + packet))
            else:
                self.packet(packet)
            if await self.conn.until(
                    lambda number=sequence: stream.ended or any(
                        raw.is_reply(one, number) for one in self.packets()), ECHO_LIMIT_S):
                return not stream.ended and not self.conn.closed
        return False

    async def look(self) -> Outcome:
        outcome = Outcome(notes=self.notes)
        await self.conn.answers_pings(PING_LIMIT_S)
        outcome.tunnel_works = await self.echo()
        outcome.connection_works = await self.conn.answers_pings(PING_LIMIT_S)
        if self.request_stream is not None:
            outcome.stream, outcome.stream_code = ending(self.conn.stream(self.request_stream))
        outcome.close_code, outcome.close_reason = self.conn.close_code, self.conn.close_reason
        return outcome


class Listener:
    """Gives the armed case the next client; other clients are turned away."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[raw.RawConnection] | None = None

    def protocol(self, *arguments: Any, **options: Any) -> raw.RawConnection:
        listener = self

        class Accepted(raw.RawConnection):
            def quic_event_received(self, event: QuicEvent) -> None:
                super().quic_event_received(event)
                if isinstance(event, HandshakeCompleted):
                    listener.on_connection(self)

        return Accepted(*arguments, **options)

    def on_connection(self, conn: raw.RawConnection) -> None:
        if self.waiting and not self.waiting.done():
            self.waiting.set_result(conn)
        else:
            conn.close(error_code=raw.H3_NO_ERROR)


async def run_case(case: Case, listener: Listener, options: argparse.Namespace) -> dict[str, Any]:
    line: dict[str, Any] = {"case": case.name, "rule": case.rule,
                            "expected": case.expectation.text, "ok": False}
    listener.waiting = asyncio.get_running_loop().create_future()
    print(json.dumps({"event": "armed", "case": case.name}), flush=True)
    conn = None
    try:
        conn = await asyncio.wait_for(listener.waiting, CLIENT_LIMIT_S)
        attack = Attack(conn, options.inner)
        attack.mark, attack.control_mark = mark_of(case.name), control_of(case.name)
        await case.attack(attack)
        outcome = await attack.look()
        line.update(outcome=outcome.text(), ok=case.expectation.holds(outcome),
                    unseen=attack.unseen)
    except Exception as e:  # pylint: disable=broad-except
        line.update(outcome=f"{type(e).__name__}: {e}", trace=traceback.format_exc())
    finally:
        listener.waiting = None
        if conn:
            conn.close(error_code=raw.H3_NO_ERROR)
    return line


async def run(options: argparse.Namespace, case: Case) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"],
                                      max_datagram_size=1400, max_datagram_frame_size=65535)
    configuration.load_cert_chain(options.cert, options.key)
    listener = Listener()
    host, _, port = options.listen.rpartition(":")
    await serve(host.strip("[]"), int(port), configuration=configuration,
                create_protocol=listener.protocol)
    print(json.dumps(await run_case(case, listener, options)), flush=True)


def main() -> None:
    from attack_client_cases import TABLE  # pylint: disable=import-outside-toplevel
    parser = argparse.ArgumentParser(description="Attacks CONNECT-IP clients, for tests.")
    parser.add_argument("--listen", required=True, help="ADDR:PORT")
    parser.add_argument("--cert", required=True, help="PEM file, own certificate")
    parser.add_argument("--key", required=True, help="PEM file, own key")
    parser.add_argument("--inner", required=True,
                        help="the proxy's inner addresses with lengths; the client gets the next",
                        type=lambda text: list(map(ipaddress.ip_interface, text.split(","))))
    parser.add_argument("case", choices=TABLE.cases)
    options = parser.parse_args()
    asyncio.run(run(options, TABLE.cases[options.case]))


if __name__ == "__main__":
    main()
