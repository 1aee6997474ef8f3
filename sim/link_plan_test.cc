// SPDX-License-Identifier: Apache-2.0
#include "sim/link_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "sim/link_profiles.h"

namespace masque {
namespace {

constexpr Instant kStart = instant_from_ns(5'000'000'000);

std::vector<bool> pattern(const LinkPlan& plan, uint64_t seed, Duration interval, size_t count) {
  PlannedLink link(plan, seed, kStart);
  std::vector<bool> passed;
  for (size_t i = 0; i < count; ++i) {
    passed.push_back(!link.on_packet(kStart + static_cast<int64_t>(i) * interval, 500).empty());
  }
  return passed;
}

TEST(LinkPlan, changes_come_at_their_time) {
  LinkPlan plan{.options = {.delay = 10ms}, .changes = {}, .outages = {}};
  plan.changes.push_back({.at = 1s, .options = {.delay = 50ms}});
  plan.changes.push_back({.at = 2s, .options = {.delay = 5ms}});
  EXPECT_EQ(plan.delay_min(), 5ms);
  PlannedLink link(plan, 1, kStart);
  EXPECT_EQ(link.on_packet(kStart + 999ms, 100)[0].at, kStart + 1009ms);
  EXPECT_EQ(link.on_packet(kStart + 1s, 100)[0].at, kStart + 1050ms);
  EXPECT_EQ(link.on_packet(kStart + 3s, 100)[0].at, kStart + 3005ms);
}

TEST(LinkPlan, outages_swallow_and_return) {
  LinkPlan plan{.options = {}, .changes = {}, .outages = {}};
  plan.outages.push_back({.at = 10s, .length = 5s});
  plan.outages.push_back({.at = 1s, .length = 100ms, .every = 3s});
  PlannedLink link(plan, 1, kStart);
  for (int64_t ms = 0; ms < 20'000; ms += 50) {
    const bool out = (ms >= 10'000 && ms < 15'000) || (ms >= 1'000 && (ms - 1'000) % 3'000 < 100);
    const Instant now = kStart + std::chrono::milliseconds(ms);
    EXPECT_EQ(link.on_packet(now, 100).empty(), out) << ms;
  }
}

TEST(LinkPlan, seed_decides_which_packets_are_lost) {
  for (const char* name : {"mobile", "mobile-bursts"}) {
    const LinkPlan& plan = find_link_profile(name)->up;
    const auto first = pattern(plan, 7, 1ms, 5'000);
    EXPECT_EQ(first, pattern(plan, 7, 1ms, 5'000));
    // Other times, the same packets: loss is no matter of the clock.
    EXPECT_EQ(first, pattern(plan, 7, 1234us, 5'000));
    EXPECT_NE(first, pattern(plan, 8, 1ms, 5'000));
    EXPECT_NEAR(static_cast<double>(std::ranges::count(first, false)), 100, 80);
  }
}

TEST(LinkPlan, every_profile_stays_within_what_it_says) {
  for (const LinkProfile& profile : link_profiles()) {
    for (const LinkPlan* plan : {&profile.up, &profile.down}) {
      PlannedLink link(*plan, 3, kStart);
      const LinkOptions& options = plan->options;
      const Duration most = options.delay + options.walk_width + options.jitter +
                            options.queue_time_max + 130ms;  // and 1,500 bytes at 0.1 Mbit/s
      size_t delivered = 0;
      for (int64_t i = 0; i < 3'000; ++i) {
        const Instant now = kStart + i * 10ms;
        for (const Link::Delivery& delivery : link.on_packet(now, 1500)) {
          ++delivered;
          EXPECT_GE(delivery.at - now, options.delay) << profile.name;
          EXPECT_LE(delivery.at - now, most) << profile.name;
        }
      }
      EXPECT_GT(delivered, 200u) << profile.name;
    }
    EXPECT_EQ(find_link_profile(profile.name), &profile);
  }
  EXPECT_EQ(find_link_profile("no such"), nullptr);
}

TEST(LinkPlan, flips_one_to_three_bits) {
  SeededRng rng(1);
  for (int i = 0; i < 1'000; ++i) {
    std::vector<uint8_t> bytes(40);
    flip_bits(bytes, rng);
    int flipped = 0;
    for (const uint8_t byte : bytes) flipped += std::popcount(byte);
    EXPECT_GE(flipped, 1);
    EXPECT_LE(flipped, 3);
  }
  flip_bits({}, rng);
}

}  // namespace
}  // namespace masque
