# SPDX-License-Identifier: Apache-2.0
"""A TCP connection to an echo that is never idle: `flow.py ADDRESS PORT SIZE`. Every 10 ms a record
of SIZE bytes goes out, and what comes back is compared. SIGTERM: waits for the rest, then prints
{"sent", "echoed", "intact", "longest_gap_s"}. Exit 1 when the connection breaks."""

import json
import selectors
import signal
import socket
import sys
import time
from types import FrameType

RECORD_INTERVAL_S = 0.01
SILENCE_LIMIT_S = 60.0
BUFFER_BYTES = 1 << 20

ending = False  # pylint: disable=invalid-name


def end(_number: int, _frame: FrameType | None) -> None:
    global ending  # pylint: disable=global-statement
    ending = True


def record(number: int, size: int) -> bytes:
    return (number.to_bytes(8, "big") * (size // 8 + 1))[:size]


class Flow:
    def __init__(self, connection: socket.socket, size: int):
        self.connection = connection
        self.size = size
        self.sent = 0  # records
        self.echoed = 0  # bytes
        self.intact = True
        self.longest_gap = 0.0
        self.heard = time.monotonic()
        self._out = b""
        self._next = time.monotonic()

    def send_some(self) -> None:
        if not self._out and not ending and time.monotonic() >= self._next:
            self._out = record(self.sent, self.size)
            self.sent += 1
            self._next = max(self._next + RECORD_INTERVAL_S, time.monotonic() - 1)
        if self._out:
            try:
                self._out = self._out[self.connection.send(self._out):]
            except BlockingIOError:
                pass

    def take(self, data: bytes) -> None:
        now = time.monotonic()
        self.longest_gap = max(self.longest_gap, now - self.heard)
        self.heard = now
        position = 0
        while position < len(data):
            number, offset = divmod(self.echoed, self.size)
            piece = data[position:position + self.size - offset]
            self.intact &= piece == record(number, self.size)[offset:offset + len(piece)]
            self.echoed += len(piece)
            position += len(piece)

    def done(self) -> bool:
        return ending and not self._out and self.echoed == self.sent * self.size

    def run(self) -> None:
        waiting = selectors.DefaultSelector()
        waiting.register(self.connection, selectors.EVENT_READ)
        print("flowing", file=sys.stderr, flush=True)
        while not self.done():
            self.send_some()
            if waiting.select(RECORD_INTERVAL_S / 2):
                data = self.connection.recv(BUFFER_BYTES)
                if not data:
                    sys.exit("the echo closed the connection")
                self.take(data)
            if time.monotonic() - self.heard > SILENCE_LIMIT_S:
                sys.exit("no answer for too long")


def main() -> None:
    signal.signal(signal.SIGTERM, end)
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=15) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        flow = Flow(connection, int(sys.argv[3]))
        flow.run()
    print(json.dumps({"sent": flow.sent * flow.size, "echoed": flow.echoed, "intact": flow.intact,
                      "longest_gap_s": round(flow.longest_gap, 3)}), flush=True)


if __name__ == "__main__":
    main()
