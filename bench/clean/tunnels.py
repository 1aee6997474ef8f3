# SPDX-License-Identifier: Apache-2.0
"""The tunnels that are measured side by side, each between the same two hosts:

    client ──── 192.0.2.0/24, one veth pair ──── server
      ╰════════════ tunnel, 10.9.0.0/24 ════════════╯

A tunnel starts its server end, then its client end, tells its processes (for CPU and memory) and its
version. The inner address of the server end is where iperf3 and ping go."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
from netlab import Lab, LabError, Namespace, Process, wait_for  # noqa: E402
from programs import PROGRAM, Client, Gateway  # noqa: E402

OUTER_CLIENT, OUTER_SERVER = "192.0.2.1", "192.0.2.2"
PORT = 4433
WIREGUARD_MODULE = "golang.zx2c4.com/wireguard"
WIREGUARD_MTU = 1420  # what wg-quick sets on such a link


class Missing(Exception):
    """This tunnel cannot be had on this machine."""


class Tunnel:
    name = ""
    version = ""
    address = ""  # of the server end, inside

    def __init__(self, lab: Lab, client: Namespace, server: Namespace):
        self.lab, self.client, self.server = lab, client, server

    @classmethod
    def prepare(cls) -> None:
        """Gets the program, once; raises Missing."""

    def start_server(self) -> None:
        """Everything that is there before somebody connects."""

    def start_client(self) -> None:
        """What a user waits for: from here to the first ping is the connection time."""

    def stop(self) -> None:
        pass

    def processes(self) -> tuple[Process, Process] | None:
        """Of the client end and the server end; None when there are none."""
        return None


class Bare(Tunnel):
    """The link itself, for comparison."""
    name = "bare"
    version = "veth"
    address = OUTER_SERVER


class MasqueVpn(Tunnel):
    name = "masque-vpn"
    address = "10.9.0.1"

    @classmethod
    def prepare(cls) -> None:
        done = subprocess.run([PROGRAM, "--version"], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"{PROGRAM} --version: {done.stderr.strip()}")
        cls.version = done.stdout.strip()

    def start_server(self) -> None:
        self.gateway = Gateway(self.lab, self.server, f"{OUTER_SERVER}:{PORT}",
                               ["10.9.0.0/24", "fd09::/64"])
        self.profile = self.gateway.add_user("bench")
        self.gateway.start()
        self.gateway.wait_state("listening")

    def start_client(self) -> None:
        self.end = Client(self.lab, self.client, self.profile)
        self.end.start()

    def stop(self) -> None:
        self.end.stop()
        self.gateway.stop()

    def processes(self) -> tuple[Process, Process]:
        assert self.end.process and self.gateway.process
        return self.end.process, self.gateway.process


class WireGuardGo(Tunnel):
    """The userspace WireGuard of its authors, with the offloads it switches on by itself."""
    name = "wireguard-go"
    address = "10.9.0.1"
    program = Path()
    sockets = Path("/var/run/wireguard")

    @classmethod
    def prepare(cls) -> None:
        go = shutil.which("go")
        if not go:
            raise Missing("no Go toolchain")
        cache = Path(_output([go, "env", "GOPATH"])) / "masque-vpn-bench"
        cls.program = cache / "wireguard"
        if not cls.program.exists():
            print(f"building {WIREGUARD_MODULE}", file=sys.stderr)
            done = subprocess.run([go, "install", f"{WIREGUARD_MODULE}@latest"], check=False,
                                  capture_output=True, text=True,
                                  env={**os.environ, "GOBIN": str(cache), "CGO_ENABLED": "0"})
            if done.returncode != 0:
                raise Missing(f"go install {WIREGUARD_MODULE}: {done.stderr.strip()[-300:]}")
        found = re.search(rf"\tmod\t{re.escape(WIREGUARD_MODULE)}\t(\S+)",
                          _output([go, "version", "-m", str(cls.program)]))
        built = re.search(r": (go\S+)", _output([go, "version", str(cls.program)]))
        cls.version = f"{found[1] if found else '?'}, {built[1] if built else '?'}"

    def __init__(self, lab: Lab, client: Namespace, server: Namespace):
        super().__init__(lab, client, server)
        self.keys = _keypair(), _keypair()
        # One directory for all namespaces: names that no other run uses.
        self.interfaces = f"wgc{os.getpid()}", f"wgs{os.getpid()}"

    def _start(self, where: Namespace, side: int, peer: str, endpoint: str) -> Process:
        interface = self.interfaces[side]
        process = where.start([self.program, "-f", interface], name=f"wireguard-{where.name}")
        control = self.sockets / f"{interface}.sock"
        wait_for(control.exists, 20, "wireguard-go's control socket", [process])
        _configure(control, [f"private_key={self.keys[side][0]}", "listen_port=51820",
                             f"public_key={self.keys[1 - side][1]}",
                             f"allowed_ip={peer}/32", *([f"endpoint={endpoint}"] if endpoint else [])])
        own = "10.9.0.1/24" if side else "10.9.0.2/24"
        where.ip("address", "add", own, "dev", interface)
        where.ip("link", "set", "dev", interface, "mtu", str(WIREGUARD_MTU), "up")
        return process

    def start_server(self) -> None:
        self.server_end = self._start(self.server, 1, "10.9.0.2", "")

    def start_client(self) -> None:
        self.client_end = self._start(self.client, 0, "10.9.0.1", f"{OUTER_SERVER}:51820")

    def stop(self) -> None:
        self.client_end.stop()
        self.server_end.stop()

    def processes(self) -> tuple[Process, Process]:
        return self.client_end, self.server_end


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def _keypair() -> tuple[str, str]:
    """Private and public key in hexadecimal, as WireGuard's control protocol wants them."""
    from cryptography.hazmat.primitives import serialization  # pylint: disable=import-outside-toplevel
    from cryptography.hazmat.primitives.asymmetric import x25519  # pylint: disable=import-outside-toplevel
    key = x25519.X25519PrivateKey.generate()
    raw = serialization.Encoding.Raw
    return (key.private_bytes(raw, serialization.PrivateFormat.Raw,
                              serialization.NoEncryption()).hex(),
            key.public_key().public_bytes(raw, serialization.PublicFormat.Raw).hex())


def _configure(control: Path, lines: list[str]) -> None:
    """WireGuard's cross-platform control protocol: what `wg set` says."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(control))
        connection.sendall(("\n".join(["set=1", *lines]) + "\n\n").encode())
        answer = connection.recv(4096).decode()
    if "errno=0" not in answer:
        raise LabError(f"wireguard-go refused its configuration: {answer}")


TUNNELS: list[type[Tunnel]] = [MasqueVpn, WireGuardGo, Bare]
