# SPDX-License-Identifier: Apache-2.0
"""Packets that a client must not send, and that never arrive (faults.md C1, C10 to C12). Our own
client keeps most of them back; what the gateway does with them is test_enforcement.py.

    client2 ══ tunnel ══╮
                     gateway ── inner (all that arrives is recorded)
    client  ══ tunnel ══╯
    (raw sender on its interface)
"""

import sys
from collections.abc import Iterator

import pytest

from networks import (CLIENT_TUN, GATEWAY_INNER, GATEWAY_TUN, HERE, INNER, Network, address_of,
                      family_of, network)

OTHERS = {  # sources that are not the client's, by what they are
    "outside": ("198.18.0.1", "2001:db8:bad::1"),
    "inner_host": (INNER[4], INNER[6]),
    "gateway": (GATEWAY_INNER[4], GATEWAY_INNER[6]),
    "neighbour": ("10.8.0.77", "fd08::77"),
    "unspecified": ("0.0.0.0", "::"),
    "loopback": ("127.0.0.1", "::1"),
    "multicast": ("224.0.0.5", "ff02::5"),
    "link_local": ("169.254.1.1", "fe80::1234"),
    "broadcast": ("255.255.255.255", None),
    "class_e": ("240.0.0.1", None),
    "pool_network": ("10.8.0.0", None),
    "pool_broadcast": ("10.8.0.255", None),
    "zero_net": ("0.1.2.3", None),
    "mapped": (None, "::ffff:10.8.0.2"),
    "outer_client": ("192.0.2.2", "2001:db8:1::2"),
    "outer_gateway": ("198.51.100.2", "2001:db8:2::2"),
}
# Shapes of packets with the right source (send_raw.py) that are dropped on the way all the same.
MALFORMED_4 = ["version_0", "version_5", "version_15", "short_ihl", "long_ihl", "total_short",
               "total_long", "bad_checksum", "empty", "one_byte"]
MALFORMED_6 = ["total_long", "total_short", "routing_header_0", "empty_chain"]


@pytest.fixture(name="net", scope="module")
def two_clients() -> Iterator[Network]:
    with network("spoofing", clients=2) as net:
        net.start_gateway()
        net.alice, net.bob = net.connect("alice", 0), net.connect("bob", 1)
        yield net


class Watch:
    """Everything on the gateway's interface and at the inner host with a mark in the payload."""

    def __init__(self, net: Network, name: str):
        self.net = net
        self.paths = [net.lab.dir / f"{name}-{where}.pcap" for where in ("tun", "inner", "bob")]
        self.processes = [net.gateway_ns.capture(self.paths[0], GATEWAY_TUN),
                          net.inner.capture(self.paths[1], "gateway"),
                          net.clients[1].capture(self.paths[2], CLIENT_TUN)]

    def marks(self, mark: str) -> int:
        """How often packets with the mark were seen, after a packet that is allowed has passed."""
        control = "control-" + mark
        source = address_of(self.net.alice, 4)
        send(self.net, "plain", source, INNER[4], control)
        for _ in range(100):
            if control.encode() in self.paths[1].read_bytes():
                break
            assert self.net.client_ns.ping(INNER[4], wait=1).ok  # time, and a sign of life
        else:
            raise AssertionError("the positive control was not seen")
        for process in self.processes:
            process.stop()
        wanted = b"<" + mark.encode() + b">"
        self.seen = [path.read_bytes().count(wanted) for path in self.paths]
        return sum(self.seen)


def send(net: Network, shape: str, source: str, target: str, mark: str, count: int = 3) -> None:
    net.client_ns.run([sys.executable, HERE / "send_raw.py", CLIENT_TUN, shape, source, target,
                       f"<{mark}>", str(count)])


def pairs(family: int) -> list[tuple[str, str]]:
    return [(name, addresses[family == 6]) for name, addresses in OTHERS.items()
            if addresses[family == 6]]


@pytest.mark.parametrize("family", [4, 6])
def test_foreign_sources_never_arrive(net, family):
    watch = Watch(net, f"source{family}")
    sources = [*pairs(family), ("other_client", address_of(net.bob, family))]
    for target in (INNER[family], GATEWAY_INNER[family], address_of(net.bob, family)):
        for _, source in sources:
            if source != target:
                send(net, "plain", source, target, "forged")
    assert watch.marks("forged") == 0


@pytest.mark.parametrize("family,shape", [*((4, shape) for shape in MALFORMED_4),
                                          *((6, shape) for shape in MALFORMED_6)])
def test_malformed_packets_never_arrive(net, family, shape):
    watch = Watch(net, f"shape{family}-{shape}")
    send(net, shape, address_of(net.alice, family), INNER[family], "misshapen")
    assert watch.marks("misshapen") == 0


@pytest.mark.parametrize("family,shape", [(4, "ttl_0"), (6, "hop_limit_0")])
def test_expired_packets_end_at_the_gateway(net, family, shape):
    """Its kernel answers with Time Exceeded, which quotes the packet: both are on its interface."""
    watch = Watch(net, shape)
    send(net, shape, address_of(net.alice, family), INNER[family], "expired")
    assert watch.marks("expired") == watch.seen[0]


@pytest.mark.parametrize("target", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.169.254",
                                    "10.8.0.255", "255.255.255.255", "198.51.100.2", "::1", "::",
                                    "ff02::1", "fe80::1", "2001:db8:2::2"])
def test_destinations_outside_the_routes_never_arrive(net, target):
    watch = Watch(net, "target")
    send(net, "plain", address_of(net.alice, family_of(target)), target, "astray")
    # What a link carries to all its nodes ends at the gateway; nobody behind it sees it.
    assert watch.marks("astray") == 0


def test_allowed_shapes_do_arrive(net):
    """The sender and the watch see what they are for."""
    watch = Watch(net, "allowed")
    send(net, "plain", address_of(net.alice, 4), INNER[4], "honest")
    send(net, "options", address_of(net.alice, 4), INNER[4], "honest")
    send(net, "plain", address_of(net.alice, 6), INNER[6], "honest")
    send(net, "destination_options", address_of(net.alice, 6), INNER[6], "honest")
    assert watch.marks("honest") >= 12
    assert net.alice.status()["state"] == "connected"
