# SPDX-License-Identifier: Apache-2.0
"""Site to site: a branch's network behind a client, reached from the gateway's and back.

    printer ── 10.50.0.0/24, fd50::/64 ── client ══ tunnel ══ gateway ── inner
                                          client2 ══ tunnel ══╯
"""

from collections.abc import Iterator

import pytest

from netlab import Namespace
from networks import (CLIENT_TUN, GATEWAY_TUN, INNER, Client, Network, network, wait_for)

BRANCH = ["10.50.0.0/24", "fd50::/64"]
PRINTER = {4: "10.50.0.2", 6: "fd50::2"}
APPLY_LIMIT_S = 10
families = pytest.mark.parametrize("family", [4, 6])


def branch_behind(net: Network, client: Namespace, number: int) -> Namespace:
    printer = net.lab.namespace(f"printer{number}")
    net.lab.veth(client, printer, [f"10.{number}.0.1/24", f"fd{number}::1/64"],
                 [f"10.{number}.0.2/24", f"fd{number}::2/64"], names=(f"branch{number}", "lan"))
    printer.route("default", via=f"10.{number}.0.1")
    printer.route("::/0", via=f"fd{number}::1")
    client.forward()
    return printer


@pytest.fixture(name="net", scope="module")
def branch_office() -> Iterator[Network]:
    with network("site", clients=2) as net:
        net.start_gateway()
        profile = net.gateway.add_user("branch", "--endpoint", "198.51.100.2:4433", "--tun-name",
                                       CLIENT_TUN, "--subnet", BRANCH[0], "--subnet", BRANCH[1])
        net.printer = branch_behind(net, net.client_ns, 50)
        net.branch = Client(net.lab, net.client_ns, profile)
        net.branch.start()
        net.branch.wait_connected()
        net.bob = net.connect("bob", 1)
        for where in (net.printer, net.inner):
            net.serve_echo(where)
        wait_for(lambda: net.session("branch").get("site_routes"), APPLY_LIMIT_S,
                 "the gateway to take the branch's routes")
        yield net


def test_both_ends_say_the_same(net):
    assert sorted(net.session("branch")["site_routes"]) == sorted(BRANCH)
    assert sorted(net.branch.status()["site_routes"]) == sorted(BRANCH)


@families
def test_from_the_gateways_network_to_the_branch(net, family):
    assert net.inner.ping(PRINTER[family], count=3).received == 3
    net.lab.transfer(net.inner, net.printer, PRINTER[family], 5_000_000)
    assert net.exchange_udp(net.inner, PRINTER[family], 300, 1200)["received"] == 300


@families
def test_from_the_branch_to_the_gateways_network(net, family):
    assert net.printer.ping(INNER[family], count=3).received == 3
    net.lab.transfer(net.printer, net.inner, INNER[family], 5_000_000)
    assert net.exchange_udp(net.printer, INNER[family], 300, 1200)["received"] == 300


@families
def test_another_client_does_not_reach_the_branch(net, family):
    net.clients[1].route(PRINTER[family], dev=CLIENT_TUN)
    assert not net.clients[1].ping(PRINTER[family], wait=1).ok


def test_routes_without_permission_change_nothing(net):
    """faults.md C6: a client that advertises what it may not."""
    before = net.gateway_ns.ip("route", "show", "dev", GATEWAY_TUN)
    mallory = net.make_client("mallory", 1)
    net.bob.stop()
    # The inner network, the other branch and a network of nobody.
    mallory.configure("site", advertise_routes=["10.77.0.0/24", "10.50.0.0/25", "10.60.0.0/24"])
    mallory.start()
    mallory.wait_connected()
    assert net.inner.ping(PRINTER[4]).ok
    assert net.session("mallory")["site_routes"] == []
    assert net.gateway_ns.ip("route", "show", "dev", GATEWAY_TUN) == before
    mallory.stop()


# proves: L4
def test_a_reload_of_the_client_changes_routes_while_a_file_is_copied(net):
    """Both directions by capsule: what the branch advertises, and what it takes."""
    second = branch_behind(net, net.client_ns, 51)
    net.serve_echo(second)
    net.gateway.run("user", "set", "branch", "--subnet", BRANCH[0], "--subnet", BRANCH[1],
                    "--subnet", "10.51.0.0/24", "--subnet", "fd51::/64")
    copy = net.lab.start_transfer(net.printer, net.inner, INNER[4], 100_000_000, port=5009,
                                  mbit_per_s=160)
    wait_for(lambda: net.session("branch")["counters"]["bytes_received"] > 5_000_000, 20,
             "the copy to be under way")
    reconnects = net.branch.status()["reconnects"]
    net.branch.configure("site", advertise_routes=[BRANCH[0], "10.51.0.0/24", "fd51::/64"])
    net.branch.configure("routes", exclude=["fd77::/64"])
    net.branch.reload()
    wait_for(lambda: net.inner.ping("10.51.0.2", wait=1).ok, APPLY_LIMIT_S, "the new subnet")
    assert net.gateway_ns.ping("fd51::2").ok
    routed = net.gateway_ns.ip("-6", "route", "show", "dev", GATEWAY_TUN)
    assert "fd51::/64" in routed and BRANCH[1] not in routed, routed
    wait_for(lambda: "fd77::/64" not in net.client_ns.ip("-6", "route", "show", "dev", CLIENT_TUN),
             APPLY_LIMIT_S, "the excluded route to go")
    assert sorted(net.branch.status()["site_routes"]) == ["10.50.0.0/24", "10.51.0.0/24",
                                                          "fd51::/64"]
    assert copy.running, "the changes came too late"
    # Back again, and a key that waits for a restart is told.
    net.branch.configure("site", advertise_routes=BRANCH)
    net.branch.configure("routes", exclude=[])
    net.branch.configure("", mtu=1400)
    assert net.branch.try_run("reload").returncode == 0
    wait_for(lambda: sorted(net.session("branch")["site_routes"]) == sorted(BRANCH), APPLY_LIMIT_S,
             "the former subnets")
    wait_for(lambda: net.printer.ping(INNER[6], wait=1).ok, APPLY_LIMIT_S, "the former route")
    assert not net.inner.ping("10.51.0.2", wait=1).ok
    net.branch.process.wait_line(r"reload\.needs_restart.*mtu", APPLY_LIMIT_S)
    copy.finish()
    assert net.branch.status()["reconnects"] == reconnects
    net.branch.configure("", mtu=None)


def test_a_reload_with_a_fault_changes_nothing_at_the_client(net):
    good = net.branch.config.read_text()
    net.branch.configure("site", advertise_routes=["not a network"])
    done = net.branch.try_run("reload")
    assert done.returncode == 78 and "not a network" in done.stderr, done.stderr
    assert sorted(net.session("branch")["site_routes"]) == sorted(BRANCH)
    net.branch.config.write_text(good)
    assert net.branch.try_run("reload").returncode == 0


def test_the_routes_go_with_the_session(net):
    """Last: the branch leaves, its networks are routed into the tunnel no more, and come back."""
    assert BRANCH[0] in net.gateway_ns.ip("route", "show", "dev", GATEWAY_TUN)
    assert net.branch.stop() == 0
    wait_for(lambda: BRANCH[0] not in net.gateway_ns.ip("route", "show", "dev", GATEWAY_TUN),
             APPLY_LIMIT_S, "the route to go")
    net.branch.start()
    net.branch.wait_connected()
    wait_for(lambda: net.inner.ping(PRINTER[4], wait=1).ok, APPLY_LIMIT_S, "the branch to answer")
