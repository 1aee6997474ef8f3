// SPDX-License-Identifier: Apache-2.0
// A peer of the path layer that has the keys and lies (faults.md G1-G3, G9, P3): reports of losses
// that cannot be, of more than was sent, of clocks that run backwards; requests for what was never
// sent; repairs over absurd windows with any content. What it can make us send and keep is bounded,
// and what an honest peer sends afterwards arrives.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "base/rng.h"
#include "core/path/path_layer.h"
#include "core/path/path_test_support.h"

namespace masque {
namespace {

using testing::kQuicId;
using testing::Packet;
using testing::quic_packet;
using testing::SumProtection;

constexpr size_t kFront = kPathPrefixSize + kPathHeaderSize;

class LyingPeer : public QuicPacketSink {
 public:
  explicit LyingPeer(const PathSettings& settings = {.mode = ResilienceMode::Auto})
      : victim(settings, {.send = std::make_unique<SumProtection>(),
                          .receive = std::make_unique<SumProtection>()}),
        sender(settings, keys) {
    victim.add_connection_id(kQuicId);
    send_source();
  }

  void send_source(TrafficClass traffic_class = TrafficClass::Bulk) {
    const Packet quic = quic_packet(sent++, 200);
    Packet room(kPathHeaderSize);
    room.insert(room.end(), quic.begin(), quic.end());
    sender.wrap(now, traffic_class, room, quic.size());
    arrive(room);
  }
  void send(const PathMessage& message) {
    std::array<uint8_t, kPathMessageMax> plain;
    const size_t size = write_path_message(message, plain);
    ASSERT_GT(size, 0u);
    Packet room(1500);
    room.resize(sender.write_control(now, Bytes(plain).first(size), room, 9));
    arrive(room);
  }
  // A repair with any parameters and content, and the right tag.
  void send_repair(const PathHeader& header, const RepairParameters& parameters, Bytes symbol) {
    Packet packet(kFront + kRepairParametersSize + symbol.size() + kRepairTagSize);
    packet[0] = 0x41;
    const PathId id = path_id_of(keys, kQuicId);
    std::ranges::copy(id, packet.begin() + 1);
    const MutableBytes all(packet);
    const auto written = all.subspan<kFront, kRepairParametersSize>();
    write_repair_parameters(parameters, written);
    std::ranges::copy(symbol, packet.begin() + kFront + kRepairParametersSize);
    const uint64_t tag = keys.tag(bound_repair(header, written), symbol);
    uint8_t* place = packet.data() + packet.size() - kRepairTagSize;
    store_be32(place, static_cast<uint32_t>(tag >> 32));
    store_be32(place + 4, static_cast<uint32_t>(tag));
    write_path_header(keys, header, all);
    arrive(packet);
  }
  void arrive(Packet packet) { EXPECT_TRUE(victim.on_packet(now, {}, packet, *this)); }

  // The victim's own traffic for a while: a source each ms, one in twenty of a call.
  void run(Duration time) {
    for (const Instant end = now + time; now < end; now += 1ms) {
      victim.on_timeout(now, *this);
      const TrafficClass its = victim_sent % 20 == 0 ? TrafficClass::RealTime : TrafficClass::Bulk;
      if (victim.may_send(now, its)) {
        const Packet quic = quic_packet(victim_sent++, 300);
        Packet room(kPathHeaderSize);
        room.insert(room.end(), quic.begin(), quic.end());
        victim.wrap(now, its, room, quic.size());
      } else {
        ++refused;
      }
      poll();
    }
  }
  void poll() {
    Packet room(1500);
    while (victim.poll_transmit(now, room) > 0) ++extra;
  }
  void on_quic_packet(Instant, const PathArrival& arrival, const DatagramOrigin&,
                      MutableBytes packet) override {
    ASSERT_GE(packet.size(), kPathPrefixSize);
    ASSERT_LE(packet.size(), PathReceiver::kPacketMax);
    ++(arrival.rebuilt ? rebuilt : arrived);
  }
  const PathClassFigures& figures(TrafficClass c) {
    figures_ = victim.figures(now);
    return figures_.classes[static_cast<size_t>(c)];
  }

  Instant now{10s};
  SumProtection keys;
  PathLayer victim;
  PathSender sender;
  uint64_t sent = 0, victim_sent = 0;
  uint64_t extra = 0;  // what the victim sent besides
  uint64_t refused = 0, arrived = 0, rebuilt = 0;

 private:
  PathFigures figures_;
};

// What is bounded whatever a report says.
void expect_bounded(LyingPeer& peer) {
  for (const TrafficClass c : {TrafficClass::Bulk, TrafficClass::RealTime}) {
    const PathClassFigures& its = peer.figures(c);
    EXPECT_LE(its.repairs_sent, 2 * its.sources_sent + 2);
  }
  const PathFigures all = peer.victim.figures(peer.now);
  EXPECT_LE(all.hold, PathSettings{}.hold_max);
  EXPECT_GE(all.rtt, Duration::zero());
  EXPECT_LE(all.rtt, 40s);  // the stamps' modulus is 33 s
  if (all.rate) {
    EXPECT_GE(*all.rate, 10'000);
  }
}

PathReport report(uint64_t number) {
  PathReport out{.number = number, .received_bytes = number * 1000, .highest = number};
  out.clock_us = number * 20'000;
  return out;
}

TEST(LyingPeerReports, everything_is_lost_always) {
  LyingPeer peer;
  for (uint64_t n = 1; n <= 250; ++n) {
    PathReport lie = report(n);
    for (auto& its : lie.classes)
      its = {.settled = n * 1'000'000, .lost = n * 1'000'000, .loss_events = n};
    peer.send(lie);
    peer.run(20ms);
  }
  expect_bounded(peer);
  // A repair for each bulk source, two for each of a call, and tails: never more.
  EXPECT_LE(peer.extra, 2 * peer.victim_sent + 300);
  // While there is a call, at most half as much again is sent as is said to arrive, but 250 kB/s.
  EXPECT_GE(peer.victim_sent, 2000u);
}

TEST(LyingPeerReports, counters_as_large_as_they_can_be_and_back) {
  LyingPeer peer;
  constexpr uint64_t kMost = (uint64_t{1} << 62) - 1;
  for (uint64_t n = 1; n <= 100; ++n) {
    PathReport lie = report(n);
    const uint64_t count = n % 2 == 0 ? kMost : n;
    for (auto& its : lie.classes)
      its = {.settled = count,
             .lost = count,
             .loss_events = kMost,
             .recovered = kMost,
             .abandoned = kMost};
    lie.received_bytes = count;
    lie.highest = kMost;
    lie.congestion_marks = kMost;
    peer.send(lie);
    peer.run(20ms);
  }
  expect_bounded(peer);
}

TEST(LyingPeerReports, more_arrived_than_was_sent) {
  LyingPeer peer({.mode = ResilienceMode::Auto, .shaper = PathSettings::Shaper::On});
  for (uint64_t n = 1; n <= 250; ++n) {
    PathReport lie = report(n);
    lie.received_bytes = n << 50;
    peer.send(lie);
    peer.run(20ms);
    expect_bounded(peer);
  }
  EXPECT_GE(peer.victim_sent, 4900u);
}

TEST(LyingPeerReports, nothing_arrives_and_the_queue_is_endless) {
  LyingPeer peer({.mode = ResilienceMode::Auto, .shaper = PathSettings::Shaper::On});
  for (uint64_t n = 1; n <= 250; ++n) {
    PathReport lie = report(n);
    lie.received_bytes = 0;
    lie.delay_min = lie.delay_max = static_cast<uint32_t>(n * 2000) & (PathStamp::kModulus - 1);
    peer.send(lie);
    peer.run(20ms);
  }
  expect_bounded(peer);
  // The rate falls to its least and not to nothing: 10 kB/s are 15 packets a second, each with the
  // repair that follows one without successors.
  const uint64_t before = peer.victim_sent;
  peer.run(5s);
  EXPECT_GE(peer.victim_sent, before + 60);
}

TEST(LyingPeerReports, clocks_that_jump) {
  const auto holds = [] {
    LyingPeer peer({.mode = ResilienceMode::Auto, .shaper = PathSettings::Shaper::On});
    uint64_t number = 0;
    for (int i = 0; i < 60; ++i) {
      number += *rc::gen::inRange<uint64_t>(0, 3);
      PathReport lie = report(number);
      lie.clock_us = *rc::gen::inRange<uint64_t>(0, PathReport::kClockMax + 1);
      lie.echo_stamp = *rc::gen::inRange<uint32_t>(0, PathStamp::kModulus);
      lie.echo_delay_us = *rc::gen::inRange<uint64_t>(0, uint64_t{1} << 62);
      lie.delay_min = *rc::gen::inRange<uint32_t>(0, PathStamp::kModulus);
      lie.delay_max = *rc::gen::inRange<uint32_t>(0, PathStamp::kModulus);
      lie.received_bytes = *rc::gen::inRange<uint64_t>(0, uint64_t{1} << 62);
      peer.send(lie);
      peer.run(10ms);
      expect_bounded(peer);
    }
    // The truth afterwards: service goes on.
    const uint64_t before = peer.victim_sent;
    peer.run(2s);
    RC_ASSERT(peer.victim_sent >= before + 40);
    RC_ASSERT(!::testing::Test::HasFailure());
  };
  EXPECT_TRUE(rc::check(holds));
}

TEST(LyingPeerReports, an_old_number_says_nothing) {
  LyingPeer peer;
  PathReport truth = report(100);
  truth.classes[0] = {.settled = 1000, .lost = 0};
  peer.send(truth);
  const double before = peer.figures(TrafficClass::Bulk).loss_sent;
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{99}, uint64_t{100}}) {
    PathReport lie = report(number);
    lie.classes[0] = {.settled = 9000, .lost = 9000, .loss_events = 1};
    peer.send(lie);
    EXPECT_EQ(peer.figures(TrafficClass::Bulk).loss_sent, before) << number;
  }
}

TEST(LyingPeerRequests, for_what_was_never_sent) {
  LyingPeer peer;
  peer.run(100ms);
  peer.poll();
  const uint64_t before = peer.extra;
  const uint64_t resent = peer.figures(TrafficClass::Bulk).resent;
  SeededRng rng(3);
  for (int i = 0; i < 1000; ++i) {
    PathRequest lie{.sequences = {}, .count = PathRequest::kSequencesMax};
    uint64_t at = peer.victim_sent + rng.below(1000);
    for (uint64_t& sequence : lie.sequences) sequence = at += 1 + rng.below(uint64_t{1} << 50);
    peer.send(lie);
    peer.poll();
  }
  EXPECT_EQ(peer.figures(TrafficClass::Bulk).resent, resent);
  EXPECT_LE(peer.extra, before + 2);  // a report of what it heard
}

// ---- repairs ----------------------------------------------------------------------------------

TEST(LyingPeerRepairs, absurd_windows_and_any_content) {
  LyingPeer peer;
  SeededRng rng(11);
  std::array<uint8_t, 64> symbol;
  constexpr int kRepairs = 50'000;
  for (int i = 0; i < kRepairs; ++i) {
    rng.fill(symbol);
    if (rng.below(2) == 0) store_be16(&symbol[1], static_cast<uint16_t>(16 + rng.below(40)));
    peer.send_repair({.kind = PathPacketKind::Repair,
                      .sequence = static_cast<uint32_t>(rng.u64()),
                      .symbol = static_cast<uint32_t>(rng.u64()),
                      .stamp = static_cast<uint32_t>(rng.u64())},
                     {.code = static_cast<ErasureCode>(1 + rng.below(3)),
                      .traffic_class = static_cast<TrafficClass>(rng.below(2)),
                      .count = static_cast<uint8_t>(rng.below(256)),
                      .key = static_cast<uint16_t>(rng.u64())},
                     symbol);
    if (i % 50 == 0) {
      peer.now += 1ms;
      peer.victim.on_timeout(peer.now, peer);
    }
  }
  // Whatever is recovered has used up a repair; QUIC then refuses it.
  EXPECT_LE(peer.rebuilt, static_cast<uint64_t>(kRepairs));
  const uint64_t before = peer.arrived;
  for (int i = 0; i < 2000; ++i) {
    peer.send_source();
    peer.now += 1ms;
    peer.victim.on_timeout(peer.now, peer);
  }
  EXPECT_EQ(peer.arrived, before + 2000);
}

// One unknown and a repair with wrong content, again and again: what comes of it is a packet that
// QUIC refuses, never one more than there are repairs.
TEST(LyingPeerRepairs, each_wrong_one_costs_at_most_one_packet) {
  LyingPeer peer;
  peer.sender.set_shares({.bulk = 0.1});
  SeededRng rng(12);
  std::array<uint8_t, 48> symbol;
  for (uint32_t i = 0; i < 20'000; ++i) {
    rng.fill(symbol);
    symbol[0] &= 0x7f;
    store_be16(&symbol[1], 40);
    store_be16(&symbol[3], static_cast<uint16_t>(rng.u64()));
    symbol[5] &= 0x0f;
    peer.send_repair({.kind = PathPacketKind::Repair,
                      .sequence = static_cast<uint32_t>(peer.sent),
                      .symbol = i,
                      .stamp = PathStamp::of(peer.now)},
                     {.code = ErasureCode::Xor, .count = 1}, symbol);
    peer.send_source();
    peer.now += 100us;
  }
  EXPECT_LE(peer.rebuilt, 20'000u);
  // Each may take the place of one that was genuine: the liar's own loss.
  EXPECT_GE(peer.arrived + peer.rebuilt, peer.sent);
}

}  // namespace
}  // namespace masque
