# SPDX-License-Identifier: Apache-2.0
"""A full tunnel through a gateway with NAT: no loop, one source address outside, all put back.

    client ── router ── gateway ── inner = "the internet" (knows no route to the pools)
      ╰══════ tunnel ═══════╯ masquerades
"""

from collections.abc import Iterator

import pytest

from networks import (CLIENT_TUN, GATEWAY_INNER, GATEWAY_OF_INNER, GATEWAY_OUTER, INNER, PORT,
                      Network, address_of, network, network_state, wait_for)

families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(name="net", scope="module")
def full_tunnel() -> Iterator[Network]:
    with network("nat") as net:
        # The internet answers the gateway's own address only.
        net.inner.ip("route", "del", "default")
        net.inner.ip("-6", "route", "del", "::/0")
        gateway = net.make_gateway(routes=["0.0.0.0/0", "::/0"])
        gateway.configure("nat", enabled=True)
        net.gateway_before = network_state(net.gateway_ns)
        net.client_before = network_state(net.client_ns)
        gateway.start()
        gateway.wait_state("listening")
        net.client = net.make_client()  # whose profile consents to the full tunnel
        net.physical = net.lab.dir / "physical.pcap"
        net.capture = net.client_ns.capture(net.physical, "router")
        net.client.start()
        net.client.wait_connected()
        net.serve_echo(net.inner)
        yield net


@families
def test_the_internet_sees_the_gateways_address(net, family):
    seen = net.lab.dir / f"seen{family}.pcap"
    watching = net.inner.capture(seen, "gateway", "udp port 7007")
    assert net.exchange_udp(net.client_ns, INNER[family], 50, 500)["received"] == 50
    watching.stop()
    lines = net.inner.run(["tcpdump", "-n", "-r", seen, "dst host " + INNER[family]]).splitlines()
    # Super-packets of the offloads count as one.
    assert lines and all(f"{GATEWAY_OF_INNER[family]}." in line for line in lines), lines


@families
def test_traffic_through_nat(net, family):
    assert net.client_ns.ping(INNER[family], count=3).received == 3
    net.lab.transfer(net.client_ns, net.inner, INNER[family], 10_000_000)


def test_everything_but_the_tunnel_itself_goes_through_it(net):
    """Nothing but QUIC to the gateway leaves the client's network card, before and after a
    reconnection with the full tunnel's routes in place."""
    net.client_ns.ping(INNER[4], count=3)
    assert not net.client_ns.ping("203.0.113.77", wait=1).ok  # somewhere in the internet
    net.gateway.stop()
    net.gateway.start()
    net.gateway.wait_state("listening")
    wait_for(lambda: net.client_ns.ping(INNER[4], wait=1).ok, 60, "the tunnel to come back")
    net.capture.stop()
    others = (f"ip and not (udp and host {GATEWAY_OUTER[4]} and port {PORT})")
    leaks = net.client_ns.run(["tcpdump", "-n", "-r", net.physical, others])
    # The router's own ICMP about the dead gateway comes in; nothing goes out.
    assert not [line for line in leaks.splitlines() if "IP 192.0.2.2" in line], leaks
    through = net.client_ns.run(["tcpdump", "-n", "-r", net.physical, f"udp port {PORT}"])
    assert len(through.splitlines()) > 20  # the capture is not blind


def test_the_gateway_is_reached_beside_the_tunnel(net):
    assert "dev router" in net.client_ns.ip("route", "get", GATEWAY_OUTER[4], "mark",
                                            marks(net)), "the tunnel's own packets"
    assert f"dev {CLIENT_TUN}" in net.client_ns.ip("route", "get", INNER[4])


def marks(net: Network) -> str:
    """The mark of the tunnel's own packets, from the rules."""
    import re  # pylint: disable=import-outside-toplevel
    found = re.search(r"fwmark (\S+)", net.client_ns.ip("rule", "show"))
    assert found, net.client_ns.ip("rule", "show")
    return found[1]


def test_the_table_is_there_and_ours_alone(net):
    tables = net.gateway_ns.run(["nft", "list", "tables"])
    assert "masque_vpn" in tables
    assert "masquerade" in net.gateway_ns.run(["nft", "list", "ruleset"])


def test_who_declines_the_default_still_reaches_the_gateway(net):
    net.client.stop()
    net.client.configure("routes", accept_default=False)
    net.client.start()
    net.client.wait_connected()
    for family in (4, 6):
        assert net.client_ns.ping(GATEWAY_INNER[family]).ok
    assert "dev router" in net.client_ns.ip("route", "get", INNER[4])
    net.client.configure("routes", accept_default=True)
    net.client.stop()
    net.client.start()
    net.client.wait_connected()


def test_all_is_put_back(net):
    """Last: tables, rules, routes, forwarding as before."""
    assert address_of(net.client, 4)
    assert net.client.stop() == 0
    assert network_state(net.client_ns) == net.client_before
    assert net.gateway.stop() == 0
    assert network_state(net.gateway_ns) == net.gateway_before
