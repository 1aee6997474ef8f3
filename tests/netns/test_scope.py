# SPDX-License-Identifier: Apache-2.0
"""A tunnel for one target and protocol (RFC 9484 4.6): what happens on the way to it is told, by
routers that are no part of the scope.

    client ── router ── gateway ── inner ── MTU 1300 ── far 10.88.0.2, fd88::2
      ╰══ for UDP to far ══╯
"""

import re
from collections.abc import Iterator

import pytest

from networks import INNER, POOLS, PORT, Network, family_of, network

FAR = {4: "10.88.0.2", 6: "fd88::2"}
FAR_NETS = ["10.88.0.0/24", "fd88::/64"]
FAR_MTU = 1300
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(name="net", scope="module")
def network_with_a_far_host() -> Iterator[Network]:
    with network("scope") as net:
        net.far = net.lab.namespace("far")
        net.lab.veth(net.inner, net.far, ["10.88.0.1/24", "fd88::1/64"],
                     ["10.88.0.2/24", "fd88::2/64"], mtu=FAR_MTU)
        net.inner.forward()
        for pool, far_net, last_router in zip(POOLS, FAR_NETS, ("10.88.0.1", "fd88::1")):
            net.far.route(pool, via=last_router)
            net.gateway_ns.route(far_net, via=INNER[family_of(pool)])
        net.start_gateway(routes=[*POOLS, *FAR_NETS])
        net.serve_echo(net.far)
        yield net


@pytest.fixture(autouse=True)
def no_clients_left(net: Network) -> Iterator[None]:
    yield
    net.stop_clients()


def connect_scoped(net: Network, family: int) -> None:
    client = net.make_client(f"scoped{family}")
    target = FAR[family].replace(":", "%3A")
    client.configure("http", uri_template=f"https://vpn.example:{PORT}"
                     f"/.well-known/masque/ip/{target}/17/")
    client.start()
    client.wait_connected()


# proves: E3, S9
@families
def test_routers_on_the_way_are_heard(net, family):
    connect_scoped(net, family)
    # The gateway is the first hop, `inner` the second; ICMP passes whatever the protocol.
    reply = net.client_ns.ping(FAR[family], wait=3, options=["-t", "2"])
    assert re.search(rf"From {INNER[family]}.*(Time to live exceeded|Hop limit)", reply.output), \
        reply.output
    # Packet Too Big: the largest packet that passes is learnt, and what is larger is fragmented.
    headers = 28 if family == 4 else 48
    for _ in range(3):
        reply = net.client_ns.ping(FAR[family], size=FAR_MTU - headers + 1, wait=1,
                                   options=["-M", "do"])
        assert not reply.received
        if re.search(rf"mtu ?[=:] ?{FAR_MTU}", reply.output):
            break
    else:
        raise AssertionError(f"no Packet Too Big: {reply.output}")
    assert net.client_ns.ping(FAR[family], size=FAR_MTU - headers, options=["-M", "do"]).ok
    assert net.exchange_udp(net.client_ns, FAR[family], 100, FAR_MTU + 50)["received"] == 100
