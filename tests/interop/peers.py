# SPDX-License-Identifier: Apache-2.0
"""The two peers as processes in a lab: one interface, two implementations that are not ours.

Both take the same flags and print the same events (aioquic_peer.py lists them)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netlab import Lab, Namespace, Process, wait_for

HERE = Path(__file__).resolve().parent
# Where setup.sh has put them; ctest passes its build directory.
PEERS = Path(os.environ.get("MASQUE_INTEROP_PEERS", HERE.parents[1] / "build" / "interop"))
COMMANDS: dict[str, list[str]] = {
    "go": [str(PEERS / "connect-ip-peer")],
    "python": [str(PEERS / "venv" / "bin" / "python"), str(HERE / "aioquic_peer.py")],
}
EVENT_LIMIT_S = 30.0
FIXED_PATH = "/.well-known/masque/ip/*/*/"


class Peer:
    """A running peer. `kind` is "go" or "python"."""

    def __init__(self, kind: str, mode: str, namespace: Namespace, flags: Sequence[Any],
                 tun: str = "peer0"):
        self.tun = tun
        self.namespace = namespace
        words = [str(flag) for flag in flags]
        self.process: Process = namespace.start(
            [*COMMANDS[kind], mode, "--tun", tun, *words], name=f"{kind}-{mode}")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        return [line for line in self.process.json_lines() if name in (None, line["event"])]

    def wait_event(self, name: str, count: int = 1, limit: float = EVENT_LIMIT_S) -> dict[str, Any]:
        """The count-th event of this name."""
        def found() -> list[dict[str, Any]] | None:
            events = self.events(name)
            return events if len(events) >= count else None

        return wait_for(found, limit, f"event {name} of {self.process.name}",
                        [self.process])[count - 1]

    def prefixes(self) -> list[str]:
        """What it was assigned last, without refusals."""
        return [entry["prefix"] for entry in self.events("addresses")[-1]["prefixes"]
                if not entry["rejected"]]

    def stop(self) -> int:
        return self.process.stop()


def exercise_tunnel(lab: Lab, near: Namespace, far: Namespace, near_addresses: Sequence[str],
                    far_addresses: Sequence[str], megabytes: int = 10) -> None:
    """Ping, then `megabytes` each way over TCP with a checksum, for each pair of addresses."""
    for near_address, far_address in zip(near_addresses, far_addresses, strict=True):
        wait_for(lambda: near.ping(far_address).ok, 10, f"a ping of {far_address}")
        assert near.ping(far_address, count=10).received >= 9
        assert far.ping(near_address, count=3).received >= 2
        size = megabytes * 1_000_000
        up = lab.transfer(near, far, far_address, size)
        down = lab.transfer(far, near, near_address, size)
        print(f"{near_address} <-> {far_address}: up {up.mbit_per_s:.0f} Mbit/s, "
              f"down {down.mbit_per_s:.0f} Mbit/s")
