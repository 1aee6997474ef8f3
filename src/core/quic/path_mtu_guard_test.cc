// SPDX-License-Identifier: Apache-2.0
#include "core/quic/path_mtu_guard.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

constexpr Duration kPto = 100ms;
constexpr Instant kStart{1s};

void lose(PathMtuGuard& guard, Instant now, size_t size, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) guard.on_lost(now, size, kPto);
}

PathMtuGuard in_a_black_hole() {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  lose(guard, kStart, 1470, PathMtuGuard::kLossesMax - 1);
  lose(guard, kStart + kPto, 1470, 1);
  return guard;
}

// Three seconds of probing over a path that carries `carries`; a search takes less than two.
// Returns the end.
Instant search(PathMtuGuard& guard, Instant now, size_t carries) {
  for (int i = 0; i < 30; ++i, now += kPto) {
    const auto size = guard.probe(now, kPto, now);
    if (!size) continue;
    guard.on_probe_sent(now);
    if (*size <= carries) guard.on_acknowledged(*size);
  }
  return now;
}

TEST(PathMtuGuard, trusts_the_library_at_first) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  EXPECT_EQ(guard.limit(), 1472u);
  EXPECT_EQ(guard.probe(kStart, kPto, kStart), std::nullopt);
}

// proves: J5
TEST(PathMtuGuard, rfc8899_5_2_losses_of_one_size_return_to_the_base) {
  const PathMtuGuard guard = in_a_black_hole();
  EXPECT_EQ(guard.limit(), PathMtuGuard::kBase);
  EXPECT_EQ(guard.black_holes(), 1u);
}

TEST(PathMtuGuard, one_loss_less_is_not_enough) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  lose(guard, kStart, 1470, 1);
  lose(guard, kStart + kPto, 1470, PathMtuGuard::kLossesMax - 2);
  EXPECT_TRUE(guard.trusting());
}

TEST(PathMtuGuard, an_outage_that_ends_is_no_black_hole) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  lose(guard, kStart, 1470, 40);  // all at once, when the first acknowledgement comes
  guard.on_acknowledged(1470);
  lose(guard, kStart + kPto, 1470, 1);
  EXPECT_TRUE(guard.trusting());
}

TEST(PathMtuGuard, small_packets_are_no_evidence) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  lose(guard, kStart, PathMtuGuard::kBase, 20);
  lose(guard, kStart + kPto, PathMtuGuard::kBase, 20);
  EXPECT_TRUE(guard.trusting());
}

TEST(PathMtuGuard, smaller_sizes_that_pass_do_not_hide_larger_ones_that_do_not) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  for (uint32_t i = 0; i < PathMtuGuard::kLossesMax; ++i) {
    guard.on_lost(kStart + i * kPto, 1470, kPto);
    guard.on_acknowledged(1300);
  }
  EXPECT_FALSE(guard.trusting());
}

TEST(PathMtuGuard, searches_upwards_to_what_the_path_carries) {
  PathMtuGuard guard = in_a_black_hole();
  search(guard, kStart + 1s, 1372);
  EXPECT_EQ(guard.limit(), 1342u);
  EXPECT_FALSE(guard.trusting());
}

TEST(PathMtuGuard, trusts_again_when_the_whole_limit_passes) {
  PathMtuGuard guard = in_a_black_hole();
  search(guard, kStart + 1s, 1500);
  EXPECT_TRUE(guard.trusting());
  EXPECT_EQ(guard.limit(), 1472u);
}

TEST(PathMtuGuard, tries_again_later_and_ever_more_rarely) {
  PathMtuGuard guard = in_a_black_hole();
  Instant now = search(guard, kStart + 1s, 1300);
  EXPECT_EQ(guard.limit(), 1280u);
  EXPECT_EQ(guard.probe(now + PathMtuGuard::kRetryFirst - 3s, kPto, now + 1h), std::nullopt);
  now = search(guard, now + PathMtuGuard::kRetryFirst, 1300);
  EXPECT_EQ(guard.limit(), 1280u);
  EXPECT_EQ(guard.probe(now + 2 * PathMtuGuard::kRetryFirst - 3s, kPto, now + 1h), std::nullopt);
  now = search(guard, now + 2 * PathMtuGuard::kRetryFirst, 1500);
  EXPECT_TRUE(guard.trusting());
}

TEST(PathMtuGuard, rfc8899_5_1_2_three_probes_of_a_size) {
  PathMtuGuard guard = in_a_black_hole();
  uint32_t probes = 0;
  for (Instant now = kStart + 1s; now < kStart + 4s; now += kPto) {
    if (guard.probe(now, kPto, now)) {
      guard.on_probe_sent(now);
      ++probes;
    }
  }
  EXPECT_EQ(probes, PathMtuGuard::kTriesMax);
}

// A sender that backs off gives one packet a second and less: six would take a minute.
TEST(PathMtuGuard, one_lost_packet_is_looked_into) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  guard.on_lost(kStart, 1470, kPto);
  EXPECT_EQ(guard.probe(kStart, kPto, kStart), std::nullopt);
  EXPECT_EQ(guard.next_timeout(kPto, kStart), kStart + kPto);
  Instant now = kStart + kPto;
  for (; guard.trusting() && now < kStart + 3s; now += kPto) {
    if (const auto size = guard.probe(now, kPto, now)) {
      EXPECT_EQ(*size, guard.trusting() ? 1470u : 1232u);
      guard.on_probe_sent(now);
    }
  }
  EXPECT_FALSE(guard.trusting());
  EXPECT_LE(now, kStart + 1s);
}

TEST(PathMtuGuard, a_probe_that_passes_clears_the_path) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  guard.on_lost(kStart, 1470, kPto);
  ASSERT_TRUE(guard.probe(kStart + kPto, kPto, kStart));
  guard.on_probe_sent(kStart + kPto);
  guard.on_acknowledged(1470);
  EXPECT_EQ(guard.next_timeout(kPto, kStart), std::nullopt);
  EXPECT_EQ(guard.probe(kStart + 10s, kPto, kStart + 10s), std::nullopt);
  EXPECT_TRUE(guard.trusting());
}

TEST(PathMtuGuard, silence_says_nothing_about_a_size) {
  PathMtuGuard guard;
  guard.on_path_limit(1472);
  guard.on_lost(kStart, 1470, kPto);
  const Instant sent = kStart + kPto;
  ASSERT_TRUE(guard.probe(sent, kPto, kStart));
  guard.on_probe_sent(sent);
  EXPECT_EQ(guard.probe(sent + 1h, kPto, sent), std::nullopt);
  EXPECT_EQ(guard.next_timeout(kPto, sent), std::nullopt);
  EXPECT_EQ(guard.probe(sent + 1h, kPto, sent + 1s), 1470u);
}

TEST(PathMtuGuard, another_path_starts_anew) {
  PathMtuGuard guard = in_a_black_hole();
  guard.on_path_limit(1200);
  EXPECT_TRUE(guard.trusting());
  guard.on_path_limit(1452);
  EXPECT_EQ(guard.limit(), 1452u);
}

}  // namespace
}  // namespace masque
