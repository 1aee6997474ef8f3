# SPDX-License-Identifier: Apache-2.0
"""Datagrams to an echo and back: `udp_exchange.py ADDRESS PORT COUNT SIZE`. Each carries its number
and a checksum of its own. At most WINDOW are under way, so that no queue on the way overflows.
Prints {"sent", "received", "damaged", "reordered"}."""

import contextlib
import json
import os
import socket
import sys
import time
import zlib

WINDOW = 32
SO_RCVBUFFORCE = 33  # a busy machine must not lose what the tunnel delivered
RECEIVE_BUFFER_BYTES = 1 << 23
REPLY_LIMIT_S = 2.0


def make(number: int, size: int) -> bytes:
    body = number.to_bytes(4, "big") + os.urandom(size - 8)
    return body + zlib.crc32(body).to_bytes(4, "big")


def main() -> None:
    address, port, count, size = sys.argv[1], *map(int, sys.argv[2:5])
    report = {"sent": 0, "received": 0, "damaged": 0, "reordered": 0}
    pending: set[int] = set()
    newest, heard = -1, time.monotonic()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                       socket.SOCK_DGRAM) as echo:
        echo.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        echo.connect((address, port))
        echo.settimeout(0.05)
        while report["sent"] < count or pending:
            if report["sent"] < count and len(pending) < WINDOW:
                with contextlib.suppress(OSError):  # an ICMP error about an earlier one
                    echo.send(make(report["sent"], size))
                pending.add(report["sent"])
                report["sent"] += 1
                if len(pending) < WINDOW and report["sent"] < count:
                    continue
            try:
                data = echo.recv(1 << 16)
            except TimeoutError:
                if time.monotonic() - heard > REPLY_LIMIT_S:
                    pending.clear()  # lost; the report shows it
                    heard = time.monotonic()
                continue
            except OSError:
                pending.clear()  # an ICMP error: the report shows it as lost
                continue
            heard = time.monotonic()
            number = int.from_bytes(data[:4], "big")
            if len(data) != size or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
                report["damaged"] += 1
                continue
            report["received"] += 1
            report["reordered"] += number < newest
            newest = max(newest, number)
            pending.discard(number)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
