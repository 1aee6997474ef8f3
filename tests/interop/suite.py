# SPDX-License-Identifier: Apache-2.0
"""What masque-vpn and a peer that is not ours do together; test_interop_go.py and
test_interop_python.py run it with their peer (fixture `kind`).

    client ---- 192.0.2.0/24, 2001:db8:ff::/64 ---- gateway ---- 10.88.0.0/24, fd88::/64 ---- inside
                          |<- tunnel: 10.9.0.0/24, fd09::/64 ->|

In the first half the peer is the client of our gateway, in the second ours is the client of its
proxy."""

import json
import re
import signal
from collections.abc import Callable

import pytest

from certificates import CertificateAuthority
from conftest import GATEWAY_OUTER
from netlab import Lab, Namespace, wait_for
from peers import FIXED_PATH, Peer, exercise_tunnel
from programs import Client, Gateway, profile_identity

NAME = "vpn.example"
PORT = 4433
URI = f"https://{NAME}:{PORT}{FIXED_PATH}"
POOLS = ["10.9.0.0/24", "fd09::/64"]
GATEWAY_INNER = ["10.9.0.1", "fd09::1"]
INSIDE = ["10.88.0.2", "fd88::2"]
ROUTES = [*POOLS, "10.88.0.0/24", "fd88::/64"]
NOTICE_LIMIT_S = 5.0


def endpoint(address: str) -> str:
    return f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"


class OurGateway:
    """Our gateway with a network behind it and a user `alice`."""

    def __init__(self, lab: Lab, hosts: tuple[Namespace, Namespace], outer: str = GATEWAY_OUTER[0],
                 auth: str = "certificate", **user_options: str):
        self.lab = lab
        self.client, self.host = hosts
        self.inside = lab.namespace("inside")
        lab.veth(self.host, self.inside, ["10.88.0.1/24", "fd88::1/64"],
                 [f"{INSIDE[0]}/24", f"{INSIDE[1]}/64"])
        self.inside.route("default", via="10.88.0.1")
        self.inside.route("default", via="fd88::1")
        self.host.forward()
        self.outer = outer
        self.gateway = Gateway(lab, self.host, endpoint(outer), POOLS, NAME, ROUTES)
        if auth != "certificate":
            text = self.gateway.config.read_text()
            self.gateway.config.write_text(text.replace('mode = "certificate"', f'mode = "{auth}"'))
        options = [word for name, value in user_options.items() for word in (f"--{name}", value)]
        self.profile = self.gateway.add_user("alice", *options)
        self.gateway.start()

    def peer(self, kind: str, *flags: str, uri: str = URI,
             credentials: str = "certificate") -> Peer:
        ca, certificate, key = profile_identity(self.profile, self.lab.dir)
        identity = ["--cert", certificate, "--key", key] if credentials == "certificate" else []
        return Peer(kind, "client", self.client, ["--uri", uri, "--address", endpoint(self.outer),
                                                  "--ca", ca, *identity, *flags])


def inner_addresses(peer: Peer) -> list[str]:
    return [prefix.split("/")[0] for prefix in peer.prefixes()]


def wait_up(peer: Peer) -> list[str]:
    """Waits until it has an address of each family and routes; the addresses."""
    wait_for(lambda: peer.events("addresses") and len(peer.prefixes()) == 2, 30,
             "an address of each family", [peer.process])
    peer.wait_event("routes")
    return inner_addresses(peer)


# --- their client, our gateway

# proves: Q1, Q2, Q3, Q4, L4, A1, A7, V1, V5, H9, H11
@pytest.mark.parametrize("outer", GATEWAY_OUTER, ids=["outer4", "outer6"])
def test_their_client_on_our_gateway(lab, hosts, kind, outer):
    ours = OurGateway(lab, hosts, outer)
    peer = ours.peer(kind)
    addresses = wait_up(peer)
    assert addresses[0].startswith("10.9.0.") and addresses[1].startswith("fd09::")
    assert peer.events("routes")[-1]["ranges"] == [
        {"start": "10.9.0.0", "end": "10.9.0.255", "protocol": 0},
        {"start": "10.88.0.0", "end": "10.88.0.255", "protocol": 0},
        {"start": "fd09::", "end": "fd09::ffff:ffff:ffff:ffff", "protocol": 0},
        {"start": "fd88::", "end": "fd88::ffff:ffff:ffff:ffff", "protocol": 0}]
    exercise_tunnel(lab, ours.client, ours.host, addresses, GATEWAY_INNER)
    sessions = ours.gateway.status()["sessions"]
    assert len(sessions) == 1 and sessions[0]["user"] == "alice"
    assert peer.stop() == 0
    wait_for(lambda: not ours.gateway.status()["sessions"], NOTICE_LIMIT_S, "the session to end")


def test_their_client_reaches_the_network_behind_our_gateway(lab, hosts, kind):
    ours = OurGateway(lab, hosts)
    peer = ours.peer(kind)
    addresses = wait_up(peer)
    exercise_tunnel(lab, ours.client, ours.inside, addresses, INSIDE, megabytes=2)


# proves: Z1
def test_their_client_with_a_bearer_token(lab, hosts, kind):
    ours = OurGateway(lab, hosts, auth="certificate-or-token")
    token = ours.gateway.run("user", "token", "alice")
    peer = ours.peer(kind, "--token", token.split()[-1], credentials="none")
    addresses = wait_up(peer)
    assert ours.client.ping(GATEWAY_INNER[0]).ok, addresses


# proves: Z1, PS1
def test_their_client_with_a_wrong_token_is_refused(lab, hosts, kind):
    ours = OurGateway(lab, hosts, auth="certificate-or-token")
    peer = ours.peer(kind, "--token", "wrong", credentials="none")
    assert peer.process.wait(30) == 1
    refused = peer.events("refused")[0]
    assert refused["status"] in (401, 403, 407)


# proves: T8, Q9
def test_their_client_on_a_path_that_our_gateway_has_not(lab, hosts, kind):
    ours = OurGateway(lab, hosts)
    peer = ours.peer(kind, uri=f"https://{NAME}:{PORT}/vpn")
    assert peer.process.wait(30) == 1
    assert peer.events("refused")[0]["status"] == 404


# proves: T8
def test_their_client_writes_the_star_percent_encoded(lab, hosts, kind):
    ours = OurGateway(lab, hosts)
    peer = ours.peer(kind, uri=URI.replace("*", "%2A"))
    wait_up(peer)
    assert ours.client.ping(GATEWAY_INNER[0]).ok


# proves: A2, A6, R4, R4b, R5
def test_their_client_asks_for_addresses(lab, hosts, kind):
    """Two of each family: at least one is granted; every answer bears its Request ID."""
    ours = OurGateway(lab, hosts)
    peer = ours.peer(kind, "--request", "0.0.0.0/32,::/128,0.0.0.0/32,198.51.100.1/32")

    def answered():
        lists = [event["prefixes"] for event in peer.events("addresses")]
        return next((one for one in lists
                     if {1, 2, 3, 4} <= {entry["request_id"] for entry in one}), None)

    entries = wait_for(answered, 20, "an answer to every request", [peer.process])
    granted = [entry for entry in entries if not entry["rejected"]]
    assert any(entry["prefix"].startswith("10.9.0.") for entry in granted)
    assert any(entry["prefix"].startswith("fd09::") for entry in granted)
    assert not any(entry["prefix"].startswith("198.51.100.") for entry in granted)
    assert ours.client.ping(GATEWAY_INNER[0]).ok and ours.client.ping(GATEWAY_INNER[1]).ok


# proves: L4, A1, V2
def test_our_gateway_changes_their_clients_addresses_and_routes(lab, hosts, kind):
    ours = OurGateway(lab, hosts)
    peer = ours.peer(kind)
    wait_up(peer)
    before = len(peer.events("routes"))
    ours.gateway.run("session", "set", "alice", "--address", "10.9.0.77/32", "--route",
                     "10.9.0.0/24")
    # IPv6, which the command does not name, stays.
    wait_for(lambda: "10.9.0.77/32" in peer.prefixes(), 10, "the new address", [peer.process])
    assert [prefix for prefix in peer.prefixes() if ":" not in prefix] == ["10.9.0.77/32"]
    assert any(":" in prefix for prefix in peer.prefixes())
    peer.wait_event("routes", before + 1)
    starts = [one["start"] for one in peer.events("routes")[-1]["ranges"]]
    assert [start for start in starts if ":" not in start] == ["10.9.0.0"]
    assert len(starts) > 1
    assert ours.client.ping(GATEWAY_INNER[0], count=3).ok
    assert not ours.client.ping(INSIDE[0], wait=1).ok


# proves: L3
@pytest.mark.parametrize("how", ["revoke", "stop"])
def test_their_client_learns_at_once_that_our_gateway_ends_it(lab, hosts, kind, how):
    ours = OurGateway(lab, hosts)
    peer = ours.peer(kind)
    wait_up(peer)
    if how == "revoke":
        ours.gateway.run("user", "revoke", "alice")
    else:
        assert ours.gateway.stop() == 0
    peer.wait_event("closed", limit=NOTICE_LIMIT_S)
    assert peer.process.wait(10) == 0


# proves: L4, Z2
def test_their_client_brings_its_own_subnet(lab, hosts, kind):
    """Site-to-site: the gateway routes to a subnet that the client may advertise, to no other."""
    ours = OurGateway(lab, hosts, subnet="10.66.0.0/24")
    ours.client.ip("address", "add", "10.66.0.1/32", "dev", "lo")
    ours.client.ip("address", "add", "10.67.0.1/32", "dev", "lo")
    peer = ours.peer(kind, "--advertise", "10.66.0.0/24,10.67.0.0/24")
    wait_up(peer)
    wait_for(lambda: ours.inside.ping("10.66.0.1").ok, 10, "a ping of the client's subnet")
    assert not ours.inside.ping("10.67.0.1", wait=1).ok
    exercise_tunnel(lab, ours.client, ours.inside, ["10.66.0.1"], [INSIDE[0]], megabytes=1)


def told_mtu(answer: str) -> int | None:
    """What ping has heard, from a router or from its own interface: `mtu=1280`, `(mtu = 1280)`."""
    found = re.search(r"mtu ?[=:] ?(\d+)", answer)
    return int(found[1]) if found else None


def forget_path_mtu(sender: Namespace) -> None:
    """What it has heard before, of answers that were too large, say."""
    sender.ip("route", "flush", "cache")
    sender.ip("-6", "route", "flush", "cache")


# What is not the payload of a ping.
PING_HEADERS = {4: 28, 6: 48}


def refused_size(sender: Namespace, address: str, size: int) -> int | None:
    """A packet of that size does not pass; the size that would, if anybody says so."""
    forget_path_mtu(sender)
    for _ in range(3):  # the first may be the one that teaches the sender
        answer = sender.ping(address, size=size - PING_HEADERS[6 if ":" in address else 4],
                             options=["-M", "do"], wait=1)
        assert not answer.received, f"{size} bytes to {address} must not pass"
        if mtu := told_mtu(answer.output):
            return mtu
        if "too long" in answer.output:  # for the sender's own interface
            route = json.loads(sender.ip("-json", "route", "get", address))[0]
            return json.loads(sender.ip("-json", "link", "show", "dev", route["dev"]))[0]["mtu"]
    return None


def steady(read: Callable[[], int]) -> int:
    """A size that the search for the path's has arrived at: the same for two seconds."""
    seen: list[int] = []

    def same() -> int:
        seen.append(read())
        return seen[-1] if len(seen) >= 20 and len(set(seen[-20:])) == 1 else 0

    return wait_for(same, 20, "a steady MTU")


def arrives(sender: Namespace, address: str, size: int, receiver: Namespace, tun: str) -> bool:
    """One way: packets of that size come out of the receiver's TUN. Its answers may be too large
    for the other implementation."""
    def received() -> int:
        link = json.loads(receiver.ip("-json", "-statistics", "link", "show", "dev", tun))[0]
        return link["stats64"]["rx"]["bytes"]

    before = received()
    sender.ping(address, count=3, size=size - PING_HEADERS[6 if ":" in address else 4], wait=0.2,
                options=["-M", "do"])
    return received() - before >= 3 * size


def passes(sender: Namespace, address: str, size: int) -> bool:
    """There and back."""
    return sender.ping(address, size=size - PING_HEADERS[6 if ":" in address else 4], count=3,
                       options=["-M", "do"]).received >= 2


# proves: U1, U5, E1, E2
def test_large_packets_between_their_client_and_our_gateway(lab, hosts, kind):
    """1280 bytes pass each way. From us what fits passes and one byte more is told the true size;
    their Packet Too Big says 1280, or nothing (trap 5), and TCP gets through all the same."""
    ours = OurGateway(lab, hosts)
    peer = ours.peer(kind, "--mtu", "1500")
    addresses = wait_up(peer)
    for near, far in zip(addresses, GATEWAY_INNER, strict=True):
        assert passes(ours.client, far, 1280) and passes(ours.host, near, 1280)
    mtu = steady(lambda: ours.gateway.status()["sessions"][0]["mtu"])
    assert mtu >= 1280
    for address in addresses:
        assert arrives(ours.host, address, mtu, ours.client, peer.tun), f"{mtu} bytes to {address}"
        assert refused_size(ours.host, address, mtu + 1) == mtu
        # From behind the gateway it is Packet Too Big.
        assert refused_size(ours.inside, address, mtu + 1) == mtu
    for address in GATEWAY_INNER:
        told = refused_size(ours.client, address, 1500)
        assert told == (1280 if kind == "go" else None)
    for address in GATEWAY_INNER if kind == "go" else []:
        lab.transfer(ours.client, ours.host, address, 1_000_000)
    for address in addresses:
        lab.transfer(ours.host, ours.client, address, 1_000_000)


def ttl_of(sender: Namespace, address: str) -> int:
    answer = wait_for(lambda: sender.ping(address), 10, f"a ping of {address}")
    found = re.search(r"ttl=(\d+)", answer.output)
    assert found, answer.output
    return int(found[1])


# Trap 4: connect-ip-go takes one from the TTL of every packet that it sends, its own host's too.
LOWERS_TTL = {"go": 1, "python": 0}


# proves: K4
def test_the_ttl_of_packets_to_and_from_their_client(lab, hosts, kind):
    ours = OurGateway(lab, hosts)
    addresses = wait_up(ours.peer(kind))
    for near, far in zip(addresses, GATEWAY_INNER, strict=True):
        # Of the answers: ours is what our kernel has sent, theirs has passed their sender.
        assert ttl_of(ours.client, far) == 64
        assert ttl_of(ours.host, near) == 64 - LOWERS_TTL[kind]
    for near, far in zip(addresses, INSIDE, strict=True):
        assert ttl_of(ours.client, far) == 64 - 1, "our kernel forwards: one less, not two"
        assert ttl_of(ours.inside, near) == 64 - 1 - LOWERS_TTL[kind]
    assert ours.client.ping(GATEWAY_INNER[0], options=["-t", "1"], wait=1).ok == (kind != "go")
    assert ours.client.ping(GATEWAY_INNER[0], options=["-t", "2"]).ok


def burst(sender: Namespace, address: str, count: int = 400) -> int:
    """That many packets at once; how many are answered."""
    return sender.ping(address, count=count, size=1000, interval=0.01, wait=1,
                       options=["-l", str(count)]).received


def test_bursts_between_their_client_and_our_gateway(lab, hosts, kind):
    """Their queues are short (trap 6): a burst may lose much of itself, and nothing else."""
    ours = OurGateway(lab, hosts)
    addresses = wait_up(ours.peer(kind))
    for sender, address in ((ours.client, GATEWAY_INNER[0]), (ours.host, addresses[0])):
        assert burst(sender, address) >= 30
        assert sender.ping(address, count=20, size=1000).received >= 19, "what is not a burst passes"
    # Options, whose checksum early versions of theirs broke: passed on or dropped.
    ours.client.ping(GATEWAY_INNER[0], options=["-R"], wait=1)
    ours.host.ping(addresses[0], options=["-R"], wait=1)
    assert ours.client.ping(GATEWAY_INNER[0], count=3).received == 3
    assert ours.gateway.process.err().count("session.up") == 1


# --- our client, their proxy

OWN = "10.77.0.1/24,fd77::1/64"
ASSIGNED = ["10.77.0.2/32", "fd77::2/128"]
PROXY_INNER = ["10.77.0.1", "fd77::1"]


class TheirProxy:
    """Their proxy, and our client's configuration for it."""

    def __init__(self, lab: Lab, hosts: tuple[Namespace, Namespace], kind: str, *flags: str,
                 outer: str = GATEWAY_OUTER[0], routes: str = "10.77.0.0/24,fd77::/64",
                 token: str = "secret"):
        self.client_host, self.host = hosts
        self.kind = kind
        authority = CertificateAuthority(lab.dir)
        identity = authority.issue(NAME)
        self.flags = ["--uri", URI, "--listen", endpoint(outer), "--cert", identity.certificate,
                      "--key", identity.key, "--own", OWN, "--assign", ",".join(ASSIGNED),
                      "--route", routes, "--token", "secret", *flags]
        config = lab.dir / "client.toml"
        config.write_text(f'''server_addr = "{endpoint(outer)}"
server_name = "{NAME}"
ca_file = "{authority.file}"
tun_name = "tun-peer"
[quic]
keep_alive = "2s"
idle_timeout = "8s"
[http]
uri_template = "{URI}"
[auth]
token = "{token}"
''')
        config.chmod(0o600)
        self.start()
        self.client = Client(lab, self.client_host, config)
        self.client.start()

    def start(self) -> None:
        self.proxy = Peer(self.kind, "proxy", self.host, self.flags)
        self.proxy.wait_event("listening")

    def wait_addresses(self, wanted: list[str]) -> None:
        wait_for(lambda: sorted(self.client_host.addresses("tun-peer")) == sorted(wanted), 20,
                 f"addresses {wanted}", [self.client.process])


# proves: T8, T9, Q1, Q2, Q3, A4, V1, V8, C2, K3
@pytest.mark.parametrize("outer", GATEWAY_OUTER, ids=["outer4", "outer6"])
def test_our_client_on_their_proxy(lab, hosts, kind, outer):
    theirs = TheirProxy(lab, hosts, kind, outer=outer)
    theirs.client.wait_connected()
    theirs.wait_addresses(ASSIGNED)
    request = theirs.proxy.wait_event("connected")
    assert f"{NAME}:{PORT}" in str(request)
    exercise_tunnel(lab, theirs.client_host, theirs.host, ["10.77.0.2", "fd77::2"], PROXY_INNER)
    assert theirs.client.stop() == 0
    theirs.proxy.wait_event("closed", limit=NOTICE_LIMIT_S)
    assert not theirs.client_host.addresses("tun-peer")


# proves: U1, U5, E2
def test_large_packets_between_our_client_and_their_proxy(lab, hosts, kind):
    """What our client says it carries it carries; their Packet Too Big says 1280 with the packet's
    destination as its source (trap 5), or nothing, and packets of 1280 pass."""
    theirs = TheirProxy(lab, hosts, kind, "--mtu", "1500")
    theirs.client.wait_connected()
    theirs.wait_addresses(ASSIGNED)
    addresses = [prefix.split("/")[0] for prefix in ASSIGNED]
    mtu = steady(lambda: theirs.client.status()["mtu"])
    assert mtu >= 1280
    for address in PROXY_INNER:
        wait_for(lambda address=address: theirs.client_host.ping(address).ok, 10, "a ping")
        assert arrives(theirs.client_host, address, mtu, theirs.host, theirs.proxy.tun)
        assert refused_size(theirs.client_host, address, mtu + 1) == mtu
        lab.transfer(theirs.client_host, theirs.host, address, 1_000_000)
    for address in addresses:
        assert passes(theirs.host, address, 1280)
        forget_path_mtu(theirs.host)
        answer = theirs.host.ping(address, size=1500 - PING_HEADERS[6 if ":" in address else 4],
                                  options=["-M", "do"], wait=1).output
        assert told_mtu(answer) == (1280 if kind == "go" else None), answer
        if kind == "go":
            assert f"From {address}" in answer
            lab.transfer(theirs.host, theirs.client_host, address, 1_000_000)
    assert theirs.client.status()["reconnects"] == 0


# proves: K4
def test_the_ttl_of_packets_to_and_from_their_proxy(lab, hosts, kind):
    theirs = TheirProxy(lab, hosts, kind)
    theirs.client.wait_connected()
    theirs.wait_addresses(ASSIGNED)
    for near, far in zip(ASSIGNED, PROXY_INNER, strict=True):
        assert ttl_of(theirs.client_host, far) == 64 - LOWERS_TTL[kind]
        assert ttl_of(theirs.host, near.split("/")[0]) == 64


def test_bursts_between_our_client_and_their_proxy(lab, hosts, kind):
    theirs = TheirProxy(lab, hosts, kind)
    theirs.client.wait_connected()
    theirs.wait_addresses(ASSIGNED)
    for sender, address in ((theirs.client_host, PROXY_INNER[0]), (theirs.host, "10.77.0.2")):
        wait_for(lambda sender=sender, address=address: sender.ping(address).ok, 10, "a ping")
        assert burst(sender, address) >= 30
        assert sender.ping(address, count=20, size=1000).received >= 19
    assert theirs.client.status()["reconnects"] == 0


# proves: A6, R1
def test_our_client_asks_a_proxy_that_waits_to_be_asked(lab, hosts, kind):
    theirs = TheirProxy(lab, hosts, kind, "--unprompted=false")
    theirs.client.wait_connected()
    theirs.wait_addresses(ASSIGNED)
    assert set(theirs.proxy.wait_event("requested")["prefixes"]) == {"0.0.0.0/32", "::/128"}
    assert theirs.client_host.ping(PROXY_INNER[0]).ok and theirs.client_host.ping(PROXY_INNER[1]).ok


# proves: U3
def test_our_client_tells_whether_1280_bytes_are_proven(lab, hosts, kind):
    """connect-ip-go drops what goes to ff02::1 and answers no ping: that is told, the tunnel stays."""
    theirs = TheirProxy(lab, hosts, kind)
    theirs.client.wait_connected()
    expected = "unanswered" if kind == "go" else "answered"
    wait_for(lambda: theirs.client.status()["ipv6_probe"] == expected, 30, expected,
             [theirs.client.process])
    assert ("client.ipv6_unproven" in theirs.client.process.err()) is (kind == "go")
    status = theirs.client.status()
    assert status["state"] == "connected" and status["reconnects"] == 0, status
    assert status["counters"]["ipv6_probes_unanswered"] == (1 if kind == "go" else 0)
    assert theirs.client_host.ping(PROXY_INNER[1]).ok


# proves: V8
def test_our_client_installs_ranges_as_prefixes(lab, hosts, kind):
    theirs = TheirProxy(lab, hosts, kind,
                        routes="10.77.0.0/24,198.51.100.7-198.51.100.10,fd77::/64")
    theirs.client.wait_connected()
    wanted = {"10.77.0.0/24", "198.51.100.7", "198.51.100.8/31", "198.51.100.10"}
    wait_for(lambda: wanted <= {route["dst"] for route in all_routes(theirs.client_host)}, 10,
             "the routes", [theirs.client.process])


def all_routes(namespace: Namespace) -> list[dict]:
    return json.loads(namespace.ip("-4", "-json", "route", "show", "table", "all"))


# proves: L4, A1, V2
def test_their_proxy_changes_our_clients_addresses_and_routes(lab, hosts, kind):
    theirs = TheirProxy(lab, hosts, kind, "--assign-later", "10.77.0.9/32",
                        "--route-later", "10.77.0.0/24,198.51.100.0/24")
    theirs.client.wait_connected()
    theirs.wait_addresses(ASSIGNED)
    theirs.proxy.process.signal(signal.SIGUSR1)
    theirs.wait_addresses(["10.77.0.9/32"])
    assert theirs.client_host.ping(PROXY_INNER[0], count=3).ok
    wait_for(lambda: "198.51.100.0/24" in [route["dst"] for route in
                                           all_routes(theirs.client_host)], 10, "the new route")
    assert theirs.client.status()["state"] == "connected"


# proves: L3, I7
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_our_client_comes_back_when_their_proxy_does(lab, hosts, kind, how):
    theirs = TheirProxy(lab, hosts, kind)
    theirs.client.wait_connected()
    if how == "stop":
        theirs.proxy.stop()
        wait_for(lambda: theirs.client.status().get("state") != "connected", NOTICE_LIMIT_S,
                 "our client to notice")
    else:
        theirs.proxy.process.kill()
    theirs.start()
    wait_for(lambda: theirs.client_host.ping(PROXY_INNER[0], wait=1).ok, 100,
             "the tunnel to come back", [theirs.client.process])


# proves: Q5
def test_our_client_says_that_it_was_refused(lab, hosts, kind):
    theirs = TheirProxy(lab, hosts, kind, token="wrong")
    theirs.proxy.wait_event("refused")
    wait_for(lambda: "401" in theirs.client.process.err() + str(theirs.client.status()), 10,
             "401 in the log or the status")
    assert not theirs.client_host.addresses("tun-peer")
