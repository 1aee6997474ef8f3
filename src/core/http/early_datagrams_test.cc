// SPDX-License-Identifier: Apache-2.0
#include "core/http/early_datagrams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace masque {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const StreamId kFirst(0);
const StreamId kSecond(4);

Instant at(Duration since_start) { return instant_from_ns(1'000'000'000) + since_start; }

class EarlyDatagramsTest : public testing::Test {
 protected:
  void keep(Duration now, StreamId stream, std::string_view text, Duration round_trip = 100ms) {
    early.keep(at(now), round_trip, stream, as_bytes(text));
  }
  std::vector<std::string> take(Duration now, StreamId stream) {
    std::vector<std::string> out;
    for (const auto& payload : early.take(at(now), stream)) out.emplace_back(as_text(payload));
    return out;
  }
  EarlyDatagrams early{3};
};

// proves: H6
TEST_F(EarlyDatagramsTest, rfc9297_2_1_they_wait_for_their_stream_in_order) {
  keep(0ms, kFirst, "a");
  keep(1ms, kSecond, "b");
  keep(2ms, kFirst, "c");
  EXPECT_THAT(take(3ms, kFirst), ElementsAre("a", "c"));
  EXPECT_THAT(take(3ms, kFirst), IsEmpty());
  EXPECT_THAT(take(3ms, kSecond), ElementsAre("b"));
}

// proves: H6
TEST_F(EarlyDatagramsTest, rfc9297_2_1_for_a_round_trip_and_no_longer) {
  const struct {
    Duration round_trip, lifetime;
  } kCases[] = {{100ms, 100ms}, {0ms, 20ms}, {30s, 1s}};
  for (const auto& c : kCases) {
    keep(0ms, kFirst, "a", c.round_trip);
    EXPECT_THAT(take(c.lifetime - 1ns, kFirst), ElementsAre("a"));
    keep(0ms, kFirst, "a", c.round_trip);
    EXPECT_THAT(take(c.lifetime, kFirst), IsEmpty());
  }
}

TEST_F(EarlyDatagramsTest, too_many_are_dropped_and_the_old_give_way) {
  for (const char* text : {"a", "b", "c", "d"}) keep(0ms, kFirst, text);
  EXPECT_EQ(early.count(), 3u);
  keep(99ms, kSecond, "e");
  keep(100ms, kSecond, "f");
  EXPECT_EQ(early.count(), 1u);
  EXPECT_THAT(take(101ms, kFirst), IsEmpty());
  EXPECT_THAT(take(101ms, kSecond), ElementsAre("f"));
}

TEST_F(EarlyDatagramsTest, those_of_a_stream_that_ended_are_forgotten) {
  keep(0ms, kFirst, "a");
  keep(0ms, kSecond, "b");
  early.forget(kFirst);
  EXPECT_EQ(early.count(), 1u);
  EXPECT_THAT(take(1ms, kFirst), IsEmpty());
}

}  // namespace
}  // namespace masque
