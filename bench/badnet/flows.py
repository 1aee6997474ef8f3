# SPDX-License-Identifier: Apache-2.0
"""What goes through a tunnel, one flow at a time, and what of it is counted: a dict of numbers by
name, and series for the plots. `up` is from the client to the server."""

import array
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import Tunnel

from netlab import LabError, Process, wait_for

HERE = Path(__file__).resolve().parent
SIDES = ("up", "down")
START_S = 1.0  # until both ends of a UDP flow are there
STEADY_S = 10  # when TCP counts as steady
PORT = 6000
GRACE_S = 60


@dataclass
class Result:
    values: dict[str, float] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One flow through one started tunnel."""
    tunnel: Tunnel
    inner_client: str
    seed: int
    seconds: int


def percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def jitter(arrivals: list[tuple[int, int]]) -> float:
    """RFC 3550 6.4.1, in milliseconds at the end of the flow: (sent, came) in order of arrival.
    Its mean over the flow, as one end value hangs on the last 16 packets."""
    value, total = 0.0, 0.0
    for (sent, came), (sent_next, came_next) in zip(arrivals, arrivals[1:]):
        value += (abs((came_next - came) - (sent_next - sent)) / 1e6 - value) / 16
        total += value
    return total / max(1, len(arrivals) - 1)


def udp_values(records: list[tuple[int, int, int]], sent: int) -> dict[str, float]:
    seen = {number for number, _, _ in records}
    values = {"sent": sent, "loss_percent": 100 * (1 - len(seen) / sent) if sent else 0.0,
              "duplicates": len(records) - len(seen)}
    if records:
        delays = sorted((came - left) / 1e6 for _, left, came in records)
        values |= {f"delay_p{p}_ms": percentile(delays, p) for p in (1, 50, 95, 99)}
        values["delay_max_ms"] = delays[-1]
        values["jitter_ms"] = jitter([(left, came) for _, left, came in records])
    return values


def bursts_values(records: list[tuple[int, int, int]], sent: int, seed: int,
                  seconds: int) -> dict[str, float]:
    """How long a part of the screen took: from its first packet's sending to its last arrival."""
    from packets import plan  # pylint: disable=import-outside-toplevel
    groups: dict[float, list[int]] = {}
    for number, (at, _) in enumerate(plan("desktop", seed, seconds)):
        groups.setdefault(at, []).append(number)
    by_number = {number: (left, came) for number, left, came in records}
    whole = []
    for numbers in groups.values():
        got = [by_number[number] for number in numbers if number in by_number]
        if len(got) == len(numbers):
            whole.append((max(came for _, came in got) - min(left for left, _ in got)) / 1e6)
    whole.sort()
    values = {"bursts_whole_percent": 100 * len(whole) / len(groups)}
    if whole:
        values |= {"burst_p50_ms": percentile(whole, 50), "burst_p99_ms": percentile(whole, 99)}
    return values


class UdpFlow:
    """Both ends send and receive by the same plan."""

    def __init__(self, run: Run, plan: str):
        self.run, self.plan = run, plan
        self.start = time.time() + START_S
        tunnel = run.tunnel
        self.files = {side: tunnel.lab.dir / f"{plan}-{side}.records" for side in SIDES}
        ends = ((tunnel.client, run.inner_client, tunnel.address, self.files["down"], 0),
                (tunnel.server, tunnel.address, run.inner_client, self.files["up"], 1))
        self.processes: list[Process] = [
            where.start([sys.executable, HERE / "packets.py", local, remote, str(PORT), plan,
                         str(run.seed * 2 + which), repr(self.start), str(run.seconds), file],
                        name=f"{plan}-{where.name}")
            for where, local, remote, file, which in ends]

    def finish(self) -> Result:
        result = Result()
        for process in self.processes:
            if process.wait(self.run.seconds + GRACE_S) != 0:
                raise LabError(f"{process.name} failed\n{process.tail()}")
        for which, (side, process) in enumerate(zip(SIDES, self.processes)):
            told = process.json_lines()[-1]
            words = array.array("q", self.files[side].read_bytes())
            records = list(zip(words[::3], words[1::3], words[2::3]))
            values = udp_values(records, int(told["sent"]))
            values["sender_behind_max_ms"] = told["behind_max_ms"]
            if self.plan == "desktop":
                values |= bursts_values(records, int(told["sent"]), self.run.seed * 2 + which,
                                        self.run.seconds)
            result.values |= {f"{side}_{key}": value for key, value in values.items()}
            result.series[side] = [(round(left / 1e9 - self.start, 3), round((came - left) / 1e6, 2))
                                   for _, left, came in records]
        return result


def udp(plan: str) -> Callable[[Run], Result]:
    return lambda run: UdpFlow(run, plan).finish()


class Bulk:
    """iperf3; what is counted is what the receiver got."""

    def __init__(self, run: Run, side: str, seconds: int, streams: int = 1, congestion: str = "cubic"):
        tunnel = run.tunnel
        self.side, self.seconds = side, seconds
        self.listening = tunnel.server.start(["iperf3", "--server", "--one-off", "--json"],
                                             name="iperf3-server")
        wait_for(lambda: tunnel.server.run(["ss", "-Hltn", "sport", "=", ":5201"]).strip(), 20,
                 "iperf3 to listen", [self.listening])
        self.sending = tunnel.client.start(
            ["iperf3", "--client", tunnel.address, "--json", "--congestion", congestion, "--parallel",
             str(streams), "--time", str(seconds), *(["--reverse"] if side == "down" else [])],
            name="iperf3-client")

    def finish(self) -> Result:
        try:
            self.sending.wait(self.seconds + GRACE_S)
            report = json.loads(self.sending.out() or "{}")
            if "error" in report or not report.get("end"):
                raise LabError(f"iperf3: {report.get('error', 'no report')}")
            retransmits = report["end"]["sum_sent"].get("retransmits", 0)
            if self.side == "up":
                self.listening.wait(GRACE_S)
                report = json.loads(self.listening.out())
        finally:
            self.sending.kill()
            self.listening.kill()
        seconds = [(i["sum"]["start"], i["sum"]["bits_per_second"] / 1e6, i["sum"]["bytes"])
                   for i in report["intervals"]]
        steady = [rate for start, rate, _ in seconds if start >= STEADY_S - 0.5]
        total = sum(amount for _, _, amount in seconds)
        values = {"mean_mbit_per_s": total * 8 / 1e6 / self.seconds, "retransmits": retransmits}
        if steady:
            values["steady_mbit_per_s"] = statistics.fmean(steady)
        return Result({f"{self.side}_{key}": value for key, value in values.items()},
                      {self.side: [(round(start, 1), round(rate, 2)) for start, rate, _ in seconds]})


def tcp(streams: int, congestion: str = "cubic") -> Callable[[Run], Result]:
    """Up, then down: the other direction has nothing but acknowledgements."""
    def measure(run: Run) -> Result:
        result = Result()
        for side in SIDES:
            part = Bulk(run, side, run.seconds, streams, congestion).finish()
            result.values |= part.values
            result.series |= part.series
        return result
    return measure


def voice_beside_bulk(side: str) -> Callable[[Run], Result]:
    """A call while a file goes one way; the call is counted from when TCP has got going."""
    def measure(run: Run) -> Result:
        lead = min(3, run.seconds)
        bulk = Bulk(run, side, run.seconds + lead + 4)
        time.sleep(lead)
        result = UdpFlow(run, "voice").finish()
        result.values |= {f"bulk_{key}": value for key, value in bulk.finish().values.items()}
        return result
    return measure


def page(run: Run) -> Result:
    tunnel = run.tunnel
    program = [sys.executable, HERE / "page.py"]
    serving = tunnel.server.start([*program, "serve", tunnel.address, "8080"], name="page-server")
    try:
        serving.wait_line("listening", 20)
        times = json.loads(tunnel.client.run(
            [*program, "load", tunnel.address, "8080", str(run.seconds)], limit=run.seconds + 90))
    finally:
        serving.kill()
    return Result({"loads": len(times), "load_median_ms": statistics.median(times),
                   "load_max_ms": max(times)})


@dataclass(frozen=True)
class Flow:
    measure: Callable[[Run], Result]
    # Tunnels that are measured at the same time, each on a link of its own: as many as leave the
    # processor idle for half of the time.
    at_once: int


# In the order of the report.
FLOWS: dict[str, Flow] = {
    "voice": Flow(udp("voice"), 8),
    "video": Flow(udp("video"), 4),
    "desktop": Flow(udp("desktop"), 4),
    "udp-5": Flow(udp("udp-5"), 4),
    "udp-30": Flow(udp("udp-30"), 1),
    "tcp-1": Flow(tcp(1), 2),
    "tcp-1-bbr": Flow(tcp(1, "bbr"), 1),
    "tcp-4": Flow(tcp(4), 2),
    "voice-bulk-up": Flow(voice_beside_bulk("up"), 2),
    "voice-bulk-down": Flow(voice_beside_bulk("down"), 2),
    "page": Flow(page, 4),
}
QUICK_FLOWS = ("voice", "tcp-1", "page")
