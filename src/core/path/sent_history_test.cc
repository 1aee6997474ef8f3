// SPDX-License-Identifier: Apache-2.0
#include "core/path/sent_history.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

TEST(SentHistory, is_linear_between_its_marks) {
  SentHistory history;
  EXPECT_EQ(history.between(Instant{0s}, Instant{1s}), 0);
  for (Instant now{1s}; now <= Instant{2s}; now += 100ms) {
    history.mark(now);
    history.on_sent(1000);
  }
  EXPECT_NEAR(history.between(Instant{1200ms}, Instant{1250ms}), 500, 1);
  EXPECT_NEAR(history.between(Instant{1150ms}, Instant{1850ms}), 7000, 1);
  EXPECT_EQ(history.between(Instant{2s}, Instant{3s}), 0) << "since the last mark nothing is known";
  EXPECT_NEAR(history.between(Instant{0s}, Instant{1100ms}), 1000, 1);
}

TEST(SentHistory, forgets_what_is_older_than_its_marks) {
  SentHistory history;
  for (int i = 0; i < 1000; ++i) {
    history.on_sent(100);
    history.mark(Instant{1s} + 10ms * i);
  }
  const Instant end = Instant{1s} + 10ms * 999;
  EXPECT_NEAR(history.between(end - 100ms, end), 1000, 1);
  EXPECT_NEAR(history.between(end - 10s, end), 6300, 1);
}

}  // namespace
}  // namespace masque
