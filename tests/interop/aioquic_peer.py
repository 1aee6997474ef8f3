# SPDX-License-Identifier: Apache-2.0
"""A CONNECT-IP client or proxy on aioquic with a real TUN: `aioquic_peer.py client|proxy FLAGS`.

QUIC and HTTP/3 are aioquic's, RFC 9484 is connect_ip.py. It prints the same JSON lines and takes
the same flags as connect_ip_peer (Go), so one test drives either:

    listening                     proxy: the socket is open
    connected  status, headers    client: 2xx; proxy: a client was accepted
    refused    status             client: another answer; proxy: what it answered
    addresses  prefixes           what the peer assigned, after the TUN has them
    routes     ranges             what the peer advertised, after the TUN has them
    requested  prefixes           the peer asked for addresses
    closed     error, codes       the session ended
    failed     error              the program ends with 1

Ends on SIGTERM and SIGINT with FIN and H3_NO_ERROR. SIGUSR1: the proxy's --assign-later and
--route-later take effect on the live session."""

import argparse
import asyncio
import ipaddress
import json
import signal
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import ErrorCode, H3Connection, Setting
from aioquic.h3.events import DatagramReceived, DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StopSendingReceived, StreamReset

from connect_ip import (AddressRange, CapsuleParser, CapsuleType, MalformedCapsule, Network,
                        PrefixEntry, decode_prefixes, decode_ranges, decode_varint, encode_prefixes,
                        encode_ranges, encode_varint, parse_packet)
from tun_device import TunDevice

# Inner packets of 1280 bytes fit UDP payloads of this size whatever the fields' lengths.
UDP_PAYLOAD_BYTES = 1400
INNER_MTU = 1280
DATAGRAM_FRAME_BYTES_MAX = 65535
DATAGRAM_QUEUE_MAX = 512
KEEP_ALIVE_S = 10.0
SETTINGS_LIMIT_S = 10.0
LINK_LOCAL_MULTICAST = ipaddress.ip_network("ff02::/16")


def emit(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


class Http3(H3Connection):
    """aioquic announces datagrams only together with WebTransport."""

    def _get_local_settings(self) -> dict[int, int]:
        return {**super()._get_local_settings(), Setting.H3_DATAGRAM: 1}


class Session:
    """One CONNECT-IP session, either side: capsules, HTTP Datagrams, the TUN's configuration."""

    def __init__(self, protocol: "Protocol", stream_id: int, tun: TunDevice):
        self.protocol = protocol
        self.stream_id = stream_id
        self.tun = tun
        self.own_addresses: list[str] = []
        # A proxy that did would let any client take over the path to its other clients.
        self.installs_routes = protocol.is_client
        self.assigned: list[Network] = []  # by the peer, to us
        self.granted: list[Network] = []  # by us, to the peer
        self.advertised: list[AddressRange] = []  # by us, to the peer
        self.routes: list[AddressRange] = []  # by the peer, to us
        self.to_grant: list[Network] = []  # what a request can get
        self.counters = {"sent": 0, "received": 0, "dropped_in": 0, "dropped_out": 0}
        self._parser = CapsuleParser()
        self._closed = False

    def on_data(self, data: bytes, ended: bool) -> None:
        try:
            for kind, value in self._parser.feed(data):
                self._on_capsule(kind, value)
            if ended:
                self._parser.finish()
        except MalformedCapsule as e:
            self.protocol.abort(self.stream_id, ErrorCode.H3_MESSAGE_ERROR)
            self.close(f"malformed capsule: {e}")
            return
        if ended and self.protocol.sessions.get(self.stream_id) is self:
            self.protocol.http.send_data(self.stream_id, b"", end_stream=True)
            self.close("end of stream", clean=True)

    def _on_capsule(self, kind: CapsuleType, value: bytes) -> None:
        if kind == CapsuleType.DATAGRAM:
            self.on_datagram(value)
        elif kind == CapsuleType.ADDRESS_ASSIGN:
            entries = decode_prefixes(kind, value)
            self.assigned = [entry.prefix for entry in entries if not entry.rejected]
            self.tun.set_addresses([*self.own_addresses, *map(str, self.assigned)])
            emit("addresses", prefixes=[
                {"prefix": str(entry.prefix), "request_id": entry.request_id,
                 "rejected": entry.rejected} for entry in entries])
        elif kind == CapsuleType.ADDRESS_REQUEST:
            self._answer(decode_prefixes(kind, value))
        elif kind == CapsuleType.ROUTE_ADVERTISEMENT:
            self.routes = decode_ranges(value)
            if self.installs_routes:
                self.tun.set_routes(str(prefix) for one in self.routes for prefix in one.prefixes())
            emit("routes", ranges=[{"start": str(one.start), "end": str(one.end),
                                    "protocol": one.protocol} for one in self.routes])

    def _answer(self, requested: list[PrefixEntry]) -> None:
        """A prefix of the family for each, while there are some; the rest is denied. What is
        granted and was not asked for stays in the list with Request ID 0 (RFC 9484 4.7.1)."""
        emit("requested", prefixes=[str(entry.prefix) for entry in requested])
        left, entries = list(self.to_grant), []
        for wanted in requested:
            fitting = [prefix for prefix in left if prefix.version == wanted.prefix.version]
            if fitting:
                left.remove(fitting[0])
                entries.append(PrefixEntry(wanted.request_id, fitting[0]))
            else:
                nothing = "0.0.0.0/32" if wanted.prefix.version == 4 else "::/128"
                entries.append(PrefixEntry(wanted.request_id, ipaddress.ip_network(nothing)))
        self.grant(entries + [PrefixEntry(0, prefix) for prefix in left])

    def grant(self, entries: list[PrefixEntry]) -> None:
        self.granted = [entry.prefix for entry in entries if not entry.rejected]
        self.send_capsule(encode_prefixes(CapsuleType.ADDRESS_ASSIGN, entries))

    def advertise(self, ranges: list[AddressRange]) -> None:
        self.advertised = sorted(ranges, key=lambda one: (one.order, int(one.start)))
        self.send_capsule(encode_ranges(self.advertised))

    def request(self, prefixes: list[Network]) -> None:
        self.send_capsule(encode_prefixes(CapsuleType.ADDRESS_REQUEST, [
            PrefixEntry(number, prefix) for number, prefix in enumerate(prefixes, 1)]))

    def send_capsule(self, capsule: bytes) -> None:
        self.protocol.http.send_data(self.stream_id, capsule, end_stream=False)
        self.protocol.transmit()

    def on_datagram(self, payload: bytes) -> None:
        context = decode_varint(payload)
        # RFC 9484 6: unknown contexts are dropped.
        if context is None or context[0] != 0 or not self._may_come_in(payload[context[1]:]):
            self.counters["dropped_in"] += 1
            return
        self.counters["received"] += 1
        self.tun.write(payload[context[1]:])

    def _may_come_in(self, packet: bytes) -> bool:
        """RFC 9484 11: from an address that the peer may use, to one that is ours to reach."""
        if not (header := parse_packet(packet)):
            return False
        if self.granted and not any(header.source in prefix for prefix in self.granted):
            return False
        return header.destination in LINK_LOCAL_MULTICAST or \
            any(header.destination in prefix for prefix in self.assigned) or \
            any(one.contains(header.destination, header.protocol) for one in self.advertised)

    def send_packets(self, packets: list[bytes]) -> None:
        budget = UDP_PAYLOAD_BYTES - (1 + 20 + 4 + 16) - (1 + 2) - 8 - 1
        for packet in packets:
            if len(packet) > budget or self.protocol.datagrams_waiting() >= DATAGRAM_QUEUE_MAX:
                self.counters["dropped_out"] += 1
                continue
            self.protocol.http.send_datagram(self.stream_id, encode_varint(0) + packet)
            self.counters["sent"] += 1
        self.protocol.transmit()

    def close(self, error: str, **more: Any) -> None:
        if not self._closed:
            self._closed = True
            emit("closed", error=error, counters=self.counters, **more)
            self.protocol.on_session_closed(self)


class Protocol(QuicConnectionProtocol):
    """What both sides do with a QUIC connection's events."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.is_client = self._quic.configuration.is_client
        self.http = Http3(self._quic)
        self.sessions: dict[int, Session] = {}

    def datagrams_waiting(self) -> int:
        return len(self._quic._datagrams_pending)  # pylint: disable=protected-access

    def quic_event_received(self, event: QuicEvent) -> None:
        for http_event in self.http.handle_event(event):
            self.on_http_event(http_event)
        if isinstance(event, ConnectionTerminated):
            for session in list(self.sessions.values()):
                session.close(f"connection closed: {event.reason_phrase}",
                              connection_code=event.error_code)
        elif isinstance(event, (StreamReset, StopSendingReceived)):
            if session := self.sessions.get(event.stream_id):
                self.abort(event.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
                session.close(type(event).__name__, stream_code=event.error_code)

    def on_http_event(self, event: H3Event) -> None:
        if isinstance(event, DataReceived) and event.stream_id in self.sessions:
            self.sessions[event.stream_id].on_data(event.data, event.stream_ended)
        elif isinstance(event, DatagramReceived) and event.stream_id in self.sessions:
            self.sessions[event.stream_id].on_datagram(event.data)
        elif isinstance(event, HeadersReceived):
            self.on_headers(event)

    def on_headers(self, event: HeadersReceived) -> None:
        raise NotImplementedError

    def on_session_closed(self, session: Session) -> None:
        self.sessions.pop(session.stream_id, None)

    def abort(self, stream_id: int, code: int) -> None:
        self._quic.reset_stream(stream_id, code)
        self._quic.stop_stream(stream_id, code)
        self.transmit()

    def finish(self) -> None:
        """The polite end: FIN on each session's stream, then the connection."""
        for stream_id in self.sessions:
            self.http.send_data(stream_id, b"", end_stream=True)
        self.transmit()
        self.close(error_code=ErrorCode.H3_NO_ERROR)


class ClientProtocol(Protocol):
    answer: "asyncio.Future[HeadersReceived]"

    def on_headers(self, event: HeadersReceived) -> None:
        if not self.answer.done():
            self.answer.set_result(event)

    def on_session_closed(self, session: Session) -> None:
        super().on_session_closed(session)
        self.ended.set()


async def run_client(options: argparse.Namespace) -> None:
    uri = urlsplit(options.uri)
    host, port = uri.hostname or "", uri.port or 443
    if options.address:
        host, _, port_text = options.address.rpartition(":")
        host, port = host.strip("[]"), int(port_text)
    configuration = new_configuration(options, is_client=True)
    configuration.server_name = uri.hostname
    tun = TunDevice(options.tun, options.mtu)
    async with connect(host, port, configuration=configuration,
                       create_protocol=ClientProtocol) as protocol:
        assert isinstance(protocol, ClientProtocol)
        loop = asyncio.get_running_loop()
        protocol.answer, protocol.ended = loop.create_future(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, protocol.ended.set)
        session = await open_session(protocol, options, tun)
        if session is None:
            sys.exit(1)
        loop.add_reader(tun.fd, lambda: session.send_packets(tun.read_batch()))
        keep_alive = loop.create_task(keep_alive_forever(protocol))
        await protocol.ended.wait()
        keep_alive.cancel()
        loop.remove_reader(tun.fd)
        protocol.finish()


async def open_session(protocol: ClientProtocol, options: argparse.Namespace,
                       tun: TunDevice) -> Session | None:
    uri = urlsplit(options.uri)
    # RFC 9220 3 and RFC 9297 2.1.1: not before the proxy's settings allow it.
    async with asyncio.timeout(SETTINGS_LIMIT_S):
        while protocol.http.received_settings is None:
            await asyncio.sleep(0.005)
    settings = protocol.http.received_settings
    if settings.get(Setting.ENABLE_CONNECT_PROTOCOL) != 1 or settings.get(Setting.H3_DATAGRAM) != 1:
        raise ConnectionError(f"the proxy's settings do not allow CONNECT-IP: {settings}")
    headers = [(b":method", b"CONNECT"), (b":protocol", b"connect-ip"), (b":scheme", b"https"),
               (b":authority", uri.netloc.encode()),
               (b":path", (uri.path + ("?" + uri.query if uri.query else "")).encode()),
               (b"capsule-protocol", b"?1")]
    if options.token:
        headers.append((b"authorization", b"Bearer " + options.token.encode()))
    stream_id = protocol._quic.get_next_available_stream_id()  # pylint: disable=protected-access
    protocol.sessions[stream_id] = session = Session(protocol, stream_id, tun)
    protocol.http.send_headers(stream_id, headers)
    protocol.transmit()
    answer = dict((await protocol.answer).headers)
    status = int(answer[b":status"])
    texts = {key.decode(): value.decode() for key, value in answer.items()}
    if not 200 <= status <= 299:
        emit("refused", status=status, headers=texts)
        return None
    emit("connected", status=status, headers=texts)
    if options.advertise:
        session.advertise(options.advertise)
    if options.request:
        session.request(options.request)
    return session


async def keep_alive_forever(protocol: Protocol) -> None:
    while True:
        await asyncio.sleep(KEEP_ALIVE_S)
        await protocol.ping()


class Proxy:
    """The server: one client at a time has the TUN, the newest."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.tun = TunDevice(options.tun, options.mtu)
        self.tun.set_addresses(map(str, options.own))
        self.tun.set_routes(map(str, options.assign))
        self.current: Session | None = None
        self.protocols: set[Protocol] = set()

    def on_tun_readable(self) -> None:
        packets = self.tun.read_batch()
        if self.current:
            self.current.send_packets(packets)

    def on_change(self) -> None:
        if self.current:
            self.tun.set_routes(map(str, self.options.assign_later))
            self.current.grant([PrefixEntry(0, prefix) for prefix in self.options.assign_later])
            self.current.advertise(self.options.route_later)

    def status_for(self, headers: dict[bytes, bytes]) -> int:
        options, uri = self.options, urlsplit(self.options.uri)
        if options.token and headers.get(b"authorization") != b"Bearer " + options.token.encode():
            return 401
        if headers.get(b":protocol") != b"connect-ip":
            return 501
        if headers.get(b":authority") != uri.netloc.encode():
            return 400
        # A fixed path; `*` and `%2A` are the same one.
        return 200 if unquote(headers.get(b":path", b"").decode()) == unquote(uri.path) else 404


class ProxyProtocol(Protocol):
    proxy: Proxy

    def on_headers(self, event: HeadersReceived) -> None:
        if event.stream_id in self.sessions:
            return
        headers = dict(event.headers)
        status = self.proxy.status_for(headers)
        if (self.http.received_settings or {}).get(Setting.H3_DATAGRAM) != 1:
            status = 400  # RFC 9297 2.1.1: no datagrams may be sent to it
        texts = {key.decode(): value.decode() for key, value in headers.items()}
        if status != 200:
            emit("refused", status=status, headers=texts)
            self.http.send_headers(event.stream_id, [(b":status", str(status).encode())],
                                   end_stream=True)
            return
        self.http.send_headers(event.stream_id, [(b":status", b"200"),
                                                 (b"capsule-protocol", b"?1")])
        emit("connected", status=200, headers=texts)
        session = Session(self, event.stream_id, self.proxy.tun)
        options = self.proxy.options
        session.own_addresses = [str(prefix) for prefix in options.own]
        session.to_grant = options.assign
        self.sessions[event.stream_id] = self.proxy.current = session
        self.proxy.protocols.add(self)
        if options.unprompted:
            session.grant([PrefixEntry(0, prefix) for prefix in options.assign])
        session.advertise(options.route)

    def on_session_closed(self, session: Session) -> None:
        super().on_session_closed(session)
        if self.proxy.current is session:
            self.proxy.current = None
        self.proxy.protocols.discard(self)


async def run_proxy(options: argparse.Namespace) -> None:
    proxy = Proxy(options)
    protocol_class = type("BoundProxyProtocol", (ProxyProtocol,), {"proxy": proxy})
    host, _, port = options.listen.rpartition(":")
    server = await serve(host.strip("[]"), int(port), create_protocol=protocol_class,
                         configuration=new_configuration(options, is_client=False))
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(proxy.tun.fd, proxy.on_tun_readable)
    loop.add_signal_handler(signal.SIGUSR1, proxy.on_change)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    emit("listening", address=options.listen)
    await ended.wait()
    for protocol in list(proxy.protocols):
        protocol.finish()
    server.close()


def new_configuration(options: argparse.Namespace, *, is_client: bool) -> QuicConfiguration:
    configuration = QuicConfiguration(
        is_client=is_client, alpn_protocols=["h3"], max_datagram_size=UDP_PAYLOAD_BYTES,
        max_datagram_frame_size=DATAGRAM_FRAME_BYTES_MAX, congestion_control_algorithm="cubic")
    if options.ca:
        configuration.load_verify_locations(options.ca)
    if options.cert:
        configuration.load_cert_chain(options.cert, options.key)
    return configuration


def parse_networks(text: str) -> list[Network]:
    return [ipaddress.ip_network(word) for word in text.split(",")]


def parse_interfaces(text: str) -> list[Any]:
    return [ipaddress.ip_interface(word) for word in text.split(",")]


def parse_ranges(text: str) -> list[AddressRange]:
    ranges = []
    for word in text.split(","):
        span, _, protocol = word.partition("=")
        if "-" in span:
            start, end = map(ipaddress.ip_address, span.split("-"))
        else:
            network = ipaddress.ip_network(span)
            start, end = network[0], network[-1]
        ranges.append(AddressRange(start, end, int(protocol or 0)))
    return ranges


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A CONNECT-IP peer on aioquic, for tests.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--uri", required=True, help="https://HOST:PORT/PATH, without variables")
    common.add_argument("--ca", help="PEM file that signs the other side's certificate")
    common.add_argument("--cert", help="PEM file, own certificate")
    common.add_argument("--key", help="PEM file, own key")
    common.add_argument("--token", help="bearer token to send, or to demand")
    common.add_argument("--tun", default="peer0", help="name of the TUN interface")
    common.add_argument("--mtu", type=int, default=INNER_MTU, help="MTU of the TUN interface")
    modes = parser.add_subparsers(dest="mode", required=True)
    client = modes.add_parser("client", parents=[common])
    client.add_argument("--address", help="ADDR:PORT to dial instead of the URI's host")
    client.add_argument("--request", type=parse_networks, default=[])
    client.add_argument("--advertise", type=parse_ranges, default=[])
    proxy = modes.add_parser("proxy", parents=[common])
    proxy.add_argument("--listen", required=True, help="ADDR:PORT")
    proxy.add_argument("--own", type=parse_interfaces, default=[], help="addresses of its TUN")
    proxy.add_argument("--assign", type=parse_networks, default=[])
    proxy.add_argument("--route", type=parse_ranges, default=[])
    proxy.add_argument("--unprompted", choices=("true", "false"), default="true")
    proxy.add_argument("--assign-later", type=parse_networks, default=[])
    proxy.add_argument("--route-later", type=parse_ranges, default=[])
    options = parser.parse_args()
    if options.mode == "proxy":
        options.unprompted = options.unprompted == "true"
    return options


def main() -> None:
    options = parse_options()
    try:
        asyncio.run(run_client(options) if options.mode == "client" else run_proxy(options))
    except (OSError, TimeoutError, ValueError) as e:
        emit("failed", error=f"{type(e).__name__}: {e}")
        sys.exit(1)


if __name__ == "__main__":
    main()
