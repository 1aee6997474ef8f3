# SPDX-License-Identifier: Apache-2.0
"""What both programs tell the service manager (sd_notify), from its end of NOTIFY_SOCKET.

    client ── router ── gateway ── inner
      ╰══════ tunnel ═══════╯
"""

import os
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent import futures

import pytest

from netlab import NAMESPACE_DIR, Namespace
from networks import (CLIENT_TUN, GATEWAY_TUN, PORT, Network, Process, link_exists, link_mtu,
                      network)
from programs import Program

TOLD_LIMIT_S = 10.0
CONNECT_LIMIT_S = 40.0
SILENCE_S = 2.0
READY, RELOADING, STOPPING = "READY=1", "RELOADING=1", "STOPPING=1"
WATCHDOG, WATCHDOG_S = "WATCHDOG=1", 2.0
KINDS = (READY, RELOADING, STOPPING)


class Manager:
    """`address` is a path, or @name, which is one of the namespace `where`."""

    def __init__(self, address: str, where: Namespace):
        self.address = address
        self.told: list[str] = []
        # In a thread that ends in there: names without a file are a namespace's own.
        with futures.ThreadPoolExecutor() as thread:
            self.socket = thread.submit(self._made_in, where).result()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(address.replace("@", "\0"))

    @staticmethod
    def _made_in(where: Namespace) -> socket.socket:
        with (NAMESPACE_DIR / where.full_name).open(encoding="utf-8") as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}

    def hear(self, process: Process, limit: float) -> str:
        """The next message of the process; "" when there is none within the time."""
        self.socket.settimeout(limit)
        try:
            data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        except (BlockingIOError, TimeoutError):
            return ""
        # systemd believes the main process only.
        assert struct.unpack("3i", ancillary[0][2])[0] == process.pid
        self.told.append(data.decode())
        return self.told[-1]

    def wait(self, kind: str, process: Process, limit: float = TOLD_LIMIT_S) -> str:
        """Until the process tells this; nothing else but its status may come before."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            message = self.hear(process, max(0.01, deadline - time.monotonic()))
            lines = message.split("\n")
            if kind in lines:
                return message
            assert not set(lines) & set(KINDS), f"{message!r} instead of {kind}"
        raise AssertionError(f"{kind} did not come: {self.told}\n{process.tail()}")

    def rest(self, process: Process) -> list[str]:
        """What is told within some seconds."""
        deadline = time.monotonic() + SILENCE_S
        rest = []
        while (left := deadline - time.monotonic()) > 0:
            rest.append(self.hear(process, left))
        return rest


@pytest.fixture(name="net", scope="module")
def network_with_a_gateway() -> Iterator[Network]:
    with network("manager") as net:
        net.make_gateway()
        net.client = net.make_client()
        yield net


@pytest.fixture(name="manager", params=["path", "abstract"])
def manager_of_either_kind(request, net, tmp_path):
    """A function: the manager of a namespace."""
    made = []

    def make(where: Namespace) -> Manager:
        made.append(Manager(str(tmp_path / "notify") if request.param == "path"
                            else f"@masque-vpn-test-{os.getpid()}", where))
        return made[-1]

    yield make
    for manager in made:
        manager.socket.close()
    for program in (net.client, net.gateway):
        if program.process:
            program.process.kill()


def keep_alive(manager: Manager, process: Process) -> None:
    """Signs of life come in time while the loop turns, and stop with it."""
    for _ in range(3):
        manager.wait(WATCHDOG, process)
    process.signal(signal.SIGSTOP)
    manager.rest(process)
    assert not [message for message in manager.rest(process) if message]
    process.signal(signal.SIGCONT)
    manager.wait(WATCHDOG, process)


def reload_and_stop(manager: Manager, program: Program, interface: str) -> None:
    """From the first READY=1 on it is the same for both ends."""
    process = program.process
    program.reload()
    reloading = manager.wait(RELOADING, process)
    assert re.search(r"^MONOTONIC_USEC=\d+$", reloading, re.M)
    assert "STATUS=reloaded" in manager.wait(READY, process)
    assert link_exists(program.namespace, interface)
    process.signal(signal.SIGTERM)
    manager.wait(STOPPING, process)
    assert process.wait(TOLD_LIMIT_S) == 0
    assert not [message for message in manager.rest(process) if set(message.split("\n")) & set(KINDS)]


def test_a_gateway_is_ready_when_it_listens(net, manager):
    gateway, heard = net.gateway, manager(net.gateway_ns)
    gateway.configure("", mtu=None)
    Program.start(gateway, heard.environment())
    ready = heard.wait(READY, gateway.process)
    assert f"STATUS=listening on [::]:{PORT}" in ready
    # At this moment, not some time later.
    assert gateway.status()["state"] == "listening"
    assert net.gateway_ns.run(["ss", "-Hlun", f"sport = :{PORT}"]).strip()
    assert link_exists(net.gateway_ns, GATEWAY_TUN)
    gateway.configure("", mtu=1300)
    gateway.reload()
    heard.wait(RELOADING, gateway.process)
    heard.wait(READY, gateway.process)
    keep_alive(heard, gateway.process)
    assert link_mtu(net.gateway_ns, GATEWAY_TUN) == 1300
    reload_and_stop(heard, gateway, GATEWAY_TUN)


def test_a_gateway_without_its_port_is_never_ready(net, manager):
    gateway, heard = net.gateway, manager(net.gateway_ns)
    taken = net.gateway_ns.start(["python3", "-uc", (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        f"s.bind(('::', {PORT})); print('bound'); time.sleep(60)")], name="taken")
    taken.wait_line("bound", 10)
    try:
        process = Program.start(gateway, heard.environment())
        assert process.wait(TOLD_LIMIT_S) != 0
        assert not [message for message in heard.rest(process) if READY in message]
    finally:
        taken.kill()


def test_a_client_is_ready_when_it_is_connected(net, manager):
    client, heard = net.client, manager(net.client_ns)
    process = client.start(heard.environment())
    assert not [message for message in heard.rest(process) if READY in message]
    assert client.status()["state"] == "connecting"
    net.gateway.start()
    ready = heard.wait(READY, process, CONNECT_LIMIT_S)
    assert "STATUS=connected to " in ready
    status = client.status()
    assert status["state"] == "connected"
    assert set(status["addresses"]) == set(net.client_ns.addresses(CLIENT_TUN))
    keep_alive(heard, process)
    reload_and_stop(heard, client, CLIENT_TUN)
