# SPDX-License-Identifier: Apache-2.0
"""Pings an address every millisecond, whether or not there is a way to it yet, and prints the time
(monotonic clock, seconds) of the first answer: `first_reply.py ADDRESS`. IPv4."""

import os
import socket
import struct
import sys
import time


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main() -> None:
    identifier = os.getpid() & 0xFFFF
    request = struct.pack("!BBHHH", 8, 0, 0, identifier, 1) + b"masque!!"
    request = request[:2] + struct.pack("!H", checksum(request)) + request[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(0.001)
        print("ready", file=sys.stderr, flush=True)
        while True:
            try:
                icmp.sendto(request, (sys.argv[1], 0))
            except OSError:
                time.sleep(0.001)  # no route yet
                continue
            try:
                answer, peer = icmp.recvfrom(2048)
            except TimeoutError:
                continue
            if (peer[0] == sys.argv[1] and answer[20] == 0 and
                    answer[24:26] == identifier.to_bytes(2, "big")):
                print(time.monotonic(), flush=True)
                return


if __name__ == "__main__":
    main()
