# SPDX-License-Identifier: Apache-2.0
"""What is measured of a tunnel, each once a repetition: a dict of numbers by name.

CPU seconds are user and system time of both ends' processes together, from /proc/PID/stat; `machine`
adds all that the whole machine did (iperf3, kernel threads), from /proc/stat."""

import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tunnels import Tunnel

from netlab import LabError, Process

HERE = Path(__file__).resolve().parent
GB = 1e9
CONNECT_LIMIT_S = 30
SETTLE_S = 1.0  # for the path MTU search, the same for each tunnel


@dataclass(frozen=True)
class Sizes:
    seconds: int
    pings: int

    @staticmethod
    def full() -> "Sizes":
        return Sizes(seconds=8, pings=2000)

    @staticmethod
    def quick() -> "Sizes":
        return Sizes(seconds=2, pings=300)


def percentile(values: list[float], percent: float) -> float:
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def cpu_seconds(process: Process) -> float:
    """With children that it has waited for."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """Busy time of all cores: all but idle and waiting for disks."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def memory_mib(process: Process, key: str) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    return math.nan


class Costs:
    """What the ends and the machine used between its making and per_gb()."""

    def __init__(self, tunnel: Tunnel):
        self._ends = tunnel.processes() or ()
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        return sum(cpu_seconds(end) for end in self._ends), machine_seconds()

    def per_gb(self, received: float) -> dict[str, float]:
        used = [now - before for now, before in zip(self._now(), self._before)]
        return {"cpu_s_per_gb": used[0] / (received / GB),
                "machine_s_per_gb": used[1] / (received / GB)} if received else {}


class Measurement:
    """One repetition of one tunnel, which is started by connect()."""

    def __init__(self, tunnel: Tunnel, sizes: Sizes):
        self.tunnel = tunnel
        self.sizes = sizes
        self.values: dict[str, float] = {}

    def run(self) -> dict[str, float]:
        self.connect()
        self.memory("start")
        self.ping("idle")
        for name, options in (("tcp_up", []), ("tcp_down", ["--reverse"])):
            self.tcp(f"{name}_cubic", ["--congestion", "cubic", *options])
            self.tcp(f"{name}_default", options)
        for rate in (200, 500):
            self.udp(f"udp1200_{rate}", 1200, f"{rate}M")
        self.udp("udp100", 100, "0")
        self.ping_under_load()
        self.memory("end")
        return self.values

    def connect(self) -> None:
        """From the start of the client's process to the first answer to a ping through it."""
        self.tunnel.start_server()
        waiting = self.tunnel.client.start(
            [sys.executable, HERE / "first_reply.py", self.tunnel.address], name="first-reply")
        waiting.wait_line("ready", 20)
        started = time.monotonic()
        self.tunnel.start_client()
        if waiting.wait(CONNECT_LIMIT_S) != 0:
            raise LabError(f"{self.tunnel.name} never answered\n{waiting.tail()}")
        if self.tunnel.processes():
            self.values["connect_ms"] = (float(waiting.out().split()[-1]) - started) * 1000
        time.sleep(SETTLE_S)

    def memory(self, when: str) -> None:
        if ends := self.tunnel.processes():
            for side, end in zip(("client", "server"), ends):
                self.values[f"rss_{when}_{side}_mib"] = memory_mib(end, "VmRSS")

    def _iperf3(self, arguments: list[str]) -> dict:
        server = self.tunnel.server.start(["iperf3", "--server", "--one-off", "--forceflush"],
                                          name="iperf3-server")
        try:
            server.wait_line("Server listening", 20)
            return json.loads(self.tunnel.client.run(
                ["iperf3", "--client", self.tunnel.address, "--json", "--time",
                 str(self.sizes.seconds), *arguments], limit=self.sizes.seconds + 60))
        finally:
            server.kill()

    def tcp(self, name: str, arguments: list[str]) -> None:
        costs = Costs(self.tunnel)
        end = self._iperf3(arguments)["end"]
        received = end["sum_received"]
        self.values[f"{name}_mbit_per_s"] = received["bits_per_second"] / 1e6
        self.values[f"{name}_retransmits"] = end["sum_sent"].get("retransmits", math.nan)
        for key, value in costs.per_gb(received["bytes"]).items():
            self.values[f"{name}_{key}"] = value

    def udp(self, name: str, size: int, rate: str) -> None:
        costs = Costs(self.tunnel)
        end = self._iperf3(["--udp", "--length", str(size), "--bitrate", rate])["end"]
        received = end.get("sum_received") or end["sum"]
        packets = received["packets"] - received["lost_packets"]
        self.values[f"{name}_loss_percent"] = received["lost_percent"]
        self.values[f"{name}_kpps"] = packets / received["seconds"] / 1e3
        self.values[f"{name}_mbit_per_s"] = packets * size * 8 / received["seconds"] / 1e6
        for key, value in costs.per_gb(packets * size).items():
            self.values[f"{name}_{key}"] = value

    def ping(self, name: str, count: int | None = None) -> None:
        reply = self.tunnel.client.ping(self.tunnel.address, count=count or self.sizes.pings,
                                        interval=0.002)
        self.values[f"ping_{name}_p50_ms"] = percentile(reply.rtt_ms, 50)
        self.values[f"ping_{name}_p99_ms"] = percentile(reply.rtt_ms, 99)
        self.values[f"ping_{name}_loss_percent"] = 100 * (1 - reply.received / reply.sent)

    def ping_under_load(self) -> None:
        """One TCP stream upwards (cubic) for as long as the pings last."""
        server = self.tunnel.server.start(["iperf3", "--server", "--one-off", "--forceflush"],
                                          name="iperf3-server")
        server.wait_line("Server listening", 20)
        load = self.tunnel.client.start(
            ["iperf3", "--client", self.tunnel.address, "--congestion", "cubic", "--time", "120"],
            name="iperf3-load")
        try:
            time.sleep(1)
            self.ping("loaded")
        finally:
            load.kill()
            server.kill()
