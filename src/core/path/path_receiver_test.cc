// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_receiver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>
#include <set>

#include "base/rng.h"
#include "core/path/path_test_support.h"

namespace masque {
namespace {

using ::testing::ElementsAre;
using testing::Packet;
using testing::PathPair;

std::vector<uint64_t> count_up(uint64_t end) {
  std::vector<uint64_t> out(end);
  std::iota(out.begin(), out.end(), uint64_t{0});
  return out;
}

TEST(PathReceiver, hands_on_in_order_what_comes_in_order) {
  PathPair p;
  for (int i = 0; i < 100; ++i) p.arrive(p.wrap());
  EXPECT_EQ(p.delivered, count_up(100));
  EXPECT_EQ(p.changed_ones.size(), 0u);
  EXPECT_EQ(p.receiver.counters().held, 0u);
}

TEST(PathReceiver, puts_reordered_packets_in_order) {
  PathPair p;
  const Packet a = p.wrap(), b = p.wrap(), c = p.wrap();
  p.arrive_all({c, a, b});
  EXPECT_THAT(p.delivered, ElementsAre(0, 1, 2));
  EXPECT_EQ(p.receiver.counters().held, 1u);
}

// A copy may be the genuine one: QUIC knows its packets by their numbers.
TEST(PathReceiver, copies_go_at_once_and_do_not_move_the_order) {
  PathPair p;
  const Packet a = p.wrap(), b = p.wrap(), c = p.wrap();
  p.arrive_all({a, a, c, c});
  EXPECT_THAT(p.delivered, ElementsAre(0, 0));  // what is held needs no copy
  p.arrive_all({b, a, b, c});
  EXPECT_THAT(p.delivered, ElementsAre(0, 0, 1, 2, 0, 1, 2));
  EXPECT_EQ(p.receiver.counters().duplicates, 5u);
}

TEST(PathReceiver, a_hole_is_passed_over_within_the_hold) {
  PathPair p({.mode = ResilienceMode::Auto, .hold_max = 30ms});
  p.arrive(p.wrap());
  const Packet late = p.wrap();
  p.arrive(p.wrap());
  ASSERT_TRUE(p.receiver.next_timeout(p.now));
  EXPECT_LE(*p.receiver.next_timeout(p.now) - p.now, 30ms);
  p.advance(31ms);
  EXPECT_THAT(p.delivered, ElementsAre(0, 2));
  EXPECT_EQ(p.receiver.counters().abandoned, 1u);
  EXPECT_EQ(p.receiver.next_timeout(p.now), std::nullopt);
  p.arrive(late);  // QUIC decides about it
  EXPECT_THAT(p.delivered, ElementsAre(0, 2, 1));
  EXPECT_EQ(p.receiver.counters().late, 1u);
}

TEST(PathReceiver, a_real_time_packet_does_not_wait_for_the_hold) {
  PathPair p;
  p.arrive(p.wrap());
  p.wrap();  // lost
  p.arrive(p.wrap(TrafficClass::RealTime));
  p.advance(6ms);
  EXPECT_THAT(p.delivered, ElementsAre(0, 2));
  EXPECT_EQ(p.origins.back().traffic_class, TrafficClass::RealTime);
}

// The spread of delays is 60 ms, so that a packet which came fast would wait for its slowest
// sibling.
TEST(PathReceiver, a_real_time_packet_waits_no_longer_than_its_budget) {
  for (const Duration budget : {100ms, 20ms}) {
    PathPair p({.mode = ResilienceMode::Auto, .realtime_budget = budget});
    p.arrive(p.wrap());
    const Packet slow = p.wrap();
    p.advance(60ms);
    p.arrive(slow);
    p.wrap();  // lost
    p.arrive(p.wrap(TrafficClass::RealTime));
    p.advance(std::min<Duration>(budget, 64ms) - 2ms);
    EXPECT_THAT(p.delivered, ElementsAre(0, 1)) << budget;
    p.advance(4ms);
    EXPECT_THAT(p.delivered, ElementsAre(0, 1, 3)) << budget;
  }
}

TEST(PathReceiver, tells_how_long_a_packet_waited_for_others) {
  PathPair p;
  p.arrive(p.wrap());
  const Packet missing = p.wrap();
  const Packet next = p.wrap();
  p.arrive(next);
  p.now += 3ms;
  p.arrive(missing);
  ASSERT_THAT(p.delivered, ElementsAre(0, 1, 2));
  EXPECT_EQ(p.origins[1].held, 0ms);
  EXPECT_EQ(p.origins[2].held, 3ms);
  // The delay is that of its arrival.
  EXPECT_EQ(*p.origins[2].relative_delay, *p.origins[0].relative_delay);
}

TEST(PathReceiver, counts_what_it_delivers_of_each_class) {
  PathPair p({.mode = ResilienceMode::Auto, .hold_max = 10ms});
  p.arrive(p.wrap(TrafficClass::RealTime));
  const Packet late = p.wrap();
  p.arrive(p.wrap(TrafficClass::RealTime));
  p.advance(20ms);
  p.arrive(late);
  const auto& classes = p.receiver.counters().classes;
  const auto& bulk = classes[static_cast<size_t>(TrafficClass::Bulk)];
  const auto& realtime = classes[static_cast<size_t>(TrafficClass::RealTime)];
  EXPECT_EQ(realtime.delivered, 2u);
  EXPECT_EQ(realtime.late, 0u);
  EXPECT_EQ(bulk.delivered, 1u);
  EXPECT_EQ(bulk.late, 1u);
}

TEST(PathReceiver, tells_how_long_each_packet_was_on_its_way) {
  PathPair p;
  const Packet first = p.wrap(), second = p.wrap();
  p.now += 20ms;
  p.arrive(first);
  p.now += 8ms;
  p.arrive(second);
  const Duration step = *p.origins[1].relative_delay - *p.origins[0].relative_delay;
  EXPECT_NEAR(static_cast<double>(step.count()), 8e6, 64e3);
}

TEST(PathReceiver, delays_stay_right_when_the_stamp_wraps) {
  PathPair p;
  std::optional<Duration> first;
  for (int i = 0; i < 100; ++i) {
    const Packet packet = p.wrap();
    p.now += 50ms;
    p.arrive(packet);
    if (!first) first = p.origins.back().relative_delay;
    EXPECT_NEAR(static_cast<double>((*p.origins.back().relative_delay - *first).count()), 0, 64e3);
    p.advance(1s);
  }
}

// ---- large jumps ------------------------------------------------------------------------------

TEST(PathReceiver, a_gap_longer_than_the_order_begins_a_new_one) {
  PathPair p;
  p.arrive(p.wrap());
  for (int i = 0; i < 5000; ++i) p.wrap();
  for (int i = 0; i < 3; ++i) p.arrive(p.wrap());
  EXPECT_THAT(p.delivered, ElementsAre(0, 5001, 5002, 5003));
  EXPECT_EQ(p.receiver.counters().damaged, 0u);
}

TEST(PathReceiver, a_jump_hands_on_what_is_held) {
  PathPair p;
  p.arrive(p.wrap());
  p.wrap();
  p.arrive(p.wrap());
  for (int i = 0; i < 3000; ++i) p.wrap();
  p.arrive(p.wrap());
  p.arrive(p.wrap());
  EXPECT_THAT(p.delivered, ElementsAre(0, 2, 3003, 3004));
}

// What was on its way before the jump has no place in the order: it must neither wait for ever nor
// keep memory.
TEST(PathReceiver, what_comes_late_after_a_jump_is_handed_on_at_once) {
  PathPair p;
  for (int i = 0; i < 5000; ++i) p.wrap();
  std::vector<Packet> late;
  for (int i = 0; i < 20; ++i) late.push_back(p.wrap());
  p.arrive(p.wrap());
  p.arrive(p.wrap());
  p.arrive_all(late);
  EXPECT_EQ(p.delivered.size(), 22u);
  EXPECT_EQ(p.receiver.counters().held, 0u);
  EXPECT_EQ(p.receiver.next_timeout(p.now), std::nullopt);
  p.arrive_all(late);
  EXPECT_EQ(p.delivered.size(), 42u);  // as often as they come: QUIC knows them
}

TEST(PathReceiver, sequences_go_on_when_their_20_bits_wrap) {
  PathPair p;
  constexpr uint64_t kEnd = (uint64_t{1} << 20) + 3000;
  uint64_t next = 0;
  for (uint64_t i = 0; i < kEnd; ++i) {
    const Packet packet = p.wrap(TrafficClass::Bulk, 40);
    if (i % 400 != 0) continue;
    p.arrive(packet);
    p.advance(200ms);
    ++next;
  }
  EXPECT_EQ(p.delivered.size(), next);
  EXPECT_TRUE(std::ranges::is_sorted(p.delivered));
}

// ---- memory -----------------------------------------------------------------------------------

TEST(PathReceiver, holds_a_bounded_number_of_packets) {
  PathPair p;
  p.wrap();  // never comes
  constexpr uint64_t kSent = 3 * PathReceiver::kOrderWindow;
  for (uint64_t i = 1; i < kSent; ++i) {
    p.arrive(p.wrap(TrafficClass::Bulk, 1400));
    EXPECT_LE(i - p.delivered.size(), PathReceiver::kHeldMax);
  }
  p.advance(200ms);
  EXPECT_EQ(p.delivered.size(), kSent - 1);
  EXPECT_TRUE(std::ranges::is_sorted(p.delivered));
  EXPECT_EQ(std::set(p.delivered.begin(), p.delivered.end()).size(), p.delivered.size());
  EXPECT_EQ(p.receiver.next_timeout(p.now), std::nullopt);
}

TEST(PathReceiver, sizes_out_of_range_are_damage) {
  PathPair p;
  for (const size_t size : {size_t{0}, size_t{9}, size_t{32}, PathReceiver::kPacketMax + 1})
    p.arrive(Packet(size, 0x40));
  EXPECT_EQ(p.receiver.counters().damaged, 4u);
  EXPECT_TRUE(p.delivered.empty());
}

// ---- any link ---------------------------------------------------------------------------------

TEST(PathReceiver, any_link_delivers_unchanged_what_comes) {
  EXPECT_TRUE(rc::check([] {
    PathPair p;
    p.sender.set_shares({.bulk = 0.3, .realtime = 1, .bulk_window = 32});
    SeededRng rng(*rc::gen::arbitrary<uint64_t>());
    const uint64_t loss = rng.below(40);
    const uint64_t duplicated = rng.below(20);
    const uint64_t damaged = rng.below(10);
    std::vector<Packet> under_way;
    for (int i = 0; i < 400; ++i) {
      under_way.push_back(p.wrap(rng.below(5) == 0 ? TrafficClass::RealTime : TrafficClass::Bulk,
                                 40 + rng.below(1400)));
      for (Packet& repair : p.repairs()) under_way.push_back(std::move(repair));
      while (under_way.size() > rng.below(12)) {
        const size_t which = rng.below(under_way.size());
        Packet packet = under_way[which];
        if (rng.below(100) >= duplicated)
          under_way.erase(under_way.begin() + static_cast<ptrdiff_t>(which));
        if (rng.below(100) < loss) continue;
        // Of the masked header; QUIC finds what else is damaged.
        if (rng.below(100) < damaged) packet[9 + rng.below(8)] ^= 0x10;
        p.arrive(std::move(packet));
      }
      p.advance(Duration(1ms) * static_cast<int64_t>(rng.below(4)));
    }
    p.advance(500ms);
    RC_ASSERT(p.changed_ones.size() == 0u);
    const PathReceiverCounters& seen = p.receiver.counters();
    RC_ASSERT(p.delivered.size() <= seen.sources + seen.recovered + seen.late);
    RC_ASSERT(p.delivered.size() - std::set(p.delivered.begin(), p.delivered.end()).size() <=
              seen.duplicates + seen.recovered + seen.late);
    RC_ASSERT(p.receiver.next_timeout(p.now) == std::nullopt);
  }));
}

}  // namespace
}  // namespace masque
