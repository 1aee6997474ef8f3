// SPDX-License-Identifier: Apache-2.0
// A client's address changes under its connection (RFC 9000 8.2, 9), seen on the wire: who is
// challenged, with what, how much goes where, and what the gateway forgets.
#include <algorithm>
#include <map>
#include <set>

#include "tests/scenarios/wire.h"

namespace masque {
namespace {

const SocketAddress kServer{.address = IpAddress::v4(0xc0000201), .port = 443};
const IpAddress kHome = IpAddress::v4(0xc6120701);   // 198.18.7.1
const IpAddress kOther = IpAddress::v4(0xc6120702);  // 198.18.7.2

SimClient& client_behind_nat(Lab& lab) {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  lab.network.add_nat(client.id(), kHome);
  EXPECT_TRUE(lab.connect(client));
  lab.run(1s);
  return client;
}

// Lives at an address and answers nothing.
class Nobody final : public UdpHost {
 public:
  void on_udp(const NetworkPath&, Ecn, Bytes) override { ++received; }
  size_t received = 0;
};

QuicStats gateway_stats(Lab& lab) {
  QuicStats out;
  lab.server().endpoint().for_each(
      [&out](EndpointConnection& connection) { out = connection.quic().stats(); });
  return out;
}

// Every challenge and response: their bytes, by where they went.
struct Paths {
  std::multimap<std::string, const WireDatagram*> challenges, responses;
};
Paths paths_in(const std::vector<WireDatagram>& seen) {
  Paths out;
  for (const WireDatagram& datagram : seen) {
    for (const WirePacket& packet : datagram.packets) {
      for (const WireFrame& frame : packet.frames) {
        const std::string data(as_text(frame.data));
        if (frame.is(FrameType::PathChallenge)) out.challenges.emplace(data, &datagram);
        if (frame.is(FrameType::PathResponse)) out.responses.emplace(data, &datagram);
      }
    }
  }
  return out;
}

// proves: M4, P1, P2
SCENARIO(a_new_address_is_challenged, 4,
         "The NAT moves under traffic: fresh challenges, each echoed once, on its path, at once") {
  if (!wire_is_plain(lab)) return;
  SimClient& client = client_behind_nat(lab);
  lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 600});
  lab.stream(lab.internet(), client.inner(), {.interval = 20ms, .packet_size = 600});
  lab.run(1s);
  WireTap tap(lab);
  lab.run(500ms);
  for (int i = 0; i < 4; ++i) {
    lab.network.rebind_address(client.id(), i % 2 == 0 ? kOther : kHome);
    lab.run(3s);
  }
  EXPECT_EQ(client.dials(), 1u);
  const Paths paths = paths_in(tap.seen());
  std::set<SocketAddress> challenged;
  ASSERT_FALSE(paths.challenges.empty());
  for (const auto& [data, datagram] : paths.challenges) {
    EXPECT_EQ(paths.challenges.count(data), 1u) << "not fresh";
    EXPECT_LE(paths.responses.count(data), 1u) << "echoed more than once";
    if (datagram->to != kServer) challenged.insert(datagram->to);
  }
  for (const auto& [data, response] : paths.responses) {
    const auto asked = paths.challenges.find(data);
    ASSERT_NE(asked, paths.challenges.end()) << "nobody asked for it";
    // On its path, at once: two access links of 10 ms lie between.
    EXPECT_EQ(response->from, asked->second->to);
    EXPECT_EQ(response->to, asked->second->from);
    EXPECT_LE(response->at - asked->second->at, 25ms);
    EXPECT_GE(response->size, 1200u);
  }
  // Padded, but for those to an address that has not sent a third of it yet (RFC 9000 8.2.1).
  size_t padded = 0;
  for (const auto& [data, datagram] : paths.challenges) padded += datagram->size >= 1200 ? 1 : 0;
  EXPECT_GE(padded, 4u);
  EXPECT_GE(challenged.size(), 4u);
  lab.finish();
}

// proves: M10b
SCENARIO(a_new_address_gets_a_token, 4,
         "The NAT moves: the gateway gives the client a token for its new address") {
  if (!wire_is_plain(lab)) return;
  SimClient& client = client_behind_nat(lab);
  WireTap tap(lab);
  lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 600});
  lab.run(1s);
  const auto tokens_to = [&](const IpAddress& address) {
    return std::ranges::count_if(tap.seen(), [&](const WireDatagram& datagram) {
      return datagram.to.address == address && datagram.has(FrameType::NewToken);
    });
  };
  EXPECT_EQ(tokens_to(kHome), 0) << "the one of the handshake has gone before";
  lab.network.rebind_address(client.id(), kOther);
  lab.run(2s);
  EXPECT_EQ(tokens_to(kOther), 1);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: M4
SCENARIO(an_old_packet_moves_nothing, 4,
         "A packet from the former address that comes late does not draw the gateway back") {
  if (!wire_is_plain(lab)) return;
  SimClient& client = client_behind_nat(lab);
  lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 600});
  lab.stream(lab.internet(), client.inner(), {.interval = 20ms, .packet_size = 600});
  lab.run(500ms);
  std::optional<Network::Packet> held;
  WireTap tap(lab, [&](const Network::Packet& packet, const WireDatagram&) {
    if (packet.to != kServer || held) return false;
    held = packet;
    return true;
  });
  lab.run(100ms);
  ASSERT_TRUE(held);
  lab.network.rebind_address(client.id(), kOther);
  lab.run(1s);
  tap.forget();
  lab.network.inject(*held);
  lab.run(1s);
  for (const WireDatagram& datagram : tap.seen()) {
    if (datagram.to == kServer) continue;
    EXPECT_EQ(datagram.to.address, kOther);
  }
  EXPECT_GE(tap.seen().size(), 50u);
  lab.finish();
}

// proves: M5, P4
SCENARIO(a_silent_new_address_gets_little, 4,
         "An address that answers no challenge: three times its bytes at most, for three seconds") {
  if (!wire_is_plain(lab)) return;
  SimClient& client = client_behind_nat(lab);
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 300});
  lab.run(500ms);
  // A spoofed migration: one packet of the client's comes from elsewhere, ahead of its original.
  const SocketAddress victim{.address = Lab::address("198.18.0.66"), .port = 4321};
  Nobody nobody;
  lab.network.attach(nobody, victim.address, Network::Kind::Client);
  bool spoofed = false;
  WireTap tap(lab, [&](const Network::Packet& packet, const WireDatagram&) {
    if (packet.to != kServer || spoofed) return false;
    spoofed = true;
    Network::Packet copy = packet;
    copy.from = victim;
    lab.network.inject(copy);
    // And the client is not heard for a while.
    lab.network.set_links(client.id(), {.path = LinkOptions::Path::Blackhole}, {.delay = 10ms});
    return true;
  });
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 5ms, .packet_size = 1000});
  lab.run(10s);
  ASSERT_TRUE(spoofed);
  const auto* account = lab.network.account(victim);
  ASSERT_NE(account, nullptr);
  EXPECT_LE(account->sent, 3 * account->received);
  std::optional<Instant> first, last;
  for (const WireDatagram& datagram : tap.seen()) {
    if (datagram.to != victim) continue;
    if (!first) first = datagram.at;
    last = datagram.at;
  }
  ASSERT_TRUE(first);
  // RFC 9000 8.2.4: three times the larger probe timeout, about 3 s on a path without an RTT.
  EXPECT_LE(*last - *first, 3200ms);
  down.stop();
  up.stop();
  lab.network.set_links(client.id(), {});
  lab.finish();
}

// proves: M6, M7
SCENARIO(the_old_address_is_challenged_too, 4,
         "After a rebinding both addresses are asked; the client answers with more than a probe") {
  if (!wire_is_plain(lab)) return;
  SimClient& client = client_behind_nat(lab);
  Nobody former;
  lab.network.attach(former, kHome, Network::Kind::Client);
  lab.run(1s);
  WireTap tap(lab);
  lab.network.rebind_address(client.id(), kOther);
  // One packet of the client's shows the new address.
  Flow& one = lab.ping(client.inner(), lab.internet(), {.interval = 1s});
  lab.run(1500ms);
  one.stop();
  lab.run(2s);
  EXPECT_EQ(one.arrived(), 1u);
  const Paths paths = paths_in(tap.seen());
  const auto challenged = [&](const IpAddress& address) {
    return std::ranges::any_of(paths.challenges, [&](const auto& challenge) {
      return challenge.second->to.address == address;
    });
  };
  EXPECT_TRUE(challenged(kOther));
  EXPECT_TRUE(challenged(kHome));
  EXPECT_GE(former.received, 1u);
  // RFC 9000 9.3.3: so an attacker who forwards packets does not keep the gateway for itself.
  ASSERT_FALSE(paths.responses.empty());
  for (const auto& [data, seen] : paths.responses) {
    const WireDatagram* response = seen;
    EXPECT_TRUE(std::ranges::any_of(tap.seen(), [&](const WireDatagram& other) {
      return other.from == response->from && other.at >= response->at &&
             other.at <= response->at + 30ms &&
             std::ranges::any_of(other.packets, [](const WirePacket& packet) {
               return !std::ranges::all_of(packet.frames, &WireFrame::probing);
             });
    }));
  }
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: M6
SCENARIO(a_spoofed_migration_is_undone, 4,
         "When the new address says nothing, the gateway returns to the last one that it knows") {
  if (!wire_is_plain(lab)) return;
  SimClient& client = client_behind_nat(lab);
  lab.run(2s);
  const SocketAddress victim{.address = Lab::address("198.18.0.66"), .port = 4321};
  Nobody nobody;
  lab.network.attach(nobody, victim.address, Network::Kind::Client);
  bool spoofed = false;
  SocketAddress home;
  WireTap tap(lab, [&](const Network::Packet& packet, const WireDatagram&) {
    if (packet.to != kServer || spoofed) return false;
    spoofed = true;
    home = packet.from;
    Network::Packet copy = packet;
    copy.from = victim;
    lab.network.inject(copy);
    // The client cannot draw the gateway back by what it sends.
    lab.network.set_links(client.id(), {.path = LinkOptions::Path::Blackhole}, {.delay = 10ms});
    return true;
  });
  Flow& up = lab.ping(client.inner(), lab.internet(), {.interval = 1s});
  EXPECT_TRUE(lab.until([&] { return spoofed; }, 5s));
  up.stop();
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 200ms});
  lab.run(4s);
  EXPECT_GE(nobody.received, 1u) << "it was asked";
  tap.forget();
  lab.run(4s);
  down.stop();
  // Probes of loss recovery at least; to nobody else.
  EXPECT_TRUE(std::ranges::any_of(
      tap.seen(), [&](const WireDatagram& datagram) { return datagram.to == home; }));
  EXPECT_TRUE(std::ranges::none_of(
      tap.seen(), [&](const WireDatagram& datagram) { return datagram.to == victim; }));
  lab.network.set_links(client.id(), {});
  EXPECT_TRUE(lab.ping_works(client, 15s));
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: M9
SCENARIO(a_new_path_begins_anew, 3,
         "Another address: window and RTT as at the start. Another port alone: they stay") {
  SimClient& client = client_behind_nat(lab);
  lab.transfer(lab.internet(), client.inner(), {.bytes = 3'000'000});
  lab.run(2s);
  const uint64_t grown = gateway_stats(lab).congestion_window;
  constexpr uint64_t kInitialWindowMax = 10 * 1472;  // RFC 9002 7.2, with our largest datagram
  ASSERT_GT(grown, 2 * kInitialWindowMax);
  const auto least_after = [&](auto change) {
    uint64_t least = UINT64_MAX;
    change();
    lab.ping(client.inner(), lab.internet(), {.interval = 50ms});
    const Instant until = lab.world.now() + 1s;
    while (lab.world.now() < until) {
      lab.run(5ms);
      least = std::min(least, gateway_stats(lab).congestion_window);
    }
    return least;
  };
  EXPECT_GE(least_after([&] { lab.network.rebind_port(client.id()); }), grown);
  EXPECT_LE(least_after([&] { lab.network.rebind_address(client.id(), kOther); }),
            kInitialWindowMax);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: M10
SCENARIO(a_new_path_searches_its_mtu_anew, 3,
         "The NAT moves to a narrower path and back: what fits is found again each time") {
  SimClient& client = client_behind_nat(lab);
  lab.stream(lab.internet(), client.inner(), {.interval = 20ms, .packet_size = 1400});
  lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 600});
  lab.run(3s);
  const auto mtu = [&] { return lab.server().gateway()->sessions().at(0).mtu; };
  const size_t wide = mtu();
  ASSERT_GT(wide, 1400u);
  // The client keeps its connection ID, for it does not know: so the library keeps the MTU too, and
  // what is lost there starts the search.
  lab.network.set_links(client.id(), {.mtu = 1400});
  lab.network.rebind_address(client.id(), kOther);
  size_t least = wide;
  for (int i = 0; i < 200; ++i) {
    lab.run(50ms);
    least = std::min(least, mtu());
  }
  EXPECT_LE(least, 1172u) << "from the size that every path carries";
  EXPECT_GT(mtu(), 1280u);
  EXPECT_LT(mtu(), 1400u - 60u);
  lab.network.set_links(client.id(), LinkOptions{});
  lab.network.rebind_address(client.id(), kHome);
  EXPECT_TRUE(lab.until([&] { return mtu() == wide; }, 60s));
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: M10
SCENARIO(
    a_new_path_validates_ecn_anew, 3,
    "The NAT moves: a few packets are marked, the rest only when the client has told of them") {
  if (!wire_is_plain(lab)) return;
  SimClient& client = client_behind_nat(lab);
  lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 600});
  lab.stream(lab.internet(), client.inner(), {.interval = 1ms, .packet_size = 100});
  lab.run(2s);
  WireTap tap(lab);
  struct Marks {
    size_t marked = 0, plain = 0;
  };
  // Of the gateway's datagrams with packets in them, to one address.
  const auto marks = [&](const IpAddress& to) {
    Marks out;
    for (const WireDatagram& datagram : tap.seen()) {
      if (datagram.from != kServer || datagram.to.address != to) continue;
      if (!datagram.has(FrameType::Datagram)) continue;
      ++(datagram.ecn == Ecn::NotEct ? out.plain : out.marked);
    }
    return out;
  };
  lab.run(500ms);
  const Marks before = marks(kHome);
  EXPECT_GT(before.marked, 100u);
  EXPECT_EQ(before.plain, 0u) << "validated";
  // Until the first acknowledgement from there: its packets and ours cross once.
  lab.network.rebind_address(client.id(), kOther);
  lab.run(500ms);
  const Marks anew = marks(kOther);
  EXPECT_GE(anew.marked, 1u);
  EXPECT_GT(anew.plain, 0u) << "believed without asking";
  lab.run(2s);
  tap.forget();
  lab.run(500ms);
  const Marks after = marks(kOther);
  EXPECT_GT(after.marked, 100u);
  EXPECT_EQ(after.plain, 0u);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: M1, M2
SCENARIO(the_client_does_not_migrate, 3,
         "Whatever its network does: a connection stays at the address where it was dialled") {
  if (!wire_is_plain(lab)) return;
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  WireTap tap(lab);
  ASSERT_TRUE(lab.connect(client));
  for (int i = 0; i < 3; ++i) {
    client.control([](TunnelClient& tunnel) { tunnel.on_network_changed(); });
    lab.run(500ms);
    lab.kill_server();
    lab.server().start(SimServer::Secret::Kept);
    const uint64_t dials = client.dials();
    EXPECT_TRUE(lab.until([&] { return client.dials() > dials && client.connected(); }, 60s));
  }
  // Each address of its begins with an Initial, so nothing of an older connection came from it.
  std::set<SocketAddress> known;
  for (const WireDatagram& datagram : tap.seen()) {
    if (datagram.to != kServer || known.contains(datagram.from)) continue;
    EXPECT_TRUE(datagram.has(WirePacket::Kind::Initial)) << datagram.from.to_string();
    known.insert(datagram.from);
  }
  EXPECT_GE(known.size(), 4u);
  lab.finish();
}

// proves: M11
SCENARIO(packets_of_a_foreign_server_address, 4,
         "The gateway's own packets from another address: dropped, and nothing is sent there") {
  if (!wire_is_plain(lab)) return;
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  const bool other_host = lab.seed() % 2 == 0;
  const SocketAddress foreign{.address = other_host ? Lab::address("192.0.2.77") : kServer.address,
                              .port = other_host ? kServer.port : static_cast<uint16_t>(4433)};
  Nobody nobody;
  if (other_host) lab.network.attach(nobody, foreign.address, Network::Kind::Client);
  Flow& ping = lab.ping(client.inner(), lab.internet(), {.interval = 50ms});
  lab.run(1s);
  EXPECT_GT(ping.arrived(), 10u);
  size_t moved = 0;
  WireTap tap(lab, [&](const Network::Packet& packet, const WireDatagram&) {
    if (packet.from != kServer) return false;
    ++moved;
    Network::Packet other = packet;
    other.from = foreign;
    lab.network.inject(other);
    return true;
  });
  lab.run(50ms);  // what was on the way
  ping.restart_figures();
  lab.run(2s);
  EXPECT_EQ(ping.arrived(), 0u);
  EXPECT_GT(moved, 5u);
  EXPECT_TRUE(std::ranges::none_of(
      tap.seen(), [&](const WireDatagram& datagram) { return datagram.to == foreign; }));
  EXPECT_EQ(nobody.received, 0u);
  tap.set_drop({});
  EXPECT_TRUE(lab.ping_works(client, 15s));
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

}  // namespace
}  // namespace masque
