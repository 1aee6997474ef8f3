# SPDX-License-Identifier: Apache-2.0
"""Identities and their sessions: revocation, tokens, sticky addresses, changes on a live tunnel.

    client  ══ tunnel ══╮
                     gateway ── inner (echo)
    client2 ══ tunnel ══╯
"""

import time
from collections.abc import Iterator

import pytest

from networks import (CLIENT_TUN, ENDPOINT, INNER, Client, Network, address_of, network, wait_for)

APPLY_LIMIT_S = 10
REVOKED_LIMIT_S = 1.0
REFUSED = 77


@pytest.fixture(name="net", scope="module")
def network_with_gateway() -> Iterator[Network]:
    with network("sessions", clients=2) as net:
        net.start_gateway()
        net.gateway.configure("auth", mode="certificate-or-token")
        net.gateway.stop()
        net.gateway.start()
        net.gateway.wait_state("listening")
        net.serve_echo(net.inner)
        yield net


@pytest.fixture(autouse=True)
def no_clients_left(net: Network) -> Iterator[None]:
    yield
    net.stop_clients()


def test_a_revoked_user_is_out_within_a_second_and_stays_out(net):
    client = net.connect("revoked")
    flow = net.start_flow(net.client_ns, INNER[4])
    started = time.monotonic()
    net.gateway.run("user", "revoke", "revoked")
    wait_for(lambda: not net.session("revoked"), 10, "the session to end")
    assert time.monotonic() - started < REVOKED_LIMIT_S
    assert not net.client_ns.ping(INNER[4], wait=1).ok
    # The client knows, says so and gives up: 77 is "refused".
    assert client.process.wait(30) == REFUSED
    assert "revoked" in net.gateway.run("user", "list")
    client.start()
    assert client.process.wait(30) == REFUSED
    assert not net.session("revoked")
    flow.process.kill()


def test_a_revoked_user_may_be_added_again_with_a_new_key(net):
    old = net.make_client("again")
    net.gateway.run("user", "revoke", "again")
    old_profile = old.config.rename(old.config.with_suffix(".old.toml"))
    new = net.connect("again")
    new.stop()
    refused = net.adopt(Client(net.lab, net.client_ns, old_profile))
    refused.start()
    assert refused.process.wait(30) == REFUSED


def test_a_bearer_token_admits_a_client_without_certificate(net):
    profile = net.gateway.add_user("tokenbearer", "--endpoint", ENDPOINT[4], "--tun-name",
                                   CLIENT_TUN)
    token = net.gateway.run("user", "token", "tokenbearer").strip()
    client = net.adopt(Client(net.lab, net.client_ns, profile))
    client.configure("", cert_pem=None, key_pem=None)
    client.configure("auth", token=token)
    client.start()
    client.wait_connected()
    assert net.client_ns.ping(INNER[4]).ok
    assert net.session("tokenbearer")["user"] == "tokenbearer"
    # Without a certificate an intermediary may stand between: both ends ask for 1280 bytes (row U3).
    wait_for(lambda: {client.status()["ipv6_probe"], net.session("tokenbearer")["ipv6_probe"]} ==
             {"answered"}, APPLY_LIMIT_S, "the pings of 1280 bytes to be answered")
    assert token not in net.gateway.process.err() + client.process.err()
    # A new token withdraws the old one.
    client.stop()
    net.gateway.run("user", "token", "tokenbearer")
    client.start()
    assert client.process.wait(30) == REFUSED


@pytest.mark.parametrize("token", ["wrong-token", ""])
def test_neither_certificate_nor_a_good_token(net, token):
    profile = net.gateway.add_user(f"nobody{len(token)}", "--endpoint", ENDPOINT[4], "--tun-name",
                                   CLIENT_TUN)
    client = net.adopt(Client(net.lab, net.client_ns, profile))
    client.configure("", cert_pem=None, key_pem=None)
    if token:
        client.configure("auth", token=token)
    client.start()
    assert client.process.wait(30) == REFUSED


def test_a_stranger_of_the_same_authority_is_refused(net):
    """Its name is not in the database (`init` writes unknown_users = "refuse")."""
    client = net.make_client("forgotten")
    net.gateway.stop()
    database = net.gateway.dir / "state.db"
    net.gateway_ns.run(["python3", "-c",
                        "import sqlite3, sys\n"
                        "with sqlite3.connect(sys.argv[1]) as db:\n"
                        "    db.execute(\"DELETE FROM users WHERE name = 'forgotten'\")", database])
    net.gateway.start()
    net.gateway.wait_state("listening")
    client.start()
    assert client.process.wait(30) == REFUSED


def test_addresses_are_sticky(net):
    """Same identity, same addresses: after a reconnection, and after the gateway's restart."""
    first, second = net.connect("sticky1", 0), net.connect("sticky2", 1)
    before = sorted(first.status()["addresses"]), sorted(second.status()["addresses"])
    assert not set(before[0]) & set(before[1])
    first.stop()
    second.stop()
    net.gateway.stop()
    net.gateway.start()
    net.gateway.wait_state("listening")
    # In the other order, so that first come is not enough.
    for client in (second, first):
        client.start()
        client.wait_connected()
    assert (sorted(first.status()["addresses"]), sorted(second.status()["addresses"])) == before
    first.stop()
    second.stop()


def test_the_newest_session_of_an_identity_wins(net):
    first = net.connect("double", 0)
    addresses = sorted(first.status()["addresses"])
    second = net.adopt(Client(net.lab, net.clients[1],
                              first.config.with_suffix(".copy.toml")))
    second.config.write_text(first.config.read_text())
    second.config.chmod(0o600)
    second.start()
    second.wait_connected()
    assert sorted(second.status()["addresses"]) == addresses
    wait_for(lambda: len([s for s in net.gateway.status()["sessions"] if s["user"] == "double"])
             == 1, APPLY_LIMIT_S, "one session to remain")
    # The newer one works; and the two do not chase each other away for ever.
    assert net.clients[1].ping(INNER[4]).ok or first.status().get("state") == "connected"
    first.process.kill()
    wait_for(lambda: net.clients[1].ping(INNER[4], wait=1).ok, 40, "the remaining one to work")
    second.stop()


def test_a_session_is_changed_while_a_file_is_copied(net):
    client = net.connect("mover")
    v4, v6 = address_of(client, 4), address_of(client, 6)
    copy = net.lab.start_transfer(net.client_ns, net.inner, INNER[4], 100_000_000, port=5005,
                                  mbit_per_s=200)
    wait_for(lambda: net.session("mover")["counters"]["bytes_received"] > 5_000_000, 20,
             "the copy to be under way")
    net.gateway.run("session", "set", "mover", "--address", f"{v4}/32", "--address",
                    "10.8.0.200/32", "--address", f"{v6}/128", "--route", "10.77.0.0/24",
                    "--route", "10.88.0.0/16", "--route", "fd88::/64")
    wait_for(lambda: "10.8.0.200/32" in net.client_ns.addresses(CLIENT_TUN), APPLY_LIMIT_S,
             "the new address on the interface")
    wait_for(lambda: "10.88.0.0/16" in net.client_ns.ip("route", "show", "dev", CLIENT_TUN),
             APPLY_LIMIT_S, "the new route")
    assert copy.running, "the change came too late"
    assert "fd77::/64" not in net.client_ns.ip("-6", "route", "show", "dev", CLIENT_TUN)
    copy.finish()
    assert sorted(client.status()["addresses"]) == sorted(
        [f"{v4}/32", "10.8.0.200/32", f"{v6}/128"])
    for source in (v4, "10.8.0.200"):
        assert net.client_ns.ping(INNER[4], options=["-I", source]).ok, source
        assert net.inner.ping(source).ok, source
    # The old IPv4 address is taken away; the connection and the IPv6 address stay.
    net.gateway.run("session", "set", "mover", "--address", "10.8.0.200/32")
    wait_for(lambda: sorted(net.client_ns.addresses(CLIENT_TUN)) == ["10.8.0.200/32", f"{v6}/128"],
             APPLY_LIMIT_S, "the old address to go")
    assert net.client_ns.ping(INNER[4]).ok
    assert not net.inner.ping(v4, wait=1).ok
    assert client.status()["reconnects"] == 0
    client.stop()


@pytest.mark.parametrize("words,reason", [
    (["nobody", "--address", "10.8.0.9/32"], "nobody"),
    (["setter", "--address", "10.8.0.1/32"], "10.8.0.1"),  # the gateway's own
    (["setter", "--address", "not-an-address"], "not-an-address"),
    (["setter", "--address", "224.0.0.1/32"], "224.0.0.1"),
])
def test_a_session_is_not_set_to_nonsense(net, words, reason):
    client = net.adopt(Client(net.lab, net.client_ns, net.gateway.dir / "setter.toml"))
    if not client.config.exists():
        net.make_client("setter")
    client.start()
    client.wait_connected()
    before = client.status()["addresses"]
    done = net.gateway.try_run("session", "set", *words)
    assert done.returncode != 0 and reason in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert client.status()["addresses"] == before
    client.stop()


def test_another_clients_address_is_not_given_away(net):
    first, second = net.connect("owner", 0), net.connect("taker", 1)
    done = net.gateway.try_run("session", "set", "taker", "--address",
                               f"{address_of(first, 4)}/32")
    assert done.returncode != 0, done.stdout
    assert net.client_ns.ping(INNER[4]).ok and net.clients[1].ping(INNER[4]).ok
    first.stop()
    second.stop()


def test_kick_closes_and_the_user_comes_back(net):
    client = net.connect("kicked")
    addresses = client.status()["addresses"]
    net.gateway.run("session", "kick", "kicked")
    wait_for(lambda: client.status().get("reconnects", 0) > 0, 30, "the client to reconnect")
    assert client.wait_connected()["addresses"] == addresses
    client.stop()


def test_policy_of_destinations(net):
    """user set --allow: only that network, at once, without reconnecting."""
    client = net.connect("bounded")
    assert net.client_ns.ping(INNER[4]).ok and net.client_ns.ping(INNER[6]).ok
    net.gateway.run("user", "set", "bounded", "--allow", "fd77::/64")
    wait_for(lambda: not net.client_ns.ping(INNER[4], wait=1).ok, APPLY_LIMIT_S, "the refusal")
    assert net.client_ns.ping(INNER[6]).ok
    net.gateway.run("user", "set", "bounded", "--allow", "none")
    wait_for(lambda: net.client_ns.ping(INNER[4], wait=1).ok, APPLY_LIMIT_S, "the permission")
    assert client.status()["reconnects"] == 0
    client.stop()
