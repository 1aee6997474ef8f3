# SPDX-License-Identifier: Apache-2.0
"""The network that most namespace tests are made in, with a gateway and its clients.

    client ── 192.0.2.0/24 ────┐
              2001:db8:1::/64  │
                             router ── 198.51.100.0/24 ── gateway ── 10.77.0.0/24 ── inner
    client2 ─ 203.0.113.0/24 ──┘       2001:db8:2::/64              fd77::/64
              2001:db8:3::/64

In each network the end nearer to the gateway is .1 (::1), the other .2 (::2), but the gateway is .2 of
its outer one. Router and gateway forward nothing inner by themselves: `inner` is reached through the
tunnel only. The pools are 10.8.0.0/24 and fd08::/64."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from netlab import Lab, Namespace, Process, wait_for  # noqa: F401
from programs import PROGRAM, Client, Gateway  # noqa: F401

PORT = 4433
GATEWAY_OUTER = {4: "198.51.100.2", 6: "2001:db8:2::2"}
ENDPOINT = {4: f"198.51.100.2:{PORT}", 6: f"[2001:db8:2::2]:{PORT}"}
CLIENT_OUTER = [{4: "192.0.2.2", 6: "2001:db8:1::2"}, {4: "203.0.113.2", 6: "2001:db8:3::2"}]
CLIENT_ROUTER = [{4: "192.0.2.1", 6: "2001:db8:1::1"}, {4: "203.0.113.1", 6: "2001:db8:3::1"}]
INNER = {4: "10.77.0.2", 6: "fd77::2"}
GATEWAY_OF_INNER = {4: "10.77.0.1", 6: "fd77::1"}
INNER_NETS = ["10.77.0.0/24", "fd77::/64"]
POOLS = ["10.8.0.0/24", "fd08::/64"]
GATEWAY_INNER = {4: "10.8.0.1", 6: "fd08::1"}
CLIENT_TUN = "mvc"
GATEWAY_TUN = "mvg"
HERE = Path(__file__).resolve().parent
# IP and ICMP headers of a ping: `ping -s SIZE` makes a packet of so many bytes more.
PING_HEADERS = {4: 28, 6: 48}


def family_of(address: str) -> int:
    return 6 if ":" in address else 4


class Network:
    """The namespaces above; the gateway is started by start_gateway(), clients by connect()."""

    def __init__(self, lab: Lab, clients: int = 1):
        self.lab = lab
        self.clients = [lab.namespace("client" if i == 0 else f"client{i + 1}")
                        for i in range(clients)]
        self.client_ns = self.clients[0]
        self.router, self.gateway_ns, self.inner = (
            lab.namespace(name) for name in ("router", "gateway", "inner"))
        for client, own, router in zip(self.clients, CLIENT_OUTER, CLIENT_ROUTER):
            lab.veth(client, self.router, _with_lengths(own), _with_lengths(router))
            client.route("default", via=router[4])
            client.route("::/0", via=router[6])
        lab.veth(self.router, self.gateway_ns, ["198.51.100.1/24", "2001:db8:2::1/64"],
                 _with_lengths(GATEWAY_OUTER))
        self.router.forward()
        self.gateway_ns.route("default", via="198.51.100.1")
        self.gateway_ns.route("::/0", via="2001:db8:2::1")
        lab.veth(self.gateway_ns, self.inner, _with_lengths(GATEWAY_OF_INNER),
                 _with_lengths(INNER))
        self.inner.route("default", via=GATEWAY_OF_INNER[4])
        self.inner.route("::/0", via=GATEWAY_OF_INNER[6])
        self.gateway: Gateway | None = None
        self._made: list[Client] = []

    def make_gateway(self, pools: Sequence[str] = (), routes: Sequence[str] | None = None,
                     listen: str = f"[::]:{PORT}") -> Gateway:
        """`masque-vpn init`, forwarding asked for; not started."""
        pools = pools or POOLS
        if routes is None:
            families = {family_of(pool) for pool in pools}
            routes = [*pools, *(net for net in INNER_NETS if family_of(net) in families)]
        self.gateway = Gateway(self.lab, self.gateway_ns, listen=listen, pools=pools,
                               routes=routes, tun_name=GATEWAY_TUN)
        self.gateway.configure("network", ip_forwarding=True)
        return self.gateway

    def start_gateway(self, **options: Any) -> Gateway:
        gateway = self.make_gateway(**options)
        gateway.start()
        gateway.wait_state("listening")
        return gateway

    def make_client(self, user: str = "alice", index: int = 0, outer: int = 4) -> Client:
        """A new user with a profile, not started."""
        assert self.gateway
        profile = self.gateway.add_user(user, "--endpoint", ENDPOINT[outer],
                                        "--tun-name", CLIENT_TUN)
        return self.adopt(Client(self.lab, self.clients[index], profile))

    def adopt(self, client: Client) -> Client:
        self._made.append(client)
        return client

    def stop_clients(self) -> None:
        """All that make_client() and connect() made, so that a test leaves none to the next."""
        for client in self._made:
            if client.process and client.process.running:
                client.stop()
        self._made.clear()

    def connect(self, user: str = "alice", index: int = 0, outer: int = 4) -> Client:
        client = self.make_client(user, index, outer)
        client.start()
        client.wait_connected()
        return client

    def session(self, user: str = "alice") -> dict[str, Any]:
        """The gateway's view of a user's session; {} when there is none."""
        assert self.gateway
        for session in self.gateway.status().get("sessions", []):
            if session["user"] == user:
                return session
        return {}

    def serve_echo(self, where: Namespace, port: int = 7007) -> Process:
        """TCP and UDP, v4 and v6: what comes in goes back."""
        process = where.start([sys.executable, HERE / "echo.py", str(port)], name="echo")
        process.wait_line("listening", 20)
        return process

    def exchange_udp(self, where: Namespace, address: str, count: int = 500, size: int = 1000,
                     port: int = 7007) -> dict[str, Any]:
        """Datagrams to an echo and back: {"sent", "received", "damaged", "reordered"}."""
        return json.loads(where.run([sys.executable, HERE / "udp_exchange.py", address, str(port),
                                     str(count), str(size)]))

    def start_flow(self, where: Namespace, address: str, size: int = 1000,
                   port: int = 7007) -> "Flow":
        """A TCP connection to an echo that is never idle, until finish()."""
        process = where.start([sys.executable, HERE / "flow.py", address, str(port), str(size)],
                              name="flow")
        process.wait_line("flowing", 20)
        return Flow(process)


class Flow:
    def __init__(self, process: Process):
        self.process = process

    def finish(self, limit: float = 60) -> dict[str, Any]:
        """{"sent", "echoed", "intact", "longest_gap_s"} after all that was sent has come back."""
        if self.process.running:
            self.process.stop(limit)
        reports = self.process.json_lines()
        assert reports, f"the flow broke\n{self.process.tail()}"
        return reports[-1]


@contextlib.contextmanager
def network(name: str, clients: int = 1) -> Iterator[Network]:
    with Lab(name) as lab:
        yield Network(lab, clients)


def _with_lengths(addresses: dict[int, str]) -> list[str]:
    return [f"{addresses[4]}/24", f"{addresses[6]}/64"]


def address_of(client: Client, family: int) -> str:
    """The client's own inner address."""
    for prefix in client.status()["addresses"]:
        if family_of(prefix) == family:
            return prefix.partition("/")[0]
    raise AssertionError(f"no IPv{family} address")


def link_exists(where: Namespace, name: str) -> bool:
    return where.try_run(["ip", "link", "show", "dev", name]).returncode == 0


def link_mtu(where: Namespace, name: str) -> int:
    return json.loads(where.ip("-json", "link", "show", "dev", name))[0]["mtu"]


def network_state(where: Namespace) -> dict[str, str]:
    """All that a program may leave behind in a namespace, as text to compare. Counters, neighbours
    and what ages by itself are left out."""
    def shown(*words: str) -> str:
        text = where.run(words)
        return re.sub(r" (expires|valid_lft|preferred_lft) \S+", "", text)

    # As "sysctl -a" would, but for a host without one of them.
    settings = ("for file in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/src_valid_mark "
                "/proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/*/accept_ra; "
                "do echo $file $(cat $file); done")
    return {
        "links": "\n".join(re.findall(r"^\d+: (\S+):", where.ip("-o", "link", "show"), re.M)),
        # Without the interface numbers at the start of lines, which are never used again.
        "addresses": re.sub(r"^\d+: ", "", shown("ip", "-o", "address", "show"), flags=re.M),
        "routes": shown("ip", "route", "show", "table", "all"),
        "routes6": shown("ip", "-6", "route", "show", "table", "all"),
        "rules": shown("ip", "rule", "show"),
        "rules6": shown("ip", "-6", "rule", "show"),
        "nftables": shown("nft", "list", "ruleset"),
        "settings": where.run(["sh", "-c", settings]),
    }


def control_sockets() -> list[str]:
    """Of the programs that this test process started."""
    directory = Path(os.environ["MASQUE_VPN_RUNTIME_DIR"])
    return sorted(path.name for path in directory.glob("*")) if directory.is_dir() else []


def one_error_line(text: str) -> str:
    """The one line that says what is wrong; more than one, or none, is a failure of the program."""
    lines = [line for line in text.splitlines() if re.search(r"\berror\b", line)]
    assert len(lines) == 1, f"expected one line with an error:\n{text}"
    return lines[0]
