// SPDX-License-Identifier: Apache-2.0
// Two whole layers over a link: the closed loop, and the shaper's first principles.
#include "core/path/path_layer.h"

#include <gtest/gtest.h>

#include "core/path/path_test_support.h"

namespace masque {
namespace {

using testing::kQuicId;
using testing::Packet;
using testing::quic_packet;
using testing::SumProtection;

PathLayer::Keys keys() {
  return {.send = std::make_unique<SumProtection>(), .receive = std::make_unique<SumProtection>()};
}

// Packets of `a` to `b`, reports of `b` to `a`; 20 ms each way.
class Link : public QuicPacketSink {
 public:
  explicit Link(const PathSettings& settings) : a(settings, keys()), b(settings, keys()) {
    a.add_connection_id(kQuicId);
    b.add_connection_id(kQuicId);
    Packet first(kPathHeaderSize);  // of b, which is silent otherwise
    const Packet quic = quic_packet(0, 60);
    first.insert(first.end(), quic.begin(), quic.end());
    b.wrap(now, TrafficClass::Bulk, first, quic.size());
  }
  // `every`: each so many-th packet is lost; 0: none.
  void run(Duration time, uint64_t every, int per_ms = 1) {
    for (const Instant end = now + time; now < end; now += 1ms) {
      for (int i = 0; i < per_ms; ++i) send_source(every);
      poll(a, to_b_, every);
      poll(b, to_a_, 0);
      arrive(to_b_, b);
      arrive(to_a_, a);
    }
  }
  uint64_t repairs() {
    return a.figures(now).classes[static_cast<size_t>(TrafficClass::Bulk)].repairs_sent;
  }
  void on_quic_packet(Instant, const PathArrival&, const DatagramOrigin&,
                      MutableBytes packet) override {
    const uint64_t number = load_be32(packet.data() + kPathPrefixSize);
    if (!std::ranges::equal(packet, quic_packet(number, packet.size()))) ++changed;
    ++delivered;
  }

  Instant now{10s};
  PathLayer a, b;
  uint64_t sources = 0, sent = 0, delivered = 0, changed = 0;

 private:
  struct UnderWay {
    Instant at;
    Packet packet;
  };
  void send(std::deque<UnderWay>& way, Packet packet, uint64_t every) {
    if (every == 0 || ++sent % every != 0) way.push_back({now + 20ms, std::move(packet)});
  }
  void send_source(uint64_t every) {
    const Packet quic = quic_packet(sources++, 300);
    Packet room(quic.size() + kPathHeaderSize);
    std::ranges::copy(quic, room.begin() + kPathHeaderSize);
    a.wrap(now, TrafficClass::Bulk, room, quic.size());
    send(to_b_, std::move(room), every);
  }
  void poll(PathLayer& from, std::deque<UnderWay>& way, uint64_t every) {
    for (Packet room(1500);; room.assign(1500, 0)) {
      const size_t size = from.poll_transmit(now, room);
      if (size == 0) return;
      room.resize(size);
      send(way, std::move(room), every);
    }
  }
  void arrive(std::deque<UnderWay>& way, PathLayer& at) {
    for (; !way.empty() && way.front().at <= now; way.pop_front())
      EXPECT_TRUE(at.on_packet(now, {}, way.front().packet, *this));
    at.on_timeout(now, *this);
  }
  std::deque<UnderWay> to_b_, to_a_;
};

// The first packets are protected as on a bad link, until enough of them have said "clean".
TEST(PathLayer, a_clean_link_gets_no_repairs_after_its_first_packets) {
  Link link({.mode = ResilienceMode::Auto});
  link.run(100ms, 0);
  EXPECT_GT(link.repairs(), 0u);
  link.run(900ms, 0);
  const uint64_t first = link.repairs();
  EXPECT_LT(first, 200u);
  link.run(5s, 0);
  EXPECT_EQ(link.repairs(), first);
  EXPECT_GE(link.delivered + 25, link.sources);
  EXPECT_EQ(link.changed, 0u);
}

TEST(PathLayer, the_very_first_packet_is_brought_back) {
  Link link({.mode = ResilienceMode::Auto});
  link.run(1ms, 1);
  link.run(60ms, 0);
  EXPECT_EQ(link.b.figures(link.now).received.recovered, 1u);
  EXPECT_EQ(link.b.figures(link.now).received.abandoned, 0u);
}

TEST(PathLayer, codes_within_a_second_of_loss_and_stops_two_seconds_after_it) {
  Link link({.mode = ResilienceMode::Auto});
  link.run(2s, 0);
  link.run(1s, 50);
  EXPECT_GT(link.repairs(), 0u);
  link.run(3s, 50);
  link.run(2500ms, 0);  // what is under way, and two seconds
  const uint64_t before = link.repairs();
  link.run(1s, 0);
  EXPECT_EQ(link.repairs(), before);
  EXPECT_EQ(link.changed, 0u);
}

TEST(PathLayer, brings_back_what_a_link_loses) {
  Link link({.mode = ResilienceMode::Auto});
  link.run(2s, 50);
  const uint64_t sources = link.sources, delivered = link.delivered;
  link.run(10s, 50);
  const auto share =
      static_cast<double>(link.delivered - delivered) / static_cast<double>(link.sources - sources);
  EXPECT_GT(share, 0.999);
  const PathFigures seen = link.a.figures(link.now);
  EXPECT_NEAR(seen.classes[0].loss_sent, 0.02, 0.01);
  EXPECT_NEAR(static_cast<double>(seen.rtt.count()), 40e6, 10e6);
}

TEST(PathLayer, calls_leaves_bulk_uncoded) {
  Link link({.mode = ResilienceMode::Calls});
  link.run(3s, 20);
  EXPECT_EQ(link.repairs(), 0u);
  EXPECT_EQ(link.changed, 0u);
}

TEST(PathLayer, knows_its_connection_ids) {
  PathLayer layer({.mode = ResilienceMode::Auto}, keys());
  Packet datagram = quic_packet(1, 60);
  EXPECT_FALSE(layer.knows(datagram));
  const PathId path = layer.add_connection_id(kQuicId);
  EXPECT_TRUE(layer.knows(datagram));
  EXPECT_FALSE(layer.knows(Bytes(datagram).first(kPathPrefixSize)));
  class Nobody : public QuicPacketSink {
    void on_quic_packet(Instant, const PathArrival&, const DatagramOrigin&, MutableBytes) override {
      ADD_FAILURE();
    }
  } sink;
  EXPECT_FALSE(layer.on_packet(Instant{1s}, {}, datagram, sink));  // QUIC's as it is
  std::ranges::copy(path, datagram.begin() + 1);
  datagram[0] = 0xc0;
  EXPECT_FALSE(layer.on_packet(Instant{1s}, {}, datagram, sink));  // a long header
  EXPECT_EQ(layer.remove_connection_id(kQuicId), path);
  EXPECT_EQ(layer.remove_connection_id(kQuicId), std::nullopt);
}

TEST(PathLayer, real_time_is_never_refused) {
  PathLayer layer({.mode = ResilienceMode::Auto}, keys());
  for (Instant now{1s}; now < Instant{2s}; now += 1ms)
    EXPECT_TRUE(layer.may_send(now, TrafficClass::RealTime));
}

}  // namespace
}  // namespace masque
