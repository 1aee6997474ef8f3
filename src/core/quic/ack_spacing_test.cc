// SPDX-License-Identifier: Apache-2.0
#include "core/quic/ack_spacing.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

// How often the library is asked within a second, by a caller that would ask every millisecond.
int asked_in_a_second(AckSpacing& spacing, Instant from, Duration rtt) {
  int asked = 0;
  for (Instant now = from; now < from + 1s; now += 1ms) {
    asked += spacing.may_ask(now, rtt, Instant::max()) ? 1 : 0;
  }
  return asked;
}

TEST(AckSpacing, rfc9406_a_long_path_sees_fewer_than_eight_a_round) {
  AckSpacing spacing;
  spacing.begin(Instant{1s});
  EXPECT_LE(asked_in_a_second(spacing, Instant{1s}, 60ms), 1000 / 60 * 6);
  EXPECT_EQ(asked_in_a_second(spacing, Instant{2s}, 200ms), 40);
}

TEST(AckSpacing, ends_with_the_start_and_is_not_for_short_paths) {
  AckSpacing spacing;
  EXPECT_EQ(asked_in_a_second(spacing, Instant{1s}, 60ms), 1000) << "not begun";
  spacing.begin(Instant{2s});
  EXPECT_EQ(asked_in_a_second(spacing, Instant{2s}, 39ms), 1000);
  EXPECT_EQ(asked_in_a_second(spacing, Instant{7s}, 60ms), 1000);
}

TEST(AckSpacing, what_waited_at_its_end_waits_no_more) {
  AckSpacing spacing;
  const Instant now{1s};
  spacing.begin(now);
  const Instant end = now + AckSpacing::kLasts;
  EXPECT_TRUE(spacing.may_ask(end - 2ms, 100ms, Instant::max()));
  EXPECT_FALSE(spacing.may_ask(end - 1ms, 100ms, Instant::max()));
  EXPECT_TRUE(spacing.may_ask(end, 100ms, Instant::max()));
  EXPECT_EQ(spacing.next_timeout(), std::nullopt);
}

// A call's packets take acknowledgements along: those of its own accord count from there.
TEST(AckSpacing, a_packet_of_ours_is_an_answer_too) {
  AckSpacing spacing;
  const Instant now{1s};
  spacing.begin(now);
  EXPECT_TRUE(spacing.may_ask(now, 100ms, Instant::max()));
  spacing.on_packet(now + 15ms);
  EXPECT_FALSE(spacing.may_ask(now + 34ms, 100ms, Instant::max()));
  EXPECT_EQ(spacing.next_timeout(), now + 35ms);
  EXPECT_TRUE(spacing.may_ask(now + 35ms, 100ms, Instant::max()));
}

TEST(AckSpacing, a_timer_of_the_library_is_never_late) {
  AckSpacing spacing;
  const Instant now{1s};
  spacing.begin(now);
  EXPECT_TRUE(spacing.may_ask(now, 100ms, Instant::max()));
  EXPECT_EQ(spacing.next_timeout(), std::nullopt);
  EXPECT_FALSE(spacing.may_ask(now + 1ms, 100ms, now + 2ms));
  EXPECT_EQ(spacing.next_timeout(), now + 20ms);
  EXPECT_TRUE(spacing.may_ask(now + 2ms, 100ms, now + 2ms));
}

}  // namespace
}  // namespace masque
