# SPDX-License-Identifier: Apache-2.0
"""MTU: what the tunnel says it carries it carries, and one byte more is answered with the true size.

    client ── router ══ MTU varies ══ gateway ── inner (echo)
      ╰══════════ tunnel ════════════════╯
"""

import re
import time
from collections.abc import Iterator

import pytest

from networks import (CLIENT_TUN, GATEWAY_TUN, INNER, PING_HEADERS, Network, address_of, family_of,
                      link_mtu, network, wait_for)

SETTLE_LIMIT_S = 30
# Fields of IP, UDP, QUIC and HTTP Datagram around an inner packet: never fewer, never more.
OVERHEAD_MIN = {4: 28 + 21, 6: 48 + 21}
OVERHEAD_MAX = {4: 28 + 60, 6: 48 + 60}
# A path that PMTUD tries in steps carries a little more than what is used of it.
SEARCH_STEP = 70


def set_outer_mtu(net: Network, mtu: int) -> None:
    """Of the link between router and gateway, both ends: routers answer with Packet Too Big."""
    for where, interface in ((net.router, "gateway"), (net.gateway_ns, "router")):
        where.ip("link", "set", "dev", interface, "mtu", str(mtu))


def blackhole_above(net: Network, mtu: int) -> None:
    """The router loses larger packets without a word. It sees them as a wire carries them: no
    super-packets."""
    for where, interface in ((net.client_ns, "router"), (net.gateway_ns, "router"),
                             (net.router, "client"), (net.router, "gateway")):
        where.run(["ethtool", "-K", interface, "gso", "off", "gro", "off",
                   "tx-udp-segmentation", "off"])
    net.router.run(["nft", f"""
        table inet narrow {{
          chain forward {{
            type filter hook forward priority 0;
            meta length > {mtu} counter drop
          }}
        }}"""])


def forget_path_mtu(net: Network) -> None:
    """What hosts have learned from Packet Too Big, which they would keep for ten minutes."""
    for where in (net.client_ns, net.gateway_ns, net.inner, net.router):
        where.ip("route", "flush", "cache")
        where.ip("-6", "route", "flush", "cache")


def reconnect(net: Network) -> None:
    """A new connection over the path as it is now; and nobody remembers what it was before."""
    net.client.stop()
    forget_path_mtu(net)
    net.client.start()
    net.client.wait_connected()


def settled_mtu(net: Network, above: int = 0, below: int = 1 << 16) -> int:
    """The MTU of the tunnel once both ends, and the interface, agree on it and it stays. Packets keep
    the search going."""
    seen: list[int] = []

    def steady() -> bool:
        net.client_ns.ping(INNER[4], wait=0.1)
        client, session = net.client.status()["mtu"], net.session().get("mtu", 0)
        # The interface keeps 1280, below which the kernel has no IPv6; Packet Too Big fills the gap.
        link = link_mtu(net.client_ns, CLIENT_TUN)
        same = client == session and link == max(1280, client) and above < client < below
        seen.append(client if same else -len(seen))
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    wait_for(steady, SETTLE_LIMIT_S, f"a steady MTU between {above} and {below}")
    return seen[-1]


def largest_ping(net: Network, family: int, mtu: int, back: bool = False) -> None:
    """A packet of `mtu` bytes passes unfragmented; one byte more is refused with the true size."""
    sender, target = ((net.inner, address_of(net.client, family)) if back
                      else (net.client_ns, INNER[family]))
    size = mtu - PING_HEADERS[family]
    reply = wait_for(lambda: sender.ping(target, size=size, options=["-M", "do"]), 10, "a ping")
    assert reply.ok, f"{mtu} bytes must pass: {reply.output}"
    for _ in range(3):  # the first may be the one that teaches the sender
        reply = sender.ping(target, size=size + 1, options=["-M", "do"], wait=1)
        assert not reply.received, f"{mtu + 1} bytes must not pass"
        if told := re.search(r"mtu ?[=:] ?(\d+)", reply.output):
            assert int(told[1]) == mtu, reply.output
            return
        if not back and "too long" in reply.output:  # for the sender's own interface
            assert link_mtu(net.client_ns, CLIENT_TUN) == mtu
            return
    raise AssertionError(f"no Packet Too Big for {mtu + 1} bytes: {reply.output}")


@pytest.fixture(name="net", scope="module", params=[4, 6], ids=["outer4", "outer6"])
def network_with_tunnel(request: pytest.FixtureRequest) -> Iterator[Network]:
    with network("mtu") as net:
        net.start_gateway()
        net.outer = request.param
        net.client = net.connect(outer=request.param)
        net.serve_echo(net.inner)
        yield net


@pytest.mark.parametrize("outer_mtu", [1400, 1450, 1492, 1500])
def test_the_mtu_is_what_the_path_carries(net, outer_mtu):
    set_outer_mtu(net, outer_mtu)
    reconnect(net)
    mtu = settled_mtu(net, below=outer_mtu)
    assert mtu <= outer_mtu - OVERHEAD_MIN[net.outer]
    assert mtu >= max(1280, outer_mtu - OVERHEAD_MAX[net.outer] - SEARCH_STEP)
    for family in (4, 6):
        largest_ping(net, family, mtu)
        largest_ping(net, family, mtu, back=True)
        report = net.exchange_udp(net.client_ns, INNER[family], 100, 2000)
        assert report["received"] == 100, report
    net.lab.transfer(net.client_ns, net.inner, INNER[4], 5_000_000)
    net.lab.transfer(net.inner, net.client_ns, address_of(net.client, 6), 5_000_000)


def test_ipv4_that_may_be_fragmented_passes_where_the_session_is_narrower_than_the_interface(net):
    """The gateway's interface is as wide as an Ethernet path; its kernel leaves to us what only one
    session cannot carry."""
    set_outer_mtu(net, 1400)
    reconnect(net)
    mtu = settled_mtu(net, below=1400)
    wide = link_mtu(net.gateway_ns, GATEWAY_TUN)
    assert wide > mtu
    reply = net.inner.ping(address_of(net.client, 4), size=wide - PING_HEADERS[4], count=3,
                           options=["-M", "dont"])
    assert reply.received == 3, reply.output


# Of a link that changes under a live tunnel. Below the last one IPv6 inside would not fit.
SWEEP = {4: [*range(1490, 1355, -15), 1345], 6: [*range(1490, 1375, -15), 1365]}


def test_the_mtu_follows_a_live_path_through_many_sizes(net):
    """Down in small steps on one connection: at each the tunnel says what passes, and it passes."""
    set_outer_mtu(net, 1500)
    reconnect(net)
    last = settled_mtu(net, above=1380)
    reconnects = net.client.status()["reconnects"]
    seen = {1500: last}
    for outer_mtu in SWEEP[net.outer]:
        set_outer_mtu(net, outer_mtu)
        most = outer_mtu - OVERHEAD_MIN[net.outer]

        def fits(most: int = most) -> int:
            # Packets of full size, each way and of each family, show that the path has become
            # narrower; once all pass, the size is the right one.
            mtu = net.client.status()["mtu"]
            forget_path_mtu(net)
            passed = [sender.ping(target, size=mtu - PING_HEADERS[family], options=["-M", "do"],
                                  wait=0.2).ok
                      for family in (4, 6)
                      for sender, target in ((net.client_ns, INNER[family]),
                                             (net.inner, address_of(net.client, family)))]
            return mtu if all(passed) and mtu <= most and mtu == net.client.status()["mtu"] else 0

        mtu = wait_for(fits, SETTLE_LIMIT_S, f"an MTU that fits a path of {outer_mtu}")
        assert max(1280, most - SEARCH_STEP) <= mtu <= last, (outer_mtu, mtu, last)
        seen[outer_mtu] = last = mtu
    print(f"MTU of the tunnel by MTU of the path: {seen}")
    assert len(set(seen.values())) >= 4, seen
    assert net.client.status()["reconnects"] == reconnects
    net.lab.transfer(net.client_ns, net.inner, INNER[4], 2_000_000)
    # And up: a wider path is found by the next connection.
    for outer_mtu in (1400, 1470, 1500):
        set_outer_mtu(net, outer_mtu)
        reconnect(net)
        mtu = settled_mtu(net, above=last - 1, below=outer_mtu)
        assert mtu <= outer_mtu - OVERHEAD_MIN[net.outer]
        last = mtu
    assert last == seen[1500]


@pytest.mark.parametrize("silent", [False, True], ids=["told", "silent"])
def test_the_path_narrows_under_a_live_tcp_connection(net, silent):
    set_outer_mtu(net, 1500)
    reconnect(net)
    settled_mtu(net, above=1380)
    flow = net.start_flow(net.client_ns, INNER[4], size=6000)
    try:
        if silent:
            blackhole_above(net, 1420)
        else:
            set_outer_mtu(net, 1420)
        mtu = settled_mtu(net, below=1420 - OVERHEAD_MIN[net.outer] + 1)
        net.lab.transfer(net.client_ns, net.inner, INNER[4], 5_000_000, port=5002)
        net.lab.transfer(net.inner, net.client_ns, address_of(net.client, 6), 5_000_000,
                         port=5003)
        report = flow.finish()
    finally:
        net.router.try_run(["nft", "delete", "table", "inet", "narrow"])
    assert report["intact"]
    assert report["longest_gap_s"] < 10, report
    assert mtu >= 1280
    assert net.client.status()["reconnects"] == 0


@pytest.mark.parametrize("outer_mtu", [1501, 1800, 4000, 9000])
def test_jumbo_frames(net, outer_mtu):
    """A path of more than 1500 is used as far as the tunnel measures it, and what it says holds."""
    everything = ((net.client_ns, "router"), (net.router, "client"), (net.router, "gateway"),
                  (net.gateway_ns, "router"), (net.gateway_ns, "inner"), (net.inner, "gateway"))
    for where, interface in everything:
        where.ip("link", "set", "dev", interface, "mtu", str(outer_mtu))
    try:
        reconnect(net)
        mtu = settled_mtu(net, above=1380)
        for family in (4, 6):
            largest_ping(net, family, mtu)
            largest_ping(net, family, mtu, back=True)
        net.lab.transfer(net.client_ns, net.inner, INNER[4], 5_000_000)
        net.lab.transfer(net.inner, net.client_ns, address_of(net.client, 4), 5_000_000)
    finally:
        for where, interface in everything:
            where.ip("link", "set", "dev", interface, "mtu", "1500")


@pytest.mark.parametrize("outer_mtu", [1280, 1300, 1320, 1340])
def test_ipv4_over_paths_too_narrow_for_ipv6(outer_mtu):
    """A tunnel without IPv6 needs no 1280 bytes."""
    with network("narrow") as net:
        net.start_gateway(pools=["10.8.0.0/24"])
        net.outer = 4
        net.serve_echo(net.inner)
        set_outer_mtu(net, outer_mtu)
        net.client = net.connect()
        mtu = settled_mtu(net, below=outer_mtu - OVERHEAD_MIN[4] + 1)
        largest_ping(net, 4, mtu)
        largest_ping(net, 4, mtu, back=True)
        net.lab.transfer(net.client_ns, net.inner, INNER[4], 5_000_000)
        net.lab.transfer(net.inner, net.client_ns, address_of(net.client, 4), 5_000_000)


# proves: U4
def test_a_path_that_cannot_carry_1280_goes_on_with_ipv4_alone():
    """RFC 9484 7.2: an IPv6 tunnel ends with the reason; the next one is for IPv4."""
    with network("u4") as net:
        net.start_gateway()
        set_outer_mtu(net, 1280)
        client = net.make_client()
        client.start()
        status = wait_for(lambda: (s := client.status()).get("last_error") and s, 60,
                          "the client to give the reason", [client.process])
        assert re.search(r"1280|MTU", status["last_error"]), status
        wait_for(lambda: (s := client.status())["state"] == "connected" and all(
            family_of(address) == 4 for address in s["addresses"]), 20, "a tunnel for IPv4 alone",
            [client.process])
        assert client.process.wait_line("client.ipv6_dropped", 5)
        net.lab.transfer(net.client_ns, net.inner, INNER[4], 1_000_000)
        # IPv6 goes into the tunnel as before and is refused there, not past it.
        assert CLIENT_TUN in net.client_ns.ip("-6", "route", "get", INNER[6])
        assert not net.client_ns.ping(INNER[6], wait=1).ok
        reconnects = client.status()["reconnects"]
        time.sleep(20)  # longer than the patience with a narrow path
        assert client.status()["reconnects"] == reconnects
        assert net.client_ns.ping(INNER[4]).ok
