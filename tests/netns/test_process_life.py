# SPDX-License-Identifier: Apache-2.0
"""Ends and beginnings of both processes: killed, terminated, restarted, under traffic and idle
(faults.md A1 to A6).

    client ── router ── gateway ── inner (echo)
      ╰══════ tunnel ═══════╯ NAT, forwarding
"""

import contextlib
import datetime
import re
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from networks import (CLIENT_TUN, GATEWAY_TUN, INNER, PROGRAM, Network, Process, control_sockets,
                      link_exists, link_mtu, network, network_state, wait_for)

TOLD_LIMIT_S = 2.0
GOODBYE_LIMIT_S = 0.06  # a signal, a turn of each end and a packet on an idle link
STOP_LIMIT_S = 4.0
BACK_LIMIT_S = 45


@pytest.fixture(name="net", scope="module")
def network_with_tunnel() -> Iterator[Network]:
    with network("life") as net:
        gateway = net.make_gateway()
        gateway.configure("nat", enabled=True)
        net.before = network_state(net.gateway_ns), network_state(net.client_ns)
        gateway.start()
        gateway.wait_state("listening")
        net.client = net.connect()
        net.serve_echo(net.inner)
        wait_for(lambda: net.client_ns.ping(INNER[4], wait=1).ok, 10, "the first ping")
        net.settled = network_state(net.gateway_ns), network_state(net.client_ns)
        yield net


def back_again(net: Network) -> float:
    """Seconds until a ping passes."""
    started = time.monotonic()
    wait_for(lambda: net.client_ns.ping(INNER[4], wait=1).ok, BACK_LIMIT_S,
             "the tunnel to come back", [net.client.process, net.gateway.process])
    return time.monotonic() - started


def same_as_before(net: Network) -> None:
    """One interface, one set of rules, routes and tables; nothing is stacked."""
    def same() -> bool:
        return (network_state(net.gateway_ns), network_state(net.client_ns)) == net.settled

    try:
        wait_for(same, 10, "the former state")
    finally:
        now = network_state(net.gateway_ns), network_state(net.client_ns)
        for old, new in zip(net.settled, now):
            assert new == old


def test_the_gateway_is_killed_under_traffic(net):
    addresses = net.client.status()["addresses"]
    flow = net.start_flow(net.client_ns, INNER[4])
    for _ in range(3):
        net.gateway.process.kill()
        net.gateway.start()
        net.gateway.wait_state("listening")
        took = back_again(net)
        assert took < 10, f"{took:.1f} s without a ping after the socket was open"
        assert net.client.status()["addresses"] == addresses
    report = flow.finish()
    assert report["intact"]
    same_as_before(net)


def test_the_gateway_is_killed_while_nothing_is_sent(net):
    """The first packet afterwards finds out."""
    net.gateway.process.kill()
    net.gateway.start()
    net.gateway.wait_state("listening")
    assert back_again(net) < 10
    same_as_before(net)


def test_the_client_is_killed_under_traffic(net):
    addresses = net.client.status()["addresses"]
    for _ in range(3):
        flow = net.start_flow(net.client_ns, INNER[6])
        net.client.process.kill()
        wait_for(lambda: not link_exists(net.client_ns, CLIENT_TUN), 5, "the interface to go")
        net.client.start()
        net.client.wait_connected()
        assert back_again(net) < 10
        assert net.client.status()["addresses"] == addresses
        # TCP goes on through the new tunnel: the address is the same.
        assert flow.finish()["intact"]
    same_as_before(net)


def test_both_are_killed(net):
    net.client.process.kill()
    net.gateway.process.kill()
    net.gateway.start()
    net.client.start()
    net.client.wait_connected()
    back_again(net)
    same_as_before(net)


def test_another_network_ends_the_wait(net):
    """The link is gone until the next attempt is far away; with its return the client dials at once."""
    client = net.client
    client.stop()
    net.client_ns.ip("link", "set", "dev", "router", "down")
    client.start()
    time.sleep(20)  # attempts fail at once without a route; the waits between them double
    assert client.status()["state"] == "connecting"
    net.client_ns.ip("link", "set", "dev", "router", "up")
    net.client_ns.ip("address", "replace", "2001:db8:1::2/64", "dev", "router", "nodad")
    net.client_ns.route("default", via="192.0.2.1")
    net.client_ns.route("::/0", via="2001:db8:1::1")
    started = time.monotonic()
    client.wait_connected()
    assert time.monotonic() - started < 5
    assert net.client_ns.ping(INNER[4]).ok


def session_down_s(log: str) -> float:
    """When the last session ended, by the gateway's log; which says that its client closed it."""
    stamp = re.findall(r"^(\S+)Z info session\.down .*why=client_closed", log, re.M)[-1]
    return datetime.datetime.fromisoformat(stamp + "+00:00").timestamp()


def test_the_client_says_goodbye(net):
    assert net.session()
    since = len(net.gateway.process.err())
    started, said = time.monotonic(), time.time()
    assert net.client.stop() == 0
    assert time.monotonic() - started < STOP_LIMIT_S
    wait_for(lambda: not net.session(), 10, "the session to end")
    # With the packet that says so, not after three PTO, which are 75 ms and more.
    took = session_down_s(net.gateway.process.err()[since:]) - said
    assert took < GOODBYE_LIMIT_S, f"{took:.3f} s"
    assert not link_exists(net.client_ns, CLIENT_TUN)
    assert network_state(net.client_ns) == net.before[1]
    assert not [name for name in control_sockets() if name.startswith("alice")]
    net.client.start()
    net.client.wait_connected()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_gateway_says_goodbye(net, number):
    reconnects = net.client.status()["reconnects"]
    started = time.monotonic()
    net.gateway.process.signal(number)
    status = wait_for(lambda: (s := net.client.status()).get("state") != "connected" and s, 10,
                      "the client to notice", [net.client.process])
    assert time.monotonic() - started < TOLD_LIMIT_S
    assert status["state"] == "reconnecting" and status["last_error"], status
    assert net.gateway.process.wait(STOP_LIMIT_S) == 0
    assert not link_exists(net.gateway_ns, GATEWAY_TUN)
    assert network_state(net.gateway_ns) == net.before[0]
    assert not [name for name in control_sockets() if name.startswith("server")]
    net.gateway.start()
    net.client.wait_connected(BACK_LIMIT_S)
    assert net.client.status()["reconnects"] > reconnects
    same_as_before(net)


def test_two_signals_at_once_end_it_cleanly(net):
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        net.gateway.process.signal(number)
    assert net.gateway.process.wait(STOP_LIMIT_S) == 0
    assert network_state(net.gateway_ns) == net.before[0]
    net.gateway.start()
    net.client.wait_connected(BACK_LIMIT_S)


def test_signals_do_no_harm(net):
    """faults.md A7: a storm of SIGHUP is some reloads; SIGPIPE, SIGUSR1 and SIGUSR2 are nothing."""
    for process in (net.gateway.process, net.client.process):
        for _ in range(200):
            process.signal(signal.SIGHUP)
        process.signal(signal.SIGPIPE)
    assert net.client_ns.ping(INNER[4], count=3).received == 3
    assert net.client.status()["state"] == "connected"


def restart_keys(process: Process, since: int) -> list[str]:
    """The keys that the last reload left for a restart."""
    found = re.findall(r'reload\.needs_restart keys="?([^"\n]+)', process.err()[since:])
    return found[-1].split(", ") if found else []


def settings_of(state: dict[str, str]) -> dict[str, str]:
    return dict(line.split() for line in state["settings"].splitlines())


def settings_are_back(net: Network, end: int) -> bool:
    """All of the namespace's settings that were there before are as they were."""
    now = settings_of(network_state((net.gateway_ns, net.client_ns)[end]))
    return settings_of(net.before[end]).items() <= now.items()


def test_a_reload_applies_nat_forwarding_and_mtu(net):
    gateway = net.gateway
    gateway.configure("nat", enabled=False)
    gateway.configure("network", ip_forwarding=False)
    gateway.configure("", mtu=1300)
    gateway.run("reload")
    state = network_state(net.gateway_ns)
    assert "masque" not in state["nftables"]
    assert settings_are_back(net, 0)
    assert link_mtu(net.gateway_ns, GATEWAY_TUN) == 1300
    gateway.configure("nat", enabled=True)
    gateway.configure("network", ip_forwarding=True)
    gateway.configure("", mtu=None)
    gateway.run("reload")
    same_as_before(net)
    assert net.client_ns.ping(INNER[4]).ok


OWNER = """
import subprocess, time
nft = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, text=True)
print("add table inet masque_vpn_%s { flags owner; }", file=nft.stdin, flush=True)
time.sleep(1000)"""


def test_a_reload_that_the_kernel_refuses_changes_nothing(net):
    """NAT comes last, and another program owns the table: the MTU, forwarding, routes and users that
    were new beside it are not in force either."""
    gateway = net.gateway
    gateway.configure("nat", enabled=False)
    gateway.run("reload")
    whole = gateway.config.read_text()
    before = network_state(net.gateway_ns), gateway.status()["routes"]
    owner = net.gateway_ns.start(["python3", "-c", OWNER % GATEWAY_TUN], name="owner")
    wait_for(lambda: "masque_vpn" in net.gateway_ns.run(["nft", "list", "tables"]), 10, "the table")
    gateway.configure("nat", enabled=True)
    gateway.configure("network", ip_forwarding=False)
    gateway.configure("", mtu=1300, advertise_routes=["10.8.0.0/24"], log_level="debug")
    since = len(gateway.process.err())
    assert gateway.try_run("reload").returncode != 0
    log = gateway.process.err()[since:]
    assert "reload.refused" in log and "reload.not_undone" not in log, log
    assert not re.search(r"server\.reloaded|reload\.needs_restart|nat\.remove_failed", log), log
    owner.kill()
    wait_for(lambda: "masque_vpn" not in net.gateway_ns.run(["nft", "list", "tables"]), 10,
             "the table to go with its owner")
    assert (network_state(net.gateway_ns), gateway.status()["routes"]) == before
    assert link_mtu(net.gateway_ns, GATEWAY_TUN) != 1300
    assert net.client_ns.ping(INNER[4]).ok
    gateway.run("reload")
    assert link_mtu(net.gateway_ns, GATEWAY_TUN) == 1300
    assert gateway.status()["routes"] == ["10.8.0.0/24"]
    gateway.config.write_text(whole)
    gateway.configure("nat", enabled=True)
    gateway.run("reload")
    same_as_before(net)


def test_a_reload_names_what_waits_for_a_restart(net):
    for program, changes in ((net.gateway, [("limits", "max_clients", 7),
                                            ("quic", "idle_timeout", "50s"),
                                            ("resilience", "mode", "auto"),
                                            ("leases", "sticky", False)]),
                             (net.client, [("", "mtu", 1400), ("quic", "keep_alive", "9s")])):
        whole = program.config.read_text()
        since = len(program.process.err())
        for table, key, value in changes:
            program.configure(table, **{key: value})
        program.run("reload")
        names = sorted(f"{table}.{key}" if table else key for table, key, _ in changes)
        assert restart_keys(program.process, since) == names
        program.config.write_text(whole)
        since = len(program.process.err())
        program.run("reload")
        assert restart_keys(program.process, since) == []


def test_a_reload_of_a_faulty_file_fails_on_both_ends(net):
    for program in (net.gateway, net.client):
        whole = program.config.read_text()
        program.config.write_text("surprise = 1\n" + whole)
        done = program.try_run("reload")
        assert done.returncode == 78 and "surprise" in done.stderr, done
        program.config.write_text(whole)
        program.run("reload")
    assert net.client_ns.ping(INNER[4]).ok


def test_a_reload_before_the_first_connection_does_not_say_ready(net):
    """A unit of Type=notify is started when the tunnel is up, not when it was told to reload."""
    client = net.make_client("early")
    client.configure("", server_addr="192.0.2.1:9", tun_name="mvc9")
    path = net.lab.dir / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        client.process = net.client_ns.start(
            ["env", f"NOTIFY_SOCKET={path}", PROGRAM, "client", "-c", client.config], name="early")
        client.wait_state("connecting")
        client.run("reload")
        client.reload()
        client.stop()
        manager.setblocking(False)
        told = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                told += manager.recv(4096) + b"\n"
    assert b"STOPPING=1" in told and b"READY=1" not in told, told


def test_the_gateways_interface_vanishes(net):
    """faults.md C17: it ends with an error instead of running on without one."""
    net.gateway_ns.ip("link", "del", "dev", GATEWAY_TUN)
    assert net.gateway.process.wait(10) != 0
    net.gateway.start()
    net.client.wait_connected(BACK_LIMIT_S)
    same_as_before(net)


def test_damaged_server_keys_are_replaced(net):
    """faults.md A3: new keys, one warning, clients come back."""
    net.gateway.stop()
    (net.gateway.dir / "server.keys").write_bytes(b"short")
    net.gateway.start()
    net.gateway.wait_state("listening")
    warnings = [line for line in net.gateway.process.err().splitlines() if " warn " in line]
    assert len([line for line in warnings if "key" in line]) == 1, warnings
    net.client.wait_connected(90)


def test_a_killed_gateways_changes_go_with_the_next_that_wants_none(net):
    """faults.md A1: NAT, forwarding and accept_ra, whatever the configuration says by then."""
    gateway = net.gateway
    whole = gateway.config.read_text()
    gateway.process.kill()
    left = network_state(net.gateway_ns)
    assert "masquerade" in left["nftables"], "the positive control"
    assert settings_of(left)["/proc/sys/net/ipv4/ip_forward"] == "1"
    assert "2" in [value for file, value in settings_of(left).items() if "accept_ra" in file]
    gateway.configure("nat", enabled=False)
    gateway.configure("network", ip_forwarding=False)
    gateway.start()
    gateway.wait_state("listening")
    assert "masque" not in network_state(net.gateway_ns)["nftables"]
    assert settings_are_back(net, 0)
    gateway.config.write_text(whole)
    gateway.run("reload")
    net.client.wait_connected(BACK_LIMIT_S)
    same_as_before(net)


def test_a_killed_full_tunnels_setting_goes_with_the_next_that_is_none(net):
    setting = "/proc/sys/net/ipv4/conf/all/src_valid_mark"
    server, profile = net.gateway.config.read_text(), net.client.config.read_text()
    net.gateway.configure("", advertise_routes=["0.0.0.0/0", "::/0"])
    net.gateway.run("reload")
    net.client.stop()
    net.client.configure("routes", accept_default=True)
    net.client.start()
    net.client.wait_connected()

    def value() -> str:
        return settings_of(network_state(net.client_ns))[setting]

    wait_for(lambda: value() == "1", 10, "the full tunnel's setting")
    net.client.process.kill()
    assert value() == "1", "the positive control"
    net.client.config.write_text(profile)
    net.client.start()
    net.client.wait_connected()
    assert settings_are_back(net, 1)
    net.gateway.config.write_text(server)
    net.gateway.run("reload")
    wait_for(lambda: net.client_ns.ping(INNER[4], wait=1).ok, 10, "the routes to come back")
    same_as_before(net)


def test_nothing_is_left_at_the_end(net):
    assert net.client.stop() == 0
    assert net.gateway.stop() == 0
    assert (network_state(net.gateway_ns), network_state(net.client_ns)) == net.before
    assert control_sockets() == []
