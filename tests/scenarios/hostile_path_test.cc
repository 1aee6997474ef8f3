// SPDX-License-Identifier: Apache-2.0
// Somebody on the wire, without keys, against the path layer (faults.md G, Q, P1, P3): sees every
// packet and adds packets of their own right behind it, made from what was seen. Bits are turned,
// packets are cut, extended, kept and sent again, put together anew, sent to another connection.
//
// Nothing but counters may change: what is sent arrives, unchanged and once (the ledger), in time,
// on the same connection, and nobody is made to send much more than without.
#include <gtest/gtest.h>

#include <deque>
#include <format>

#include "core/path/path_packet.h"
#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

constexpr size_t kFront = kPathPrefixSize + kPathHeaderSize;

using Packet = Network::Packet;

// Who listens and adds. `attack` is called for each short-header packet that passes and hands what
// it wants to add to add().
class Wiretap {
 public:
  using Attack = std::function<void(Wiretap&, const Packet&)>;

  Wiretap(Lab& lab, Attack attack) : lab_(lab), attack_(std::move(attack)) {
    lab_.network.set_filter([this](const Packet& packet) {
      if (!adding_) see(packet);
      return false;
    });
  }
  ~Wiretap() { lab_.network.set_filter(nullptr); }
  Wiretap(const Wiretap&) = delete;
  Wiretap& operator=(const Wiretap&) = delete;

  Rng& rng() { return lab_.world.rng(); }
  uint64_t below(uint64_t bound) { return lab_.below(bound); }
  uint64_t added() const { return added_; }
  // Packets seen in the direction of `packet`, the newest first.
  std::deque<Packet>& seen(const Packet& packet) {
    return packet.to.port == 443 ? to_server_ : to_client_;
  }
  // Behind the packet that is passing, or so much later.
  void add(Packet packet, Duration delay = 1us) {
    ++added_;
    lab_.world.after(delay, [this, packet = std::move(packet)] {
      adding_ = true;
      lab_.network.inject(packet);
      adding_ = false;
    });
  }
  void stop() { attack_ = nullptr; }

 private:
  void see(const Packet& packet) {
    if (!attack_ || packet.bytes.size() <= kFront || (packet.bytes[0] & 0x80) != 0) return;
    attack_(*this, packet);
    std::deque<Packet>& ring = seen(packet);
    ring.push_front(packet);
    if (ring.size() > kSeenMax) ring.pop_back();
  }

  static constexpr size_t kSeenMax = 1000;
  Lab& lab_;
  Attack attack_;
  std::deque<Packet> to_server_, to_client_;
  bool adding_ = false;
  uint64_t added_ = 0;
};

struct Targets {
  std::vector<SimClient*> clients;
};

Targets targets(Lab& lab, const LinkOptions& link, size_t count = 1) {
  ServerSetup server;
  server.gateway.resilience.mode = ResilienceMode::Auto;
  server.quic.congestion_control = CongestionControl::Bbr;
  lab.add_server(std::move(server));
  Targets out;
  for (size_t i = 0; i < count; ++i) {
    ClientSetup setup{.up = link, .down = link};
    setup.tunnel.resilience.mode = ResilienceMode::Auto;
    setup.quic.congestion_control = CongestionControl::Bbr;
    out.clients.push_back(&lab.add_client(std::format("anna{}", i), std::move(setup)));
    EXPECT_TRUE(lab.connect(*out.clients.back(), 30s));
  }
  return out;
}

struct Bounds {
  double stream_loss_max = 0.004;
  double call_loss_max = 0.007;  // two packets of 300
  // Of which 100 are the bottleneck's queue at the end of slow start.
  Duration call_delay_max = 150ms;
  double reported_loss_max = 0.01;  // what one end is told of the other
  double repairs_max = 0.05;        // for each bulk source
};

constexpr LinkOptions kCleanLink{.rate_bits_per_second = 50'000'000, .delay = 20ms};
constexpr Bounds kCleanBounds{};
constexpr LinkOptions kLossyLink{
    .rate_bits_per_second = 50'000'000, .delay = 20ms, .loss_ppm = 20'000};
constexpr Bounds kLossyBounds{.stream_loss_max = 0.01,
                              .call_loss_max = 0.01,
                              .call_delay_max = 250ms,
                              .reported_loss_max = 0.05,
                              .repairs_max = 0.3};
// A changed copy that comes in place of a packet that was lost takes its place: no worse than the
// link alone.
constexpr Bounds kUncodedBounds{.stream_loss_max = 0.04,
                                .call_loss_max = 0.06,
                                .call_delay_max = 250ms,
                                .reported_loss_max = 0.05,
                                .repairs_max = 0.3};
void check_figures(const char* who, const std::optional<PathFigures>& figures,
                   const Bounds& bounds) {
  ASSERT_TRUE(figures) << who;
  const PathClassFigures& bulk = figures->classes[static_cast<size_t>(TrafficClass::Bulk)];
  EXPECT_LE(bulk.loss_sent, bounds.reported_loss_max) << who;
  // The first 250 packets are protected as on a bad link, and where few are sent each of them
  // alone: so are the 40 acknowledgements a second of the first five (ack_spacing.h).
  EXPECT_LE(static_cast<double>(bulk.repairs_sent),
            bounds.repairs_max * static_cast<double>(bulk.sources_sent) + 260)
      << who;
  // One answer to each packet that was lost.
  EXPECT_LE(static_cast<double>(bulk.resent),
            2 * bounds.reported_loss_max * static_cast<double>(bulk.sources_sent) + 20)
      << who;
}

// A call both ways and 2 Mbit/s down, six seconds of them under attack.
void under_attack(Lab& lab, const LinkOptions& link, const Bounds& bounds, Wiretap::Attack attack) {
  SimClient& client = *targets(lab, link).clients[0];
  lab.run(1s);
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 160});
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 20ms, .packet_size = 160});
  Flow& stream = lab.stream(lab.internet(), client.inner(), {.interval = 4ms, .packet_size = 1000});
  lab.run(2s);
  for (Flow* flow : {&up, &down, &stream}) flow->restart_figures();
  Wiretap wire(lab, std::move(attack));
  lab.run(6s);
  check_figures("client", client.connection()->path_figures(lab.world.now()), bounds);
  for (const SessionSnapshot& session : lab.server().gateway()->sessions())
    check_figures("gateway", session.connection->path_figures(lab.world.now()), bounds);
  for (Flow* flow : {&up, &down, &stream}) flow->stop();
  lab.run(1s);
  wire.stop();
  EXPECT_LE(stream.figures().loss(), bounds.stream_loss_max);
  for (const Flow* call : {&up, &down}) {
    EXPECT_LE(call->figures().loss(), bounds.call_loss_max);
    EXPECT_LE(call->figures().delay_max, bounds.call_delay_max) << call->figures().delay_max / 1us;
  }
  EXPECT_EQ(client.dials(), 1u);
  EXPECT_TRUE(lab.ping_works(client, 1s)) << lab.describe(client);
  lab.finish();
}

SCENARIO(hostile_path_nobody, 1, "The same without an attack: what the bounds allow is not luck") {
  under_attack(lab, kCleanLink, kCleanBounds, [](Wiretap&, const Packet&) {});
}

SCENARIO(hostile_path_nobody_lossy, 1, "The same on a link that loses") {
  under_attack(lab, kLossyLink, kLossyBounds, [](Wiretap&, const Packet&) {});
}

void flip_bits(Wiretap& wire, Packet packet, size_t begin, size_t end) {
  for (uint64_t flips = 1 + wire.below(3); flips > 0; --flips) {
    const size_t at = begin + wire.below(end - begin);
    packet.bytes[at] ^= static_cast<uint8_t>(1u << wire.below(8));
  }
  wire.add(std::move(packet));
}

SCENARIO(hostile_path_bits_turned, 4, "A copy of every packet with some bits turned, anywhere") {
  under_attack(lab, kCleanLink, kCleanBounds, [](Wiretap& wire, const Packet& packet) {
    flip_bits(wire, packet, 0, packet.bytes.size());
  });
}

SCENARIO(hostile_path_bits_turned_lossy, 4, "The same on a link that loses: repairs are forged") {
  under_attack(lab, kLossyLink, kUncodedBounds, [](Wiretap& wire, const Packet& packet) {
    flip_bits(wire, packet, 0, packet.bytes.size());
  });
}

// The header keeps its mask: the sample at the packet's end is left alone.
SCENARIO(hostile_path_contents_turned, 4, "Bits turned between the header and the sample") {
  under_attack(lab, kLossyLink, kUncodedBounds, [](Wiretap& wire, const Packet& packet) {
    if (packet.bytes.size() > kFront + PathProtection::kSampleSize)
      flip_bits(wire, packet, kFront, packet.bytes.size() - PathProtection::kSampleSize);
  });
}

SCENARIO(hostile_path_cut_and_extended, 4, "Every packet also shorter, and longer") {
  under_attack(lab, kCleanLink, kCleanBounds, [](Wiretap& wire, const Packet& packet) {
    Packet changed = packet;
    if (wire.below(2) == 0) {
      changed.bytes.resize(1 + wire.below(packet.bytes.size() - 1));
    } else {
      changed.bytes.resize(packet.bytes.size() + 1 + wire.below(400));
      for (size_t i = packet.bytes.size(); i < changed.bytes.size(); ++i)
        changed.bytes[i] = static_cast<uint8_t>(wire.below(256));
    }
    wire.add(std::move(changed));
  });
}

SCENARIO(hostile_path_replayed_at_once, 4, "Every packet three times") {
  under_attack(lab, kCleanLink, kCleanBounds, [](Wiretap& wire, const Packet& packet) {
    for (int i = 0; i < 2; ++i) wire.add(packet, Duration(1us) * (1 + wire.below(300)));
  });
}

void replay_old(Wiretap& wire, const Packet& packet) {
  auto& seen = wire.seen(packet);
  if (!seen.empty()) wire.add(seen[wire.below(seen.size())]);
}

SCENARIO(hostile_path_replayed_old, 4, "With every packet one of the last thousand again") {
  under_attack(lab, kCleanLink, kCleanBounds, replay_old);
}

SCENARIO(hostile_path_replayed_old_lossy, 4, "The same on a link that loses: old repairs") {
  under_attack(lab, kLossyLink, kLossyBounds, replay_old);
}

// What is small and begins like a repair is a request or a report.
SCENARIO(hostile_path_messages_replayed, 4, "Every message of the layer ten times") {
  under_attack(lab, kLossyLink, kLossyBounds, [](Wiretap& wire, const Packet& packet) {
    constexpr size_t kMessageMax = 110;
    if (packet.bytes.size() > kMessageMax) return;
    for (int i = 0; i < 10; ++i) wire.add(packet, Duration(1ms) * (1 + 3 * i));
  });
}

SCENARIO(hostile_path_headers_swapped, 4, "The header of one packet on the content of another") {
  under_attack(lab, kCleanLink, kCleanBounds, [](Wiretap& wire, const Packet& packet) {
    auto& seen = wire.seen(packet);
    if (seen.empty()) return;
    Packet changed = seen[wire.below(seen.size())];
    std::ranges::copy(Bytes(packet.bytes).subspan(kPathPrefixSize, kPathHeaderSize),
                      changed.bytes.begin() + kPathPrefixSize);
    wire.add(std::move(changed));
  });
}

SCENARIO(hostile_path_headers_turned, 4, "A copy of every packet with another place or time") {
  under_attack(lab, kCleanLink, kCleanBounds, [](Wiretap& wire, const Packet& packet) {
    flip_bits(wire, packet, kPathPrefixSize, kFront);
  });
}

SCENARIO(hostile_path_flood, 2, "Twenty thousand packets a second with the right connection ID") {
  under_attack(lab, kCleanLink, kCleanBounds, [](Wiretap& wire, const Packet& packet) {
    // About 350 packets a second pass in each direction: 25 for each.
    for (int i = 0; i < 25; ++i) {
      Packet made = packet;
      made.bytes.resize(kPathPrefixSize + wire.below(200));
      wire.rng().fill(MutableBytes(made.bytes).subspan(kPathPrefixSize));
      wire.add(std::move(made), Duration(1us) * static_cast<int64_t>(1 + wire.below(2000)));
    }
  });
}

SCENARIO(hostile_path_other_connection, 4, "Packets of one client with the ID of another") {
  const Targets both = targets(lab, kCleanLink, 2);
  std::vector<Flow*> flows;
  lab.run(1s);
  for (SimClient* client : both.clients) {
    flows.push_back(
        &lab.stream(client->inner(), lab.internet(), {.interval = 5ms, .packet_size = 800}));
    flows.push_back(
        &lab.stream(lab.internet(), client->inner(), {.interval = 5ms, .packet_size = 800}));
  }
  lab.run(2s);
  for (Flow* flow : flows) flow->restart_figures();
  Wiretap wire(lab, [](Wiretap& tap, const Packet& packet) {
    for (const Packet& other : tap.seen(packet)) {
      const SocketAddress& far = packet.to.port == 443 ? packet.from : packet.to;
      const SocketAddress& other_far = packet.to.port == 443 ? other.from : other.to;
      if (far == other_far) continue;
      Packet changed = other;
      changed.from = packet.from;
      changed.to = packet.to;
      std::ranges::copy(Bytes(packet.bytes).first(kPathPrefixSize), changed.bytes.begin());
      tap.add(std::move(changed));
      return;
    }
  });
  lab.run(5s);
  for (Flow* flow : flows) flow->stop();
  lab.run(1s);
  EXPECT_GT(wire.added(), 100u);
  wire.stop();
  for (const Flow* flow : flows) EXPECT_LE(flow->figures().loss(), 0.01);
  for (SimClient* client : both.clients) {
    EXPECT_EQ(client->dials(), 1u);
    EXPECT_TRUE(lab.ping_works(*client, 1s)) << lab.describe(*client);
  }
  lab.finish();
}

}  // namespace
}  // namespace masque
