// SPDX-License-Identifier: Apache-2.0
#include "core/quic/stall_detector.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

constexpr Duration kPto = 100ms;
constexpr Instant kStart{1s};

TEST(StallDetector, a_window_that_never_opens_is_found) {
  StallDetector stall;
  EXPECT_FALSE(stall.on_blocked(kStart, 3600, kPto));
  EXPECT_FALSE(stall.on_blocked(kStart + StallDetector::kPatienceMin - 1ms, 3600, kPto));
  EXPECT_TRUE(stall.on_blocked(kStart + StallDetector::kPatienceMin, 3600, kPto));
}

TEST(StallDetector, slow_paths_have_more_patience) {
  StallDetector stall;
  EXPECT_FALSE(stall.on_blocked(kStart, 3600, 2s));
  EXPECT_FALSE(stall.on_blocked(kStart + 15s, 3600, 2s));
  EXPECT_TRUE(stall.on_blocked(kStart + 16s, 3600, 2s));
}

TEST(StallDetector, an_outage_with_probes_is_no_stall) {
  StallDetector stall;
  Instant now = kStart;
  Instant probe = kStart + kPto;
  Duration interval = kPto;
  uint64_t in_flight = 12'000;
  for (; now < kStart + 30s; now += 10ms) {
    if (now >= probe) {
      in_flight += 60;
      interval *= 2;
      probe = now + interval;
    }
    ASSERT_FALSE(stall.on_blocked(now, in_flight, kPto)) << (now - kStart) / 1ms << " ms";
  }
}

TEST(StallDetector, acknowledgements_begin_a_new_wait) {
  StallDetector stall;
  EXPECT_FALSE(stall.on_blocked(kStart, 3600, kPto));
  EXPECT_FALSE(stall.on_blocked(kStart + 1900ms, 3000, kPto));
  EXPECT_FALSE(stall.on_blocked(kStart + 3800ms, 3000, kPto));
  EXPECT_TRUE(stall.on_blocked(kStart + 3900ms, 3000, kPto));
}

TEST(StallDetector, an_open_window_ends_the_wait) {
  StallDetector stall;
  EXPECT_FALSE(stall.on_blocked(kStart, 3600, kPto));
  stall.on_open();
  EXPECT_FALSE(stall.on_blocked(kStart + 10s, 3600, kPto));
}

}  // namespace
}  // namespace masque
