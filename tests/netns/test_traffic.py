# SPDX-License-Identifier: Apache-2.0
"""IPv4 and IPv6 inside IPv4 and IPv6: ping, TCP with a checksum, UDP, DNS.

    client ── router ── gateway ── inner (echo, DNS)
      ╰══════ tunnel ═══════╯
"""

from collections.abc import Iterator

import pytest

from networks import (GATEWAY_INNER, GATEWAY_OUTER, INNER, Network, address_of, network)

RECORDS = ["--address=/www.inner.test/10.77.0.2", "--address=/www.inner.test/fd77::2"]
TRANSFER_BYTES = 20_000_000


@pytest.fixture(name="net", scope="module", params=[4, 6], ids=["outer4", "outer6"])
def network_with_tunnel(request: pytest.FixtureRequest) -> Iterator[Network]:
    with network("traffic") as net:
        net.start_gateway()
        net.client = net.connect(outer=request.param)
        net.outer = request.param
        net.serve_echo(net.inner)
        dns = net.inner.start(["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts",
                               "--pid-file=", "--conf-file=/dev/null", "--user=root",
                               "--log-facility=-", *RECORDS], name="dnsmasq")
        dns.wait_line("started", 20)
        yield net


inner_family = pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])


def test_the_outer_family_is_the_wanted_one(net):
    peer = net.client.status()["peer"]
    assert GATEWAY_OUTER[net.outer] in peer


@inner_family
def test_the_first_address_of_the_pool_is_the_gateways(net, family):
    assert net.client_ns.ping(GATEWAY_INNER[family], count=2).received == 2
    assert address_of(net.client, family) != GATEWAY_INNER[family]


@inner_family
@pytest.mark.parametrize("size", [0, 56, 1200, 4000])
def test_ping(net, family, size):
    """4000 bytes: fragments. Their way back is narrower than the inner host's link: the first replies
    may be lost to the Packets Too Big that teach it (the gateway's interface, then the session)."""
    if size > 1200:
        net.client_ns.ping(INNER[family], size=size, count=3)
    reply = net.client_ns.ping(INNER[family], count=5, size=size)
    assert reply.received == 5, reply.output


@inner_family
def test_ping_back(net, family):
    reply = net.inner.ping(address_of(net.client, family), count=5)
    assert reply.received == 5, reply.output


@inner_family
def test_tcp_up(net, family):
    net.lab.transfer(net.client_ns, net.inner, INNER[family], TRANSFER_BYTES)


@inner_family
def test_tcp_down(net, family):
    net.lab.transfer(net.inner, net.client_ns, address_of(net.client, family), TRANSFER_BYTES)


@inner_family
@pytest.mark.parametrize("size", [8, 100, 1200, 3000])
def test_udp(net, family, size):
    if size > 1200:
        net.client_ns.ping(INNER[family], size=size, count=3)
    report = net.exchange_udp(net.client_ns, INNER[family], count=1000, size=size)
    assert report == {"sent": 1000, "received": 1000, "damaged": 0, "reordered": 0}


@inner_family
def test_dns(net, family):
    for kind, expected in (("A", "10.77.0.2"), ("AAAA", "fd77::2")):
        answer = net.client_ns.run(["dig", f"@{INNER[family]}", "+short", "+tries=2", kind,
                                    "www.inner.test"])
        assert answer.split() == [expected]


@inner_family
def test_a_hop_limit_of_one_ends_at_the_gateway(net, family):
    """The gateway is one hop: its kernel answers with Time Exceeded from its inner address."""
    reply = net.client_ns.ping(INNER[family], options=["-t", "1"])
    assert not reply.received
    assert f"From {GATEWAY_INNER[family]} " in reply.output, reply.output
    assert net.client_ns.ping(INNER[family], options=["-t", "2"]).ok


@inner_family
def test_many_connections_at_once(net, family):
    flows = [net.start_flow(net.client_ns, INNER[family], size=5000) for _ in range(8)]
    reports = [flow.finish() for flow in flows]
    assert all(report["intact"] for report in reports)


def test_counters_add_up(net):
    """What one end sent the other received, once nothing is under way."""
    net.client_ns.ping(INNER[4], count=3)
    client, gateway = net.client.status()["counters"], net.session()["counters"]
    assert client["packets_sent"] > 0 and client["packets_received"] > 0
    # A keep-alive of the kernels may pass between the two questions.
    assert abs(client["packets_sent"] - gateway["packets_received"]) < 5
    assert abs(client["packets_received"] - gateway["packets_sent"]) < 5
