// SPDX-License-Identifier: Apache-2.0
#include "core/client/reconnector.h"

#include <gtest/gtest.h>

#include <set>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;

TEST(Reconnector, delays_double_up_to_the_maximum_with_jitter) {
  SeededRng rng(1);
  Reconnector reconnector({.first = 500ms, .max = 4s}, rng);
  Instant now = at(0s);
  for (const Duration expected :
       {Duration(500ms), Duration(1s), Duration(2s), Duration(4s), Duration(4s)}) {
    reconnector.on_lost(now);
    const Duration delay = *reconnector.next_timeout() - now;
    EXPECT_GE(delay, expected / 2);
    EXPECT_LE(delay, expected);
    now = *reconnector.next_timeout();
    EXPECT_EQ(reconnector.on_timeout(now - 1ns), std::nullopt);
    EXPECT_EQ(reconnector.on_timeout(now), Reconnector::Action::Dial);
    EXPECT_EQ(reconnector.next_timeout(), std::nullopt);
  }
}

TEST(Reconnector, only_a_connection_that_held_makes_it_quick_again) {
  SeededRng rng(1);
  Reconnector reconnector({.first = 500ms, .max = 30s, .stable = 10s}, rng);
  for (int i = 0; i < 6; ++i) reconnector.on_lost(at(0s));
  reconnector.on_connected(at(60s));
  reconnector.on_lost(at(61s));  // two clients of one identity would chase each other
  EXPECT_GT(*reconnector.next_timeout() - at(61s), Duration(10s));
  reconnector.on_connected(at(100s));
  reconnector.on_lost(at(110s));
  EXPECT_LE(*reconnector.next_timeout() - at(110s), Duration(500ms));
}

TEST(Reconnector, faults_l10_clients_of_one_gateway_come_back_spread) {
  std::set<int64_t> seen;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SeededRng rng(seed);
    Reconnector reconnector({}, rng);
    reconnector.on_lost(at(0s));
    seen.insert((*reconnector.next_timeout() - at(0s)).count() / 1'000'000);
  }
  EXPECT_GT(seen.size(), 50u);
}

TEST(Reconnector, a_refusal_waits_long_and_cancel_forgets) {
  SeededRng rng(1);
  Reconnector reconnector({.refused = 30s}, rng);
  reconnector.on_refused(at(0s));
  EXPECT_GE(*reconnector.next_timeout() - at(0s), Duration(15s));
  reconnector.cancel();
  EXPECT_EQ(reconnector.next_timeout(), std::nullopt);
}

TEST(Reconnector, another_network_is_tried_at_once_but_not_all_the_time) {
  SeededRng rng(1);
  Reconnector reconnector({.first = 8s, .max = 60s}, rng);
  reconnector.on_network_changed(at(0s));
  EXPECT_FALSE(reconnector.next_timeout()) << "nothing is planned";
  for (int i = 0; i < 4; ++i) reconnector.on_lost(at(0s));
  EXPECT_GT(reconnector.next_timeout(), at(10s));
  reconnector.on_network_changed(at(1s));
  EXPECT_EQ(reconnector.next_timeout(), at(1s));
  EXPECT_TRUE(reconnector.on_timeout(at(1s)));
  reconnector.on_lost(at(1100ms));
  EXPECT_LE(*reconnector.next_timeout(), at(1100ms) + 8s) << "the back-off begins anew";
  reconnector.on_network_changed(at(1200ms));
  EXPECT_EQ(reconnector.next_timeout(), at(1s) + Reconnector::kHurryInterval);
  reconnector.on_network_changed(at(1300ms));
  EXPECT_EQ(reconnector.next_timeout(), at(1s) + Reconnector::kHurryInterval);
}

}  // namespace
}  // namespace masque
