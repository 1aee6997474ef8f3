# SPDX-License-Identifier: Apache-2.0
"""Who may send what and where, asked of the gateway itself (faults.md C1, C3, C4): its client is one
that checks nothing of what it sends, on a QUIC stack that is not ours.

    client2 (ours) ══ tunnel ══╮
                            gateway ── inner
    client (no filter) ════════╯    all that arrives on its TUN, at inner and at client2 is recorded
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from networks import (CLIENT_TUN, ENDPOINT, GATEWAY_INNER, GATEWAY_OF_INNER, GATEWAY_OUTER,
                      GATEWAY_TUN, HERE, INNER, Network, address_of, family_of, network, wait_for)
from programs import profile_identity

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))
from peers import FIXED_PATH, Peer  # noqa: E402  pylint: disable=wrong-import-position

TUN = "peer0"
FAMILIES = (4, 6)
# Sources that are not the client's.
FORGED = {
    "outside": {4: "198.18.0.1", 6: "2001:db8:bad::1"},
    "inner_host": INNER,
    "gateway": GATEWAY_INNER,
    "gateway_outside": GATEWAY_OF_INNER,
    "neighbour": {4: "10.8.0.77", 6: "fd08::77"},
    "unspecified": {4: "0.0.0.0", 6: "::"},
    "loopback": {4: "127.0.0.1", 6: "::1"},
    "multicast": {4: "224.0.0.5", 6: "ff02::5"},
    "link_local": {4: "169.254.1.1", 6: "fe80::1234"},
    "broadcast": {4: "255.255.255.255", 6: "::ffff:10.8.0.2"},
    "outer_client": {4: "192.0.2.2", 6: "2001:db8:1::2"},
}
SPECIAL = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "239.1.1.1", "169.254.169.254", "10.8.0.255",
           "255.255.255.255", "::1", "::", "fe80::1", "ff05::2", "::ffff:127.0.0.1"]
# All of the gateway's host outside the tunnel: dialled and not, behind it, broadcast and anycast.
HOST = [*GATEWAY_OUTER.values(), *GATEWAY_OF_INNER.values(), "198.51.100.255", "10.77.0.255",
        "2001:db8:2::", "fd77::"]


@pytest.fixture(name="net", scope="module")
def client_without_filter() -> Iterator[Network]:
    with network("enforcement", clients=2) as net:
        gateway = net.start_gateway(routes=["0.0.0.0/0", "::/0"])
        net.bob = net.make_client("bob", 1)
        net.bob.configure("routes", accept_default=False)
        net.bob.start()
        net.bob.wait_connected()
        # Its routes are the tunnel's from now on, but for the way to the gateway.
        net.client_ns.route(GATEWAY_OUTER[4], via="192.0.2.1")
        ca, certificate, key = profile_identity(
            gateway.add_user("mallory", "--endpoint", ENDPOINT[4]), net.lab.dir)
        mallory = Peer("python", "client", net.client_ns, [
            "--uri", f"https://{gateway.name}:4433{FIXED_PATH}", "--address", ENDPOINT[4],
            "--ca", ca, "--cert", certificate, "--key", key], tun=TUN)
        mallory.wait_event("routes")
        addresses = [prefix.partition("/")[0] for prefix in mallory.prefixes()]
        net.mallory = {family_of(address): address for address in addresses}
        net.watches = 0
        yield net
        assert mallory.process.running, "no packet may end the session"


class Watch:
    """All payload marks on the gateway's TUN, at inner, and on the other client's TUN."""

    PLACES = ("gateway", "inner", "bob")

    def __init__(self, net: Network):
        self.net = net
        net.watches += 1
        paths = [net.lab.dir / f"watch{net.watches}-{place}.pcap" for place in self.PLACES]
        self.paths = dict(zip(self.PLACES, paths))
        self.processes = [net.gateway_ns.capture(paths[0], GATEWAY_TUN),
                          net.inner.capture(paths[1], "gateway"),
                          net.clients[1].capture(paths[2], CLIENT_TUN)]
        self.before = self._drops()
        self.sent: list[str] = []

    def _drops(self) -> dict[str, int]:
        return self.net.session("mallory")["counters"]["drops"]

    def send(self, source: str, target: str, mark: str) -> None:
        self.net.client_ns.run([sys.executable, HERE / "send_raw.py", TUN, "plain", source, target,
                                f"<{mark}>", "1"])
        self.sent.append(mark)

    def drops(self) -> dict[str, int]:
        """What the gateway has dropped of this client since, by reason: that it was asked at all."""
        now = self._drops()
        counts = {reason: now[reason] - self.before.get(reason, 0) for reason in now}
        return {reason: count for reason, count in counts.items() if count}

    def wait_drops(self, count: int, *reasons: str) -> None:
        """Until so many are dropped for these reasons; the interface's own chatter is for others."""
        def dropped() -> int:
            return sum(self.drops().get(reason, 0) for reason in reasons)

        wait_for(lambda: dropped() >= count, 20, f"{count} packets to be dropped at the gateway")
        assert dropped() == count, self.drops()

    def marks(self) -> dict[str, set[str]]:
        """Those of the marks sent that were seen at each place, after one that is allowed has been
        seen at inner."""
        self.send(self.net.mallory[4], INNER[4], "control")
        wait_for(lambda: b"<control>" in self.paths["inner"].read_bytes(), 20, "the control")
        for process in self.processes:
            process.stop()
        found = {place: {mark.decode() for mark in re.findall(rb"<([a-z0-9_:.-]+)>",
                                                              path.read_bytes())}
                 for place, path in self.paths.items()}
        assert "control" in found["gateway"], "the capture on the gateway's TUN is blind"
        sent = set(self.sent) - {"control"}
        return {place: marks & sent for place, marks in found.items()}


NOWHERE = {place: set() for place in Watch.PLACES}


# proves: Z2
@pytest.mark.parametrize("family", FAMILIES)
def test_forged_sources_end_at_the_gateway(net, family):
    """BCP 38: to inner, to the gateway, to the other client."""
    watch = Watch(net)
    sources = {name: addresses[family] for name, addresses in FORGED.items()}
    sources["other_client"] = address_of(net.bob, family)
    for target in (INNER[family], GATEWAY_INNER[family], address_of(net.bob, family)):
        for name, source in sources.items():
            watch.send(source, target, f"forged-{name}")
    # All but those from fe80::/10 and 169.254.0.0/16, which the kernel sends, too.
    watch.wait_drops(len(watch.sent) - 3, "source_not_allowed", "source_invalid")
    assert watch.marks() == NOWHERE


# proves: Z5
def test_special_destinations_end_at_the_gateway(net):
    watch = Watch(net)
    for target in SPECIAL:
        watch.send(net.mallory[family_of(target)], target, f"special-{target}")
    assert watch.marks() == NOWHERE
    assert sum(watch.drops().values()) >= len(SPECIAL)


# proves: Z5
def test_the_gateways_host_is_reached_with_permission_only(net):
    """Also addresses of it that this client has not dialled, and those that come later."""
    later = {"10.77.0.50": "10.77.0.50/24", "fd77::50": "fd77::50/64"}
    for prefix in later.values():
        net.gateway_ns.ip("address", "add", prefix, "dev", "inner",
                          *(["nodad"] if ":" in prefix else []))
    targets = [*HOST, *later]
    refused = net.lab.dir / "refused.pcap"
    answers = net.client_ns.capture(refused, TUN, "icmp or icmp6")
    watch = Watch(net)
    for target in targets:
        watch.send(net.mallory[family_of(target)], target, f"host-{target}")
    watch.wait_drops(len(targets), "destination_denied")
    assert watch.marks() == NOWHERE
    answers.stop()
    # Administratively prohibited, from the gateway's address in the tunnel.
    for expression in (f"src {GATEWAY_INNER[4]} and icmp[0] == 3 and icmp[1] == 13",
                       f"src {GATEWAY_INNER[6]} and icmp6 and ip6[40] == 1 and ip6[41] == 1"):
        assert net.client_ns.run(["tcpdump", "-n", "-r", refused, expression]), expression

    net.gateway.run("user", "set", "mallory", "--reach-gateway", "all")
    watch = Watch(net)
    for target in targets:
        watch.send(net.mallory[family_of(target)], target, f"host-{target}")
    seen = watch.marks()
    assert seen["gateway"] == {f"host-{target}" for target in targets}, "the positive control"
    assert not seen["inner"] and not seen["bob"]

    net.gateway.run("user", "set", "mallory", "--reach-gateway", "tunnel")
    for prefix in later.values():
        net.gateway_ns.ip("address", "del", prefix, "dev", "inner")
    watch = Watch(net)
    for target in (GATEWAY_OUTER[6], *later):
        watch.send(net.mallory[family_of(target)], target, f"host-{target}")
    watch.wait_drops(1, "destination_denied")
    # What is somebody else's now passes again.
    assert watch.marks()["gateway"] == {f"host-{target}" for target in later}


def test_the_gateways_inner_address_by_level(net):
    for level, passes in (("no", False), ("ping", False), ("tunnel", True)):
        net.gateway.run("user", "set", "mallory", "--reach-gateway", level)
        watch = Watch(net)
        for family in FAMILIES:
            watch.send(net.mallory[family], GATEWAY_INNER[family], f"inner{family}-{level}")
        seen = watch.marks()
        expected = {f"inner{family}-{level}" for family in FAMILIES} if passes else set()
        assert seen == {**NOWHERE, "gateway": expected}
        for family in FAMILIES:
            ping = net.client_ns.ping(GATEWAY_INNER[family], wait=1, options=["-I", TUN])
            assert ping.ok == (level != "no"), (level, ping.output)


def test_what_is_not_allowed_ends_at_the_gateway(net):
    targets = ["203.0.113.77", "2001:db8:abc::7"]
    net.gateway.run("user", "set", "mallory", "--allow", "10.77.0.0/24", "--allow", "fd77::/64")
    watch = Watch(net)
    for target in targets:
        watch.send(net.mallory[family_of(target)], target, f"denied-{target}")
    for family in FAMILIES:
        watch.send(net.mallory[family], INNER[family], f"allowed-{family}")
    watch.wait_drops(2, "destination_denied")
    assert watch.marks() == {**NOWHERE, "gateway": {"allowed-4", "allowed-6"},
                             "inner": {"allowed-4", "allowed-6"}}
    net.gateway.run("user", "set", "mallory", "--allow", "none")
    watch = Watch(net)
    for target in targets:
        watch.send(net.mallory[family_of(target)], target, f"denied-{target}")
    assert watch.marks()["gateway"] == {f"denied-{target}" for target in targets}


def test_other_clients_are_reached_with_both_permissions_only(net):
    def marks_at_bob() -> set[str]:
        watch = Watch(net)
        for family in FAMILIES:
            watch.send(net.mallory[family], address_of(net.bob, family), f"client-{family}")
        seen = watch.marks()
        assert not seen["gateway"] and not seen["inner"]
        if not seen["bob"]:
            watch.wait_drops(2, "client_to_client")
        return seen["bob"]

    assert marks_at_bob() == set()
    net.gateway.run("user", "set", "mallory", "--reach-clients", "yes")
    assert marks_at_bob() == set()
    net.gateway.run("user", "set", "bob", "--reach-clients", "yes")
    assert marks_at_bob() == {"client-4", "client-6"}
    net.gateway.run("user", "set", "mallory", "--reach-clients", "no")
    assert marks_at_bob() == set()
