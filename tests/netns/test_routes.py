# SPDX-License-Identifier: Apache-2.0
"""What a gateway may do to a client's routing table, and what not (faults.md C5); reloads; DNS.

    client ── router ── gateway ── inner (DNS, web)
      ╰══════ tunnel ═══════╯
"""

from collections.abc import Iterator

import pytest

from networks import (CLIENT_TUN, GATEWAY_OUTER, INNER, POOLS, Network, network, network_state,
                      wait_for)

APPLY_LIMIT_S = 10
HONEST = [*POOLS, "10.77.0.0/24", "fd77::/64"]


@pytest.fixture(name="net", scope="module")
def network_with_tunnel() -> Iterator[Network]:
    with network("routes") as net:
        net.start_gateway()
        net.client = net.connect()
        yield net


def tunnel_routes(net: Network) -> set[str]:
    """Destinations that lead into the tunnel, of all tables but the kernel's own."""
    found = set()
    for family in ("-4", "-6"):
        for line in net.client_ns.ip(family, "route", "show", "table", "all", "dev",
                                     CLIENT_TUN).splitlines():
            words = line.split()
            if words[0] not in ("local", "broadcast", "multicast", "anycast") and "local" not in \
                    words[1:]:
                found.add(("::/0" if family == "-6" else "0.0.0.0/0")
                          if words[0] == "default" else words[0])
    return found


def advertise(net: Network, routes: list[str]) -> None:
    """By changing the gateway's configuration and SIGHUP; nobody reconnects."""
    net.gateway.configure("", advertise_routes=routes)
    net.gateway.reload()


def test_routes_are_those_of_the_gateway(net):
    assert {route for route in tunnel_routes(net) if "/" in route} >= set(HONEST)


def test_a_reload_changes_routes_of_live_sessions(net):
    advertise(net, [*HONEST, "10.99.0.0/16", "fd99::/48"])
    wait_for(lambda: {"10.99.0.0/16", "fd99::/48"} <= tunnel_routes(net), APPLY_LIMIT_S,
             "the new routes")
    advertise(net, HONEST)
    wait_for(lambda: not {"10.99.0.0/16", "fd99::/48"} & tunnel_routes(net), APPLY_LIMIT_S,
             "the new routes to go")
    assert net.client.status()["reconnects"] == 0


@pytest.mark.parametrize("hostile", [
    ["0.0.0.0/0", "::/0"],
    ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"],
    ["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"],
], ids=["default", "halves", "quarters"])
def test_a_split_tunnel_stays_one(net, hostile):
    """On the wire ranges must not overlap: what lies inside a default route goes away with it."""
    before = network_state(net.client_ns)
    refused = len(refusals(net))
    advertise(net, [*HONEST, *hostile])
    wait_for(lambda: len(refusals(net)) > refused, APPLY_LIMIT_S, "the refusal")
    assert not tunnel_routes(net) & set(hostile)
    assert "dev router" in net.client_ns.ip("route", "get", "9.9.9.9")
    assert net.client.status()["state"] == "connected"
    advertise(net, HONEST)
    wait_for(lambda: network_state(net.client_ns) == before, APPLY_LIMIT_S, "the former state")


def refusals(net: Network) -> list[str]:
    return [line for line in net.client.process.err().splitlines() if "route.refused" in line]


def test_routes_that_would_swallow_the_clients_own_network(net):
    """Its gateway's outer address, its own outer address, loopback, link-local, multicast: the
    tunnel goes on and none of it leads into the tunnel."""
    hostile = [f"{GATEWAY_OUTER[4]}/32", "192.0.2.2/32", "127.0.0.0/8", "169.254.0.0/16",
               "224.0.0.0/4", "255.255.255.255/32", f"{GATEWAY_OUTER[6]}/128", "::1/128",
               "fe80::/10", "ff00::/8"]
    advertise(net, [*HONEST, *hostile, "10.97.0.0/16"])
    try:
        wait_for(lambda: "10.97.0.0/16" in tunnel_routes(net), APPLY_LIMIT_S, "the honest route")
        for harmful in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128", "fe80::/10",
                        "ff00::/8"):
            assert harmful not in tunnel_routes(net), harmful
        assert "dev lo" in net.client_ns.ip("route", "get", "127.0.0.1")
        assert "local" in net.client_ns.ip("route", "get", "192.0.2.2")
        assert net.client_ns.ping(INNER[4], count=3).received == 3
        net.lab.transfer(net.client_ns, net.inner, INNER[4], 2_000_000)
        assert net.client.status()["state"] == "connected"
    finally:
        advertise(net, HONEST)


def test_a_route_the_host_has_already_is_left_alone(net):
    """The directly connected network of the client's own network card."""
    advertise(net, [*HONEST, "192.0.2.0/24", "10.96.0.0/16"])
    try:
        wait_for(lambda: "10.96.0.0/16" in tunnel_routes(net), APPLY_LIMIT_S, "the honest route")
        assert "dev router" in net.client_ns.ip("route", "get", "192.0.2.1")
        assert net.client_ns.ping("192.0.2.1").ok
    finally:
        advertise(net, HONEST)


def test_a_client_that_takes_only_listed_routes(net):
    net.client.stop()
    net.client.configure("routes", accept=["10.77.0.0/16"])
    net.client.start()
    net.client.wait_connected()
    try:
        wait_for(lambda: "10.77.0.0/24" in tunnel_routes(net), APPLY_LIMIT_S, "the listed route")
        assert "fd77::/64" not in tunnel_routes(net)
        assert net.client_ns.ping(INNER[4]).ok
    finally:
        net.client.stop()
        net.client.configure("routes", accept="gateway")
        net.client.start()
        net.client.wait_connected()


def test_a_reload_with_a_fault_changes_nothing(net):
    good = net.gateway.config.read_text()
    net.gateway.configure("", advertise_routes=["not a network"])
    net.gateway.reload()
    net.gateway.process.wait_line(r"reload\.refused", APPLY_LIMIT_S)
    assert net.client_ns.ping(INNER[4]).ok
    net.gateway.config.write_text(good)
    assert net.gateway.try_run("reload").returncode == 0
    assert {route for route in tunnel_routes(net) if "/" in route} >= set(HONEST)


def test_names_and_pages_through_the_tunnel(net):
    """As programs do it: resolv.conf, then the address, then the page."""
    dns = net.inner.start(["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts",
                           "--pid-file=", "--conf-file=/dev/null", "--user=root",
                           "--log-facility=-", "--address=/www.inner.test/10.77.0.2",
                           "--address=/www.inner.test/fd77::2"], name="dnsmasq")
    dns.wait_line("started", 20)
    site = net.lab.dir / "site"
    site.mkdir()
    (site / "index.html").write_text("<title>behind the tunnel</title>")
    web = net.inner.start(["python3", "-u", "-m", "http.server", "--bind", "::", "80"], name="web",
                          cwd=site)
    web.wait_line("Serving", 20)
    net.client_ns.use_resolver(INNER[4])
    for family in ("-4", "-6"):
        page = net.client_ns.run(["curl", "-sS", family, "--max-time", "10",
                                  "http://www.inner.test/"])
        assert "behind the tunnel" in page
