# SPDX-License-Identifier: Apache-2.0
"""The peers against each other, without masque-vpn: what the other tests lean on holds by itself.

    client (one peer) ---- veth, outer v4 or v6 ---- gateway (the other peer)
       peer0 10.77.0.2, fd77::2                         peer0 10.77.0.1, fd77::1
"""

import signal

import pytest

from certificates import CertificateAuthority
from conftest import GATEWAY_OUTER
from peers import FIXED_PATH, Peer, exercise_tunnel

NAME = "proxy.example"
OWN = "10.77.0.1/24,fd77::1/64"
ASSIGNED = ["10.77.0.2/32", "fd77::2/128"]
ROUTES = "10.77.0.0/24,198.51.100.7-198.51.100.9=6,fd77::/64"


def start_pair(lab, hosts, client_kind, proxy_kind, outer=GATEWAY_OUTER[0], proxy_flags=(),
               client_flags=()):
    client, gateway = hosts
    authority = CertificateAuthority(lab.dir)
    identity = authority.issue(NAME)
    uri = f"https://{NAME}:4433{FIXED_PATH}"
    listen = f"[{outer}]:4433" if ":" in outer else f"{outer}:4433"
    proxy = Peer(proxy_kind, "proxy", gateway, [
        "--uri", uri, "--listen", listen, "--cert", identity.certificate, "--key", identity.key,
        "--own", OWN, "--assign", ",".join(ASSIGNED), "--route", ROUTES, "--token", "secret",
        *proxy_flags])
    proxy.wait_event("listening")
    peer = Peer(client_kind, "client", client, ["--uri", uri, "--address", listen, "--ca",
                                                authority.file, "--token", "secret", *client_flags])
    return peer, proxy


@pytest.mark.parametrize("client_kind, proxy_kind", [("go", "python"), ("python", "go")])
@pytest.mark.parametrize("outer", GATEWAY_OUTER, ids=["outer4", "outer6"])
def test_addresses_routes_and_traffic(lab, hosts, client_kind, proxy_kind, outer):
    client, gateway = hosts
    peer, proxy = start_pair(lab, hosts, client_kind, proxy_kind, outer)
    routes = peer.wait_event("routes")
    peer.wait_event("addresses")
    assert peer.prefixes() == ASSIGNED
    assert routes["ranges"] == [
        {"start": "10.77.0.0", "end": "10.77.0.255", "protocol": 0},
        {"start": "198.51.100.7", "end": "198.51.100.9", "protocol": 6},
        {"start": "fd77::", "end": "fd77::ffff:ffff:ffff:ffff", "protocol": 0}]
    assert client.addresses(peer.tun) == ASSIGNED
    exercise_tunnel(lab, client, gateway, ["10.77.0.2", "fd77::2"], ["10.77.0.1", "fd77::1"],
                    megabytes=2)
    assert peer.stop() == 0
    proxy.wait_event("closed")
    assert proxy.stop() == 0


@pytest.mark.parametrize("client_kind, proxy_kind", [("go", "python"), ("python", "go")])
def test_requested_addresses_are_granted_or_denied(lab, hosts, client_kind, proxy_kind):
    peer, proxy = start_pair(lab, hosts, client_kind, proxy_kind,
                             proxy_flags=["--unprompted=false"],
                             client_flags=["--request", "0.0.0.0/32,::/128,0.0.0.0/32"])
    assert proxy.wait_event("requested")["prefixes"] == ["0.0.0.0/32", "::/128", "0.0.0.0/32"]
    entries = peer.wait_event("addresses")["prefixes"]
    assert [(entry["request_id"], entry["rejected"]) for entry in entries] == [
        (1, False), (2, False), (3, True)]
    assert peer.prefixes() == ASSIGNED


@pytest.mark.parametrize("client_kind, proxy_kind", [("go", "python"), ("python", "go")])
def test_addresses_change_on_a_live_session(lab, hosts, client_kind, proxy_kind):
    client, _ = hosts
    peer, proxy = start_pair(lab, hosts, client_kind, proxy_kind, proxy_flags=[
        "--assign-later", "10.77.0.9/32", "--route-later", "10.77.0.0/24"])
    peer.wait_event("addresses")
    peer.wait_event("routes")
    proxy.process.signal(signal.SIGUSR1)
    peer.wait_event("addresses", count=2)
    peer.wait_event("routes", count=2)
    assert client.addresses(peer.tun) == ["10.77.0.9/32"]
    assert client.ping("10.77.0.1").ok


@pytest.mark.parametrize("client_kind, proxy_kind", [("go", "python"), ("python", "go")])
def test_a_wrong_token_is_refused(lab, hosts, client_kind, proxy_kind):
    peer, _ = start_pair(lab, hosts, client_kind, proxy_kind, client_flags=["--token", "wrong"])
    assert peer.process.wait(30) == 1
    assert peer.events("refused")[0]["status"] == 401
