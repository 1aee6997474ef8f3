# SPDX-License-Identifier: Apache-2.0
"""Who reaches whom (faults.md C3, C4): clients each other, and the gateway's own services.

    client  ══ tunnel ══╮
                     gateway (services of its own) ── inner
    client2 ══ tunnel ══╯
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from networks import (CLIENT_TUN, GATEWAY_INNER, GATEWAY_OF_INNER, GATEWAY_OUTER, INNER, Network,
                      address_of, network, wait_for)

APPLY_LIMIT_S = 10


@pytest.fixture(name="net", scope="module")
def two_clients() -> Iterator[Network]:
    with network("isolation", clients=2) as net:
        net.start_gateway()
        net.alice, net.bob = net.connect("alice", 0), net.connect("bob", 1)
        for where in (*net.clients, net.gateway_ns, net.inner):
            net.serve_echo(where)
        yield net


def tcp_answers(net: Network, where, address: str, port: int = 7007) -> bool:
    return where.try_run(["python3", "-c", f"""
import socket
with socket.create_connection(({address!r}, {port}), timeout=1) as s:
    s.sendall(b'x'); assert s.recv(1) == b'x'"""]).returncode == 0


def reachable(net: Network, where, address: str) -> dict[str, bool]:
    return {"ping": where.ping(address, wait=1).ok,
            "tcp": tcp_answers(net, where, address),
            "udp": net.exchange_udp(where, address, count=1, size=100)["received"] == 1}


NOTHING = {"ping": False, "tcp": False, "udp": False}
EVERYTHING = {"ping": True, "tcp": True, "udp": True}
families = pytest.mark.parametrize("family", [4, 6])


def packets_seen(net: Network, path: Path, expression: str) -> int:
    return len(net.gateway_ns.run(["tcpdump", "-n", "-r", path, expression]).splitlines())


@families
def test_clients_do_not_reach_each_other(net, family):
    """Nothing of one arrives on the other's interface. Positive control: what inner sends does."""
    own, other = address_of(net.alice, family), address_of(net.bob, family)
    capture = net.lab.dir / f"bob-{family}.pcap"
    watching = net.clients[1].capture(capture, CLIENT_TUN)
    assert reachable(net, net.clients[0], other) == NOTHING
    # ICMP errors, fragments and replies that nobody asked for are no way around either.
    net.clients[0].ping(other, size=4000, wait=1)
    assert net.inner.ping(other, count=3).received == 3
    watching.stop()
    assert packets_seen(net, capture, f"src host {own}") == 0
    assert packets_seen(net, capture, f"src host {INNER[family]}") >= 3
    drops = net.session("alice")["counters"]["drops"]
    assert sum(count for reason, count in drops.items() if "client" in reason) > 0, drops


@families
def test_others_are_reached_all_the_same(net, family):
    assert reachable(net, net.clients[0], INNER[family]) == EVERYTHING


@families
def test_the_gateways_outer_address_is_no_destination_in_the_tunnel(net, family):
    """Our client keeps it back; that the gateway does, too, is in test_enforcement.py."""
    address = GATEWAY_OUTER[family]
    net.clients[0].route(address, dev=CLIENT_TUN)
    try:
        assert not tcp_answers(net, net.clients[0], address)
        assert net.exchange_udp(net.clients[0], address, count=1, size=100)["received"] == 0
    finally:
        net.clients[0].ip("route", "del", address, "dev", CLIENT_TUN)
    # Positive control: the services are there.
    assert tcp_answers(net, net.inner, GATEWAY_OF_INNER[family])


@families
def test_the_gateway_answers_pings(net, family):
    assert net.clients[0].ping(GATEWAY_INNER[family]).ok


PROHIBITED = {4: "filtered", 6: "rohibited"}  # as ping writes it


@families
def test_the_gateways_other_addresses_are_refused_and_can_be_allowed(net, family):
    """Of the network that is behind it, which its clients reach: at once, without reconnecting."""
    address = GATEWAY_OF_INNER[family]

    def reached(client: int) -> list[str]:
        # Not by UDP: an echo that listens on all addresses answers from another one.
        answers = reachable(net, net.clients[client], address)
        return [way for way in ("ping", "tcp") if answers[way]]

    assert reached(0) == []
    reply = net.clients[0].ping(address, wait=1)
    assert re.search(PROHIBITED[family], reply.output), reply.output
    net.gateway.run("user", "set", "alice", "--reach-gateway", "all")
    assert reached(0) == ["ping", "tcp"]
    assert reached(1) == [], "bob's policy is as it was"
    net.gateway.run("user", "set", "alice", "--reach-gateway", "tunnel")
    assert reached(0) == []
    assert reachable(net, net.clients[0], GATEWAY_INNER[family]) == EVERYTHING


@families
def test_the_gateway_itself_by_ping_alone_or_not_at_all(net, family):
    address = GATEWAY_INNER[family]
    net.gateway.run("user", "set", "alice", "--reach-gateway", "ping")
    assert reachable(net, net.clients[0], address) == {**NOTHING, "ping": True}
    net.gateway.run("user", "set", "alice", "--reach-gateway", "no")
    assert reachable(net, net.clients[0], address) == NOTHING
    assert reachable(net, net.clients[0], INNER[family]) == EVERYTHING
    net.gateway.run("user", "set", "alice", "--reach-gateway", "tunnel")


@pytest.mark.parametrize("address", ["169.254.169.254", "10.8.0.255", "255.255.255.255"])
def test_special_destinations_are_dropped(net, address):
    net.clients[0].route(address, dev=CLIENT_TUN)
    capture = net.lab.dir / "special.pcap"
    watching = net.gateway_ns.capture(capture, "any")
    net.clients[0].ping(address, count=2, wait=1, options=["-b"])
    assert net.clients[0].ping(INNER[4]).ok
    watching.stop()
    net.clients[0].ip("route", "del", address, "dev", CLIENT_TUN)
    assert packets_seen(net, capture, f"dst host {address} and icmp") == 0


def test_allowed_without_reconnecting(net):
    """Last, because it changes the policy: both may reach clients, and do so each other at once;
    one of them loses it and the way is shut again."""
    for user in ("alice", "bob"):
        net.gateway.run("user", "set", user, "--reach-clients", "yes")
    for family in (4, 6):
        other = address_of(net.bob, family)
        wait_for(lambda: net.clients[0].ping(other, wait=1).ok, APPLY_LIMIT_S,  # noqa: B023
                 "the other client to answer")
        assert reachable(net, net.clients[0], other) == EVERYTHING
        assert net.exchange_udp(net.clients[0], other, 500, 1200)["received"] == 500
    net.lab.transfer(net.clients[0], net.clients[1], address_of(net.bob, 4), 5_000_000)
    # The gateway is a hop between them.
    reply = net.clients[0].ping(address_of(net.bob, 4), options=["-t", "1"])
    assert not reply.received and re.search("exceeded", reply.output), reply.output
    assert net.alice.status()["reconnects"] == net.bob.status()["reconnects"] == 0
    net.gateway.run("user", "set", "bob", "--reach-clients", "no")
    wait_for(lambda: not net.clients[0].ping(address_of(net.bob, 4), wait=1).ok, APPLY_LIMIT_S,
             "the way to be shut")
