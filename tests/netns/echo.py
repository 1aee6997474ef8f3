# SPDX-License-Identifier: Apache-2.0
"""An echo for TCP and UDP, IPv4 and IPv6, on one port: `echo.py PORT`."""

import selectors
import socket
import sys
import threading

BUFFER_BYTES = 1 << 18
SO_RCVBUFFORCE = 33  # a busy machine must not lose what the tunnel delivered
RECEIVE_BUFFER_BYTES = 1 << 23


def answer_tcp(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(BUFFER_BYTES):
                connection.sendall(data)
        except OSError:
            pass


def main() -> None:
    port = int(sys.argv[1])
    waiting = selectors.DefaultSelector()
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            opened = socket.socket(family, kind)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_DGRAM:
                opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            opened.bind((address, port))
            if kind == socket.SOCK_STREAM:
                opened.listen(64)
            waiting.register(opened, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in waiting.select():
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            if ready.type == socket.SOCK_STREAM:
                connection, _peer = ready.accept()
                threading.Thread(target=answer_tcp, args=(connection,), daemon=True).start()
            else:
                data, peer = ready.recvfrom(BUFFER_BYTES)
                try:
                    ready.sendto(data, peer)
                except OSError:
                    pass


if __name__ == "__main__":
    main()
