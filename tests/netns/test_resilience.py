# SPDX-License-Identifier: Apache-2.0
"""The path layer as its operator sees it: `status` of both ends and `watch`, over a link that loses.

    client ── a [ masque-linkemu: 20 ms, 10 ms of jitter, 5 % lost ] b ── gateway
      ╰══════════════════════════ tunnel ═══════════════════════════════════╯
"""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netlab import Lab, wait_for
from programs import PROGRAM, Client, Gateway
from test_linkemu import Emulator, udp

OUTER_CLIENT, OUTER_GATEWAY = "192.0.2.1", "192.0.2.2"
INNER_GATEWAY = "10.8.0.1"
SECONDS = 8.0
VOICE, BULK = 6000, 6001


class Net:
    def __init__(self, lab: Lab):
        self.lab = lab
        self.client_ns, middle, self.gateway_ns = (
            lab.namespace(name) for name in ("client", "link", "gateway"))
        lab.veth(self.client_ns, middle, [f"{OUTER_CLIENT}/24"], names=("eth0", "a"))
        lab.veth(self.gateway_ns, middle, [f"{OUTER_GATEWAY}/24"], names=("eth0", "b"))
        self.link = Emulator(middle, "bridge", "a", "b", "--delay", "20ms", "--jitter", "10ms",
                             "--loss", "5%", "--seed", "4")
        self.gateway = Gateway(lab, self.gateway_ns, f"{OUTER_GATEWAY}:4433", ["10.8.0.0/24"])
        self.client = Client(lab, self.client_ns, self.gateway.add_user("alice"))
        for end in (self.gateway, self.client):
            end.configure("resilience", mode="auto")
        self.gateway.start()
        self.gateway.wait_state("listening")
        self.client.start()
        status = self.client.wait_connected()
        self.inner_client = status["addresses"][0].partition("/")[0]
        assert self.client_ns.ping(INNER_GATEWAY, count=5).ok

    def flow(self, seconds: float) -> None:
        """Both ways: 200 bytes each 20 ms, as calls have them, and 1.6 Mbit/s of large packets."""
        with contextlib.ExitStack() as stack:
            ends = [(stack.enter_context(udp(self.client_ns, self.inner_client, port)),
                     stack.enter_context(udp(self.gateway_ns, INNER_GATEWAY, port)), port)
                    for port in (VOICE, BULK)]
            start, tick = time.monotonic(), 0
            while tick < seconds * 200:
                time.sleep(max(0.0, start + tick * 0.005 - time.monotonic()))
                for client, gateway, port in ends:
                    if port == BULK or tick % 4 == 0:
                        data = bytes(1000 if port == BULK else 200)
                        client.sendto(data, (INNER_GATEWAY, port))
                        gateway.sendto(data, (self.inner_client, port))
                tick += 1

    def session(self) -> dict[str, Any]:
        return self.gateway.status()["sessions"][0]


@pytest.fixture(name="net", scope="module")
def network_that_loses() -> Iterator[Net]:
    with Lab("resilience") as lab:
        yield Net(lab)


def lost_for_good(its: dict[str, Any]) -> int:
    return its["abandoned"] - its["late"]


def plausible(session: dict[str, Any], earlier: dict[str, Any]) -> None:
    path = session["resilience"]
    assert (path["mode"], path["code"]) == ("auto", "sliding-window")
    assert 40 <= path["rtt_ms"] < 200 and path["hold_ms"] > 0
    for name, least in (("realtime", 200), ("bulk", 800)):
        its = path[name]
        assert its["delivered"] > least and its["packets_sent"] > least
        for seen in (its, its["at_peer"]):
            assert 0.02 < seen["loss_before"] < 0.10, (name, seen)
            assert seen["recovered"] > 0
        # What was lost before the layer knew the link does not count.
        gone = lost_for_good(its) - lost_for_good(earlier["resilience"][name])
        came = its["delivered"] - earlier["resilience"][name]["delivered"]
        assert gone <= came * 0.02, (name, its)
        assert 0 < its["overhead"] < 0.8
    realtime = path["realtime"]
    assert realtime["jitter_before_ms"] > 1
    assert realtime["jitter_after_ms"] < realtime["jitter_before_ms"] / 2
    release = path["release"]
    assert release["packets"] > 200 and 0 < release["target_ms"] <= 100
    assert release["late"] < release["packets"] / 20
    classes = session["classes"]
    assert classes["realtime"]["by_pace"] > 200 and classes["bulk"]["packets"] > 800


def test_figures_of_both_ends_and_watch_agree(net: Net) -> None:
    net.flow(2)
    before, gateway_before = net.client.status(), net.session()
    watching = net.client_ns.start([PROGRAM, "watch", "-c", net.client.config, "--json",
                                    "--interval", "500"], name="watch")
    wait_for(watching.json_lines, 10, "the first line of watch", [watching])
    net.flow(SECONDS)
    count = len(watching.json_lines())
    wait_for(lambda: len(watching.json_lines()) > count + 2, 10, "what comes late", [watching])
    watching.signal(signal.SIGINT)
    watching.wait(10)
    status = net.client.status()
    plausible(status, before)
    plausible(net.session(), gateway_before)

    points = [line["sessions"][0] for line in watching.json_lines()]
    points = [point for point in points if "received" in point]
    assert len(points) >= SECONDS
    after = status["resilience"]
    for name in ("realtime", "bulk"):
        for direction, member in (("received", "delivered"), ("sent", "packets_sent")):
            told = sum(point[direction][name]["packets"] for point in points)
            grown = after[name][member] - before["resilience"][name][member]
            assert 0.9 * grown - 20 <= told <= 1.1 * grown + 20, (name, direction)
    assert any(point["received"]["bulk"]["loss_before"] > 0 for point in points)
    assert any(point["jitter_before_ms"] > 1 for point in points if "jitter_before_ms" in point)
    assert max(point["up_bit_s"] for point in points) > 1e6


def test_text_tells_of_both_classes(net: Net) -> None:
    for end in (net.client, net.gateway):
        text = end.run("status")
        for words in ("resilience   auto, sliding-window", "sent         real time",
                      "received     bulk", "release      real time"):
            assert words in text, text


class Screen:
    """A terminal with `masque-vpn watch` on it."""

    def __init__(self, net: Net):
        self.master, self.slave = pty.openpty()
        self.resize(100, 30)
        self.before = termios.tcgetattr(self.slave)
        slave = self.slave
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
            [PROGRAM, "watch", "-c", str(net.client.config), "--interval", "200"], stdin=slave,
            stdout=slave, stderr=slave, env={**os.environ, "LC_ALL": "C.UTF-8"},
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(slave, termios.TIOCSCTTY, 0)))
        self.seen = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, quiet: float = 0.05) -> str:
        while select.select([self.master], [], [], quiet)[0]:
            self.seen += os.read(self.master, 1 << 16).decode(errors="replace")
        return self.seen

    def wait(self, text: str) -> None:
        wait_for(lambda: text in self.read(), 10, f"{text!r} on the screen")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture(name="screen")
def screen_with_watch(net: Net) -> Iterator[Screen]:
    screen = Screen(net)
    yield screen
    screen.close()


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM])
def test_watch_draws_and_gives_the_terminal_back(screen: Screen, end: str | signal.Signals) -> None:
    screen.wait("overhead out")
    screen.wait("▁")
    assert termios.tcgetattr(screen.slave) != screen.before
    frames = screen.read().count("\x1b[H")
    screen.resize(50, 8)
    wait_for(lambda: screen.read().count("\x1b[H") > frames + 2, 10, "frames of the new size")
    last = screen.seen.split("\x1b[H")[-1]
    assert last.count("\r\n") < 8 and "max" not in last
    if isinstance(end, str):
        os.write(screen.master, end.encode())
    else:
        screen.process.send_signal(end)
    wait_for(lambda: screen.read() and screen.process.poll() is not None, 10, "its end")
    assert screen.process.returncode == 0
    assert screen.read().startswith("\x1b[?1049h")
    assert screen.seen.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert termios.tcgetattr(screen.slave) == screen.before


def test_watch_goes_on_after_a_restart(net: Net) -> None:
    watching = net.client_ns.start([PROGRAM, "watch", "-c", net.client.config, "--json",
                                    "--interval", "200"], name="watch")
    wait_for(watching.json_lines, 10, "the first line of watch", [watching])
    net.client.stop()
    wait_for(lambda: watching.json_lines()[-1]["state"] == "gone", 10, "gone", [watching])
    net.client.start()
    net.client.wait_connected()
    wait_for(lambda: any(line.get("restarted") for line in watching.json_lines()), 10,
             "the restart", [watching])
    wait_for(lambda: watching.json_lines()[-1]["state"] == "connected", 10, "connected", [watching])
    assert "the service was restarted" in watching.err()
    watching.kill()
