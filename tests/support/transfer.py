# SPDX-License-Identifier: Apache-2.0
"""One TCP transfer with a checksum: `receive ADDRESS PORT` and `send ADDRESS PORT BYTES [BYTES/S]`.

Each prints one JSON line {"bytes": ..., "seconds": ..., "sha256": ...}; the receiver says
`listening` on stderr first. The sender ends its side and waits for the receiver's digest, so both
agree that everything arrived."""

import hashlib
import json
import os
import socket
import sys
import time

BLOCK_BYTES = 1 << 18
IDLE_LIMIT_S = 60.0


def open_socket(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.settimeout(IDLE_LIMIT_S)
    return connection


def receive(address: str, port: int) -> dict[str, object]:
    with open_socket(address) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
        print("listening", file=sys.stderr, flush=True)
        connection, _ = listener.accept()
    digest, total, started = hashlib.sha256(), 0, time.monotonic()
    with connection:
        connection.settimeout(IDLE_LIMIT_S)
        while block := connection.recv(BLOCK_BYTES):
            digest.update(block)
            total += len(block)
        seconds = time.monotonic() - started
        connection.sendall(digest.digest())
    return {"bytes": total, "seconds": seconds, "sha256": digest.hexdigest()}


def send(address: str, port: int, size: int, bytes_per_s: int = 0) -> dict[str, object]:
    block = os.urandom(BLOCK_BYTES)
    digest, left = hashlib.sha256(), size
    with open_socket(address) as connection:
        connection.connect((address, port))
        started, serial = time.monotonic(), 0
        while left > 0:
            # A counter in each block: repeated or exchanged blocks change the digest.
            piece = (serial.to_bytes(8, "big") + block)[:min(left, BLOCK_BYTES)]
            connection.sendall(piece)
            digest.update(piece)
            left -= len(piece)
            serial += 1
            if bytes_per_s:
                time.sleep(max(0.0, started + (size - left) / bytes_per_s - time.monotonic()))
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(digest.digest_size, socket.MSG_WAITALL)
        seconds = time.monotonic() - started
    if answer != digest.digest():
        sys.exit("the receiver's digest differs")
    return {"bytes": size, "seconds": seconds, "sha256": digest.hexdigest()}


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["receive"] and len(words) == 3:
        report = receive(words[1], int(words[2]))
    elif words[:1] == ["send"] and len(words) in (4, 5):
        report = send(words[1], *map(int, words[2:]))
    else:
        sys.exit(__doc__)
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
