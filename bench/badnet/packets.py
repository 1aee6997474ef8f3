# SPDX-License-Identifier: Apache-2.0
"""One end of a UDP flow, a program of its own: sends by a plan that both ends know, notes what comes.

    packets.py LOCAL REMOTE PORT PLAN SEED START SECONDS FILE

START is the wall clock in seconds at which the plan begins. Both ends are on one machine, so one
clock stamps a packet when it leaves and the kernel stamps it with the same clock when it arrives:
one-way delays are exact. FILE gets, for each packet that came, its number, the time it was sent and
the time it came in nanoseconds (three signed 64-bit words); standard output gets how many packets
were sent, and how far behind its plan the sender was at worst."""

import json
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

HEADER = struct.Struct("!QQ")
RECORD = struct.Struct("=qqq")
SO_TIMESTAMPNS = 35  # not in Python's socket module
TIMESPEC = struct.Struct("@qq")
DRAIN_S = 2.0  # how long a packet may be late and still be counted
BUFFER_BYTES = 4 << 20
FULL_PACKET = 1200
FRAMES_PER_S = 30


def even(size: int, interval: float, seconds: float) -> Iterator[tuple[float, int]]:
    for i in range(int(seconds / interval)):
        yield i * interval, size


def video(mbit_per_s: float, seconds: float) -> Iterator[tuple[float, int]]:
    """Frames, each as a row of full packets at once."""
    frame = round(mbit_per_s * 1e6 / 8 / FRAMES_PER_S / FULL_PACKET)
    for i in range(int(seconds * FRAMES_PER_S)):
        for _ in range(frame):
            yield i / FRAMES_PER_S, FULL_PACKET


def desktop(seed: int, seconds: float) -> Iterator[tuple[float, int]]:
    """What a remote desktop does: nothing for a while, then a part of the screen at once."""
    draw = random.Random(seed)
    at = 0.0
    while at < seconds:
        for _ in range(draw.choice((1, 2, 4, 8, 16, 32, 48))):
            yield at, FULL_PACKET
        at += draw.uniform(0.03, 0.3)


def plan(name: str, seed: int, seconds: float) -> Iterator[tuple[float, int]]:
    """Times from the start and sizes of the UDP payload. `udp-N` is N Mbit/s of full packets."""
    if name == "voice":
        return even(200, 0.02, seconds)
    if name == "video":
        return video(4, seconds)
    if name == "desktop":
        return desktop(seed, seconds)
    if name.startswith("udp-"):
        return even(FULL_PACKET, FULL_PACKET * 8 / (float(name[4:]) * 1e6), seconds)
    raise ValueError(f"no plan {name}")


class End:
    def __init__(self, local: str, remote: str, port: int):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self.socket.bind((local, port))
        self.socket.setblocking(False)
        self.remote = (remote, port)
        self.records = bytearray()

    def receive(self) -> None:
        """All that has come."""
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier packet
            for level, kind, stamp in control:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= HEADER.size:
                    seconds, nanoseconds = TIMESPEC.unpack(stamp[:TIMESPEC.size])
                    number, sent = HEADER.unpack_from(data)
                    self.records += RECORD.pack(number, sent, seconds * 10**9 + nanoseconds)

    def wait(self, until: float) -> None:
        while (left := until - time.time()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                self.receive()

    def send(self, number: int, size: int) -> None:
        packet = HEADER.pack(number, time.time_ns()) + bytes(size - HEADER.size)
        try:
            self.socket.sendto(packet, self.remote)
        except OSError:
            pass  # no room, no route: a packet that is lost

    def run(self, name: str, seed: int, start: float, seconds: float) -> dict[str, float]:
        number, behind = 0, 0.0
        for number, (at, size) in enumerate(plan(name, seed, seconds), 1):
            self.wait(start + at)
            behind = max(behind, time.time() - start - at)
            self.send(number - 1, size)
            if number % 16 == 0:
                self.receive()
        self.wait(start + seconds + DRAIN_S)
        return {"sent": number, "behind_max_ms": round(behind * 1000, 2)}


def main() -> None:
    local, remote, port, name, seed, start, seconds, file = sys.argv[1:]
    end = End(local, remote, int(port))
    sent = end.run(name, int(seed), float(start), float(seconds))
    with open(file, "wb") as records:
        records.write(end.records)
    print(json.dumps(sent), flush=True)


if __name__ == "__main__":
    main()
