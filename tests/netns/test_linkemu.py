# SPDX-License-Identifier: Apache-2.0
"""masque-linkemu between real interfaces: what was asked for is what packets meet.

    left ── (a) middle: masque-linkemu bridge a b (b) ── right

Sockets are made inside the namespaces by this process, which sends and receives itself.
"""

import contextlib
import errno
import json
import os
import select
import socket
import statistics
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netlab import NAMESPACE_DIR, Lab, Namespace, Process, wait_for

VPN = os.environ.get("MASQUE_VPN")
PROGRAM = os.environ.get("MASQUE_LINKEMU") or (
    str(Path(VPN).with_name("masque-linkemu")) if VPN else "masque-linkemu")
LEFT, RIGHT = "192.0.2.1", "192.0.2.2"
LEFT6, RIGHT6 = "2001:db8::1", "2001:db8::2"
PORT = 7000
UDP_SEGMENT = 103
IP_RECVTOS = 13
QUIET_S = 0.3
BUFFER = 16 * 1024 * 1024


class Net:
    def __init__(self, lab: Lab):
        self.lab = lab
        self.left, self.middle, self.right = (lab.namespace(n) for n in ("left", "middle", "right"))
        lab.veth(self.left, self.middle, left=[f"{LEFT}/24", f"{LEFT6}/64"], names=("eth0", "a"))
        lab.veth(self.right, self.middle, left=[f"{RIGHT}/24", f"{RIGHT6}/64"], names=("eth0", "b"))

    @contextlib.contextmanager
    def link(self, *options: str) -> Iterator["Emulator"]:
        emulator = Emulator(self.middle, "bridge", "a", "b", *options)
        try:
            yield emulator
        finally:
            emulator.stop()


class Emulator:
    def __init__(self, where: Namespace, *words: str):
        self.process: Process = where.start([PROGRAM, *words, "--json"], name="linkemu")
        self.process.wait_line("masque-linkemu: ready", 10)
        self.report: dict[str, Any] = {}

    def stop(self) -> dict[str, Any]:
        if not self.report:
            assert self.process.stop() == 0
            self.report = self.process.json_lines()[-1]
        return self.report


@pytest.fixture(name="net", scope="module")
def make_net() -> Iterator[Net]:
    with Lab("linkemu") as lab:
        yield Net(lab)


@contextlib.contextmanager
def inside(where: Namespace) -> Iterator[None]:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(NAMESPACE_DIR / where.full_name, os.O_RDONLY)
    try:
        os.setns(there, os.CLONE_NEWNET)
        yield
    finally:
        os.setns(home, os.CLONE_NEWNET)
        os.close(there)
        os.close(home)


@contextlib.contextmanager
def udp(where: Namespace, bind: str, port: int = 0, family: int = socket.AF_INET
        ) -> Iterator[socket.socket]:
    with inside(where):
        made = socket.socket(family, socket.SOCK_DGRAM)
    with made:
        made.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
        made.setsockopt(socket.SOL_SOCKET, 32, BUFFER)  # SO_SNDBUFFORCE
        made.bind((bind, port))
        yield made


def received(sock: socket.socket, quiet: float = QUIET_S) -> list[bytes]:
    """What comes until nothing came for a while."""
    found = []
    while select.select([sock], [], [], quiet)[0]:
        found.append(sock.recv(65536))
    return found


def numbers(net: Net, count: int, size: int = 200, pause: float = 0.002) -> list[int]:
    """Sends numbered packets from left to right, ten at once; the numbers that arrived, in order."""
    with udp(net.right, RIGHT, PORT) as into, udp(net.left, LEFT) as out:
        for i in range(count):
            out.sendto(struct.pack("!I", i).ljust(size, b"x"), (RIGHT, PORT))
            if i % 10 == 9:
                time.sleep(pause)
        return [struct.unpack("!I", data[:4])[0] for data in received(into)]


def lost_runs(arrived: list[int], count: int) -> list[int]:
    """Lengths of the runs of numbers that did not arrive."""
    runs, here = [], set(arrived)
    for i in range(count):
        if i in here:
            continue
        if i - 1 in here or i == 0:
            runs.append(0)
        runs[-1] += 1
    return runs


def counter(where: Namespace, name: str) -> int:
    """A counter of the kernel's, since the namespace began."""
    text = where.run(["nstat", "-a", "-z", "-s", "-j", name])
    return int(json.loads(text)["kernel"][name])


def test_delay(net: Net) -> None:
    with net.link("--up-delay", "30ms", "--down-delay", "10ms") as emulator:
        for address in (RIGHT, RIGHT6):
            ping = net.left.ping(address, count=20, interval=0.02)
            assert ping.received == 20, ping.output
            assert min(ping.rtt_ms) > 39.7
            assert statistics.median(ping.rtt_ms) < 42
        report = emulator.stop()
    error = report["emulator"]["delay_error_us"]
    assert error["p50"] <= 1000 and error["p50"] <= error["p99"] <= error["max"]
    assert report["up"]["packets"] >= 40 and report["emulator"]["receive_dropped"] == 0


def test_profile_mobile(net: Net) -> None:
    with net.link("--profile", "mobile", "--loss", "0%", "--seed", "5"):
        ping = net.left.ping(RIGHT, count=50, interval=0.02)
    assert ping.received == 50
    assert min(ping.rtt_ms) >= 49.7 and max(ping.rtt_ms) <= 215
    assert statistics.pstdev(ping.rtt_ms) > 3


def test_loss_has_its_share(net: Net) -> None:
    with net.link("--up-loss", "5%", "--seed", "11") as emulator:
        arrived = numbers(net, 5000)
        report = emulator.stop()
    assert abs(5000 - len(arrived) - 250) < 62  # four standard deviations
    assert report["up"]["lost"] == 5000 - len(arrived)
    assert report["down"]["lost"] == 0


def test_bursts_have_their_length(net: Net) -> None:
    with net.link("--up-burst", "3:5%", "--seed", "12") as emulator:
        runs = lost_runs(numbers(net, 5000), 5000)
        report = emulator.stop()
    assert 2.0 < statistics.mean(runs) < 4.0
    assert 120 < sum(runs) < 400 and report["up"]["burst_lost"] == sum(runs)


def test_seed_decides(net: Net) -> None:
    def pattern(seed: str) -> list[int]:
        with net.link("--up-loss", "2%", "--up-burst", "3:2%", "--up-delay", "1ms", "--seed", seed):
            return numbers(net, 1500)

    first = pattern("7")
    assert pattern("7") == first
    assert pattern("8") != first


def test_order(net: Net) -> None:
    with net.link("--delay", "2ms", "--jitter", "20ms"):
        arrived = numbers(net, 1000)
    assert arrived == list(range(1000))
    with net.link("--delay", "2ms", "--jitter", "20ms", "--order", "free") as emulator:
        arrived = numbers(net, 1000)
        report = emulator.stop()
    assert sorted(arrived) == list(range(1000))
    assert sum(1 for a, b in zip(arrived, arrived[1:]) if b < a) > 200
    assert report["up"]["reordered"] > 200


def test_rate_and_queue(net: Net) -> None:
    with net.link("--rate", "20mbit", "--queue", "100ms", "--delay", "5ms") as emulator:
        done = net.lab.transfer(net.left, net.right, RIGHT, 4_000_000)
        report = emulator.stop()
    assert 15 < done.mbit_per_s < 20
    assert report["up"]["wait_max_ms"] <= 100
    # 3 Mbit at once: what is beyond 50 ms at 10 Mbit/s (62,500 bytes) is dropped at the tail.
    with net.link("--up-rate", "10mbit", "--up-queue", "50ms") as emulator:
        arrived = numbers(net, 300, size=1222, pause=0)
        report = emulator.stop()
    assert arrived[:50] == list(range(50))
    assert len(arrived) + report["up"]["queue_dropped"] == 300 and report["up"]["queue_dropped"] > 100


def test_policer(net: Net) -> None:
    with net.link("--up-police", "1mbit:12500") as emulator:
        arrived = numbers(net, 100, size=1222, pause=0)
        report = emulator.stop()
    assert 10 <= len(arrived) < 30 and arrived[:10] == list(range(10))
    assert report["up"]["policed"] == 100 - len(arrived)


def test_trace(net: Net) -> None:
    trace = net.lab.dir / "trace"
    trace.write_text("10\n20\n20\n")  # three packets each 20 ms
    with net.link("--up-trace", str(trace), "--up-queue", "1MB"):
        start = time.monotonic()
        arrived = numbers(net, 60, size=1472, pause=0)
        took = time.monotonic() - start - QUIET_S
    assert arrived == list(range(60))
    assert 0.36 < took < 0.5


def test_mtu(net: Net) -> None:
    with net.link("--mtu", "1300") as emulator:
        assert net.left.ping(RIGHT, size=1272, options=["-M", "do"]).ok
        assert not net.left.ping(RIGHT, size=1273, wait=0.3, options=["-M", "do"]).ok
        assert emulator.stop()["up"]["too_big"] == 1


def test_blackhole_and_changes(net: Net) -> None:
    with net.link("--up-blackhole", "300ms@500ms", "--at", "1.2s", "up-delay=100ms"), \
            udp(net.right, RIGHT, PORT) as into, udp(net.left, LEFT) as out:
        at: dict[int, float] = {}
        sent: dict[int, float] = {}
        for i in range(200):
            sent[i] = time.monotonic()
            out.sendto(struct.pack("!I", i), (RIGHT, PORT))
            time.sleep(0.01)
            while select.select([into], [], [], 0)[0]:
                at[struct.unpack("!I", into.recv(100))[0]] = time.monotonic()
        for data in received(into):
            at[struct.unpack("!I", data)[0]] = time.monotonic()
    gone = [sent[i] for i in range(200) if i not in at]
    assert 0.25 < gone[-1] - gone[0] < 0.35
    assert len(gone) == sum(1 for s in sent.values() if gone[0] <= s <= gone[-1])
    assert all(at[i] - sent[i] >= 0.0995 for i in range(160, 200))


def test_copies(net: Net) -> None:
    with net.link("--up-duplicate", "100%"):
        assert sorted(numbers(net, 50)) == sorted([*range(50), *range(50)])


def test_damage_is_real(net: Net) -> None:
    def errors() -> int:
        return sum(counter(net.right, name) for name in (
            "UdpInCsumErrors", "UdpNoPorts", "IpInHdrErrors", "IpInAddrErrors", "IpInDiscards",
            "IpInUnknownProtos"))

    before = errors()
    with net.link("--up-corrupt", "100%") as emulator:
        assert numbers(net, 200, size=1000) == []
        assert emulator.stop()["up"]["corrupted"] == 200
    assert errors() - before > 150


def test_checksums_and_super_packets(net: Net) -> None:
    """TCP as veth pairs send it: unsegmented, checksums left to the device."""
    names = ("TcpInCsumErrors", "UdpInCsumErrors")
    before = [counter(where, name) for where in (net.left, net.right) for name in names]
    with net.link("--delay", "1ms") as emulator:
        for sender, receiver, address in ((net.left, net.right, RIGHT), (net.right, net.left, LEFT),
                                          (net.left, net.right, RIGHT6)):
            net.lab.transfer(sender, receiver, address, 3_000_000)
        with udp(net.right, RIGHT, PORT) as into, udp(net.left, LEFT) as out:
            out.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
            parts = [bytes([i]) * 1200 for i in range(20)] + [b"end"]
            out.sendto(b"".join(parts), (RIGHT, PORT))
            assert received(into) == parts
        report = emulator.stop()
    assert [counter(where, name) for where in (net.left, net.right) for name in names] == before
    assert report["emulator"]["super_packets"] > 50 and report["emulator"]["unreadable"] == 0
    assert report["up"]["packets"] * 1500 >= report["up"]["bytes"] > 6_000_000


def test_neighbours_are_found_over_a_dead_link(net: Net) -> None:
    for where in (net.left, net.right):
        where.ip("neigh", "flush", "dev", "eth0")
    with net.link("--loss", "100%") as emulator:
        assert not net.left.ping(RIGHT, wait=0.3).ok
        assert not net.left.ping(RIGHT6, wait=0.3).ok
        found = net.left.ip("neigh", "show", "dev", "eth0")
        assert f"{RIGHT} lladdr" in found and f"{RIGHT6} lladdr" in found
        assert emulator.stop()["emulator"]["control"] >= 4


def test_relay(net: Net) -> None:
    where = net.left
    relay = Emulator(where, "relay", "127.0.0.1:7100", "[::1]:7101", "--delay", "20ms",
                     "--flows-max", "2")
    with udp(where, "::1", 7101, socket.AF_INET6) as target, \
            udp(where, "127.0.0.1") as one, udp(where, "127.0.0.1") as two, \
            udp(where, "127.0.0.1") as three:
        target.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 2)  # ECT(0)
        start = time.monotonic()
        for client, word in ((one, b"one"), (two, b"two"), (three, b"three")):
            client.sendto(word, ("127.0.0.1", 7100))
        froms = {}
        for _ in range(2):
            data, control, _, sender = target.recvmsg(100, 100)
            froms[data] = sender
            marks = [struct.unpack("i", c[2])[0] for c in control
                     if c[:2] == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)]
            assert marks == [2 if data == b"one" else 0]
        assert set(froms) == {b"one", b"two"} and froms[b"one"] != froms[b"two"]
        for data, sender in froms.items():
            target.sendto(data.upper(), sender)
        assert one.recv(100) == b"ONE" and two.recv(100) == b"TWO"
        assert 0.0395 < time.monotonic() - start < 0.1
        assert not received(target, 0.1) and not received(three, 0)
        report = relay.stop()
    assert report["mode"] == "relay" and report["emulator"]["flows"] == 2
    assert report["emulator"]["flows_refused"] == 1
    assert report["up"]["packets"] == report["down"]["packets"] == 2


def test_relay_carries_bulk(net: Net) -> None:
    where = net.left
    relay = Emulator(where, "relay", "127.0.0.1:7100", "127.0.0.1:7101", "--delay", "5ms")
    with udp(where, "127.0.0.1", 7101) as target, udp(where, "127.0.0.1") as client:
        client.connect(("127.0.0.1", 7100))
        for i in range(5000):
            client.send(struct.pack("!I", i).ljust(1200, b"x"))
            if i % 50 == 49:
                time.sleep(0.002)
        assert [struct.unpack("!I", d[:4])[0] for d in received(target)] == list(range(5000))
        relay.stop()


@pytest.mark.parametrize("words", [
    [], ["brigde"], ["bridge", "a"], ["bridge", "a", "b", "--loss", "2"],
    ["bridge", "a", "b", "--profile", "none such"], ["relay", "x", "127.0.0.1:1"],
    ["bridge", "a", "b", "--trace", "/nonexistent"],
])
def test_wrong_usage_is_one_line(net: Net, words: list[str]) -> None:
    done = net.middle.try_run([PROGRAM, *words])
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("masque-linkemu: ") and done.stderr.count("\n") == 1


def test_missing_interface(net: Net) -> None:
    done = net.middle.try_run([PROGRAM, "bridge", "a", "none"])
    assert done.returncode == 1 and "none" in done.stderr and done.stderr.count("\n") == 1
    assert os.strerror(errno.ENODEV) in done.stderr


def test_reports(net: Net) -> None:
    stats = net.lab.dir / "stats"
    with net.link("--stats-file", str(stats), "--interval", "100ms", "--run-for", "1s",
                  "--up-profile", "dsl") as emulator:
        net.left.ping(RIGHT)
        assert emulator.process.wait(5) == 0
    lines = [json.loads(line) for line in stats.read_text().splitlines()]
    assert 5 <= len(lines) <= 10 and lines[-1]["up"]["packets"] >= 1
    assert emulator.report["elapsed_s"] == pytest.approx(1, abs=0.2)
    assert emulator.report["up"]["profile"] == "dsl"
    assert emulator.report["down"]["profile"] == "clean"
    assert "up: " in emulator.process.err()


def test_profiles_are_listed(net: Net) -> None:
    listed = json.loads(net.middle.run([PROGRAM, "profiles", "--json"]))
    names = {profile["name"]: profile for profile in listed}
    assert {"clean", "mobile", "mobile-bursts", "lte", "wifi-busy", "starlink", "satellite", "hotel",
            "dsl", "3g"} <= set(names)
    assert names["mobile"]["up"]["loss_share"] == 0.02
    text = net.middle.run([PROGRAM, "profiles"])
    assert [line.split()[0] for line in text.splitlines()] == list(names)
