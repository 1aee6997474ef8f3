# SPDX-License-Identifier: Apache-2.0
"""A QUIC server that is no gateway (aioquic): `quic_server.py PORT CERTIFICATE KEY ALPN`. It finishes
handshakes and, with ALPN h3, sends ordinary HTTP/3 SETTINGS."""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent


class Server(QuicConnectionProtocol):
    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self.http = H3Connection(self._quic)  # pylint: disable=attribute-defined-outside-init
            self.transmit()


async def main() -> None:
    port, certificate, key, alpn = sys.argv[1:5]
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[alpn],
                                      max_datagram_frame_size=65535)
    configuration.load_cert_chain(certificate, key)
    await serve("::", int(port), configuration=configuration, create_protocol=Server)
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
