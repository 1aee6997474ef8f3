# SPDX-License-Identifier: Apache-2.0
"""A TUN interface for the Python peer: plain mode, one read is one packet; `ip` configures it."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Callable, Iterable

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PACKET_BYTES_MAX = 65535
READ_BATCH_MAX = 64


def run_ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)


class TunDevice:
    """Has exactly the addresses and routes of the last call. Ends with close() or the process."""

    def __init__(self, name: str, mtu: int):
        self.name = name
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        run_ip("link", "set", "dev", name, "mtu", str(mtu), "up")
        self._addresses: set[str] = set()
        self._routes: set[str] = set()

    def set_addresses(self, prefixes: Iterable[str]) -> None:
        def change(prefix: str, present: bool) -> None:
            if present:
                nodad = ["nodad"] if ":" in prefix else []
                run_ip("address", "replace", prefix, "dev", self.name, *nodad)
            else:
                run_ip("address", "del", prefix, "dev", self.name)

        self._addresses = self._replace(self._addresses, set(prefixes), change)

    def set_routes(self, prefixes: Iterable[str]) -> None:
        def change(prefix: str, present: bool) -> None:
            family = "-6" if ":" in prefix else "-4"
            run_ip(family, "route", "replace" if present else "del", prefix, "dev", self.name)

        self._routes = self._replace(self._routes, set(prefixes), change)

    @staticmethod
    def _replace(present: set[str], wanted: set[str],
                 change: Callable[[str, bool], None]) -> set[str]:
        for prefix in sorted(wanted - present):
            change(prefix, True)
        for prefix in sorted(present - wanted):
            change(prefix, False)
        return wanted

    def read_batch(self) -> list[bytes]:
        packets = []
        try:
            while len(packets) < READ_BATCH_MAX:
                packets.append(os.read(self.fd, PACKET_BYTES_MAX))
        except BlockingIOError:
            pass
        return packets

    def write(self, packet: bytes) -> None:
        try:
            os.write(self.fd, packet)
        except OSError:
            pass  # not an IP packet, or no room: the packet's fault

    def close(self) -> None:
        os.close(self.fd)
