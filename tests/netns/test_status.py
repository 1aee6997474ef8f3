# SPDX-License-Identifier: Apache-2.0
"""`status --json` is a contract: these members, of these types, in every state, each of them in
docs/operating.md.

    client ══ tunnel ══ gateway ── inner
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from networks import (CLIENT_TUN, GATEWAY_TUN, INNER, PROGRAM, Network, network, wait_for)

OPERATING = Path(__file__).resolve().parents[2] / "docs/operating.md"
STATES = {"starting", "connecting", "connected", "reconnecting", "listening", "draining"}

COUNTERS = {"packets_sent": int, "bytes_sent": int, "packets_received": int,
            "bytes_received": int, "packets_dropped": int, "drops": dict,
            "ipv6_probes_unanswered": int}
UDP = {"packets_sent": int, "packets_received": int, "packets_lost": int,
       "congestion_window_bytes": int}
CLASSES = {"realtime": dict, "bulk": dict, "waiting_packets": int, "marked": int,
           "codel_dropped": int, "expired": int, "overflow": int}
REALTIME = {"packets": int, "by_dscp": int, "by_port": int, "by_pace": int, "waiting_bytes": int,
            "dropped": int}
BULK = {"packets": int, "too_fast": int, "waiting_bytes": int, "dropped": int}
SESSION = {"peer": str, "addresses": list, "routes": list, "site_routes": list, "transport": str,
           "rtt_ms": (int, float), "mtu": int, "ipv6_probe": str, "connected_s": int, "cipher": str,
           "key_exchange": str, "udp": dict, "classes": dict, "counters": dict}
COMMON = {"version": int, "program": str, "role": str, "state": str, "pid": int, "uptime_s": int,
          "config": str, "interface": str, "last_error": str, "resilience_mode": str}
CLIENT = COMMON | {"reconnects": int} | SESSION
SERVER = COMMON | {"listen": str, "transport": str, "addresses": list, "pools": list,
                   "routes": list, "counters": dict, "sessions": list}
SESSION_OF_SERVER = {"user": str} | SESSION


def check(value: dict[str, Any], members: dict[str, Any]) -> None:
    for name, kind in members.items():
        assert name in value, f"{name} is missing"
        assert isinstance(value[name], kind), f"{name}: {value[name]!r}"
    assert not set(value) - set(members), f"not in the contract: {set(value) - set(members)}"
    for name, inner in (("counters", COUNTERS), ("udp", UDP), ("classes", CLASSES),
                        ("realtime", REALTIME), ("bulk", BULK)):
        if name in members:
            check(value[name], inner)


@pytest.fixture(name="net", scope="module")
def network_with_tunnel() -> Iterator[Network]:
    with network("status") as net:
        net.start_gateway()
        net.client = net.connect()
        assert net.client_ns.ping(INNER[4], count=3).received == 3
        yield net


def test_of_a_connected_client(net):
    status = net.client.status()
    check(status, CLIENT)
    assert status["version"] == 1 and status["role"] == "client"
    assert status["state"] == "connected" and status["last_error"] == ""
    assert status["interface"] == CLIENT_TUN and status["pid"] == net.client.process.pid
    assert status["peer"] == "198.51.100.2:4433" and status["transport"] == "h3"
    assert status["config"] == str(net.client.config)
    assert len(status["addresses"]) == 2 and len(status["routes"]) == 4
    assert status["mtu"] >= 1280 and status["rtt_ms"] > 0
    assert status["counters"]["packets_sent"] >= 3
    assert status["counters"]["bytes_sent"] >= 3 * 84
    assert status["key_exchange"] == "X25519MLKEM768" and status["cipher"].startswith("TLS_")


def test_of_a_gateway_with_a_session(net):
    status = net.gateway.status()
    check(status, SERVER)
    assert status["role"] == "server" and status["state"] == "listening"
    assert status["interface"] == GATEWAY_TUN and status["pid"] == net.gateway.process.pid
    assert len(status["sessions"]) == 1
    session = status["sessions"][0]
    check(session, SESSION_OF_SERVER)
    assert session["user"] == "alice" and session["peer"].startswith("192.0.2.2:")
    assert sorted(session["addresses"]) == sorted(net.client.status()["addresses"])


def test_of_a_client_that_was_never_connected(net):
    client = net.make_client("waiting")
    client.configure("", server_addr="192.0.2.1:9", tun_name="mvc2")
    client.start()
    status = client.wait_state("connecting")
    check(status, CLIENT)
    for member in ("peer", "cipher", "key_exchange", "addresses", "routes"):
        assert not status[member], (member, status[member])
    assert status["rtt_ms"] == 0 and status["udp"]["congestion_window_bytes"] == 0
    assert client.try_run("status", "--json").returncode == 3
    client.stop()


def test_text_for_people(net):
    for program, words in ((net.client, ["state", "connected", "addresses", "round trip"]),
                           (net.gateway, ["state", "listening", "alice", "pools"])):
        done = program.try_run("status")
        assert done.returncode == 0
        for word in words:
            assert word in done.stdout, done.stdout


def test_the_instance_of_this_network_is_found_by_itself(net):
    """Both ends share the directory of control sockets: status means the one that lives where it is
    asked, and sessions are only a server's."""
    for where, role in ((net.client_ns, "client"), (net.gateway_ns, "server")):
        assert json.loads(where.run([PROGRAM, "status", "--json"]))["role"] == role
        where.run([PROGRAM, "reload"])
        rows = json.loads(where.run([PROGRAM, "session", "list", "--json"]))
        assert [row["user"] for row in rows] == ["alice"]
    net.client_ns.run([PROGRAM, "session", "set", "alice", "--route", "10.77.0.0/24"])
    wait_for(lambda: "10.77.0.0/24" in net.client.status()["routes"], 5, "the route")


def test_of_several_elsewhere_none_is_guessed(net):
    done = net.router.try_run([PROGRAM, "status", "--json"])
    assert done.returncode == 2 and "-c" in done.stderr, done.stderr


def test_each_member_is_documented():
    text = OPERATING.read_text()
    for members in (CLIENT, SERVER, SESSION_OF_SERVER, COUNTERS, UDP, CLASSES, REALTIME, BULK):
        for name in members:
            assert f"`{name}`" in text, f"{name} is not in docs/operating.md"
    for state in STATES:
        assert f"`{state}`" in text, f"{state} is not in docs/operating.md"
