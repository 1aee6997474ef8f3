// SPDX-License-Identifier: Apache-2.0
#include "sim/link_trace.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sim/link.h"

namespace masque {
namespace {

LinkTrace trace_of(std::string_view text) {
  auto trace = LinkTrace::parse(text);
  EXPECT_TRUE(trace.has_value());
  return std::move(*trace);
}

TEST(LinkTrace, parses_lines) {
  const LinkTrace trace = trace_of("# recorded\n0\n5\r\n5\n\n20");
  EXPECT_EQ(trace.opportunities(), 4u);
  EXPECT_EQ(trace.period(), 20ms);
  EXPECT_EQ(trace.mean_bits_per_second(), 4u * 1500 * 8 * 50);
}

TEST(LinkTrace, refuses_what_is_none) {
  for (const auto& [text, error] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "the last line must be a time after 0: it is the trace's length"},
           {"0\n0\n", "the last line must be a time after 0: it is the trace's length"},
           {"1\n2 3\n", "line 2: not a time in milliseconds"},
           {"1\n-2\n", "line 2: not a time in milliseconds"},
           {"1\n99999999999\n", "line 2: not a time in milliseconds"},
           {"5\n4\n", "line 2: earlier than the line before"},
       }) {
    const auto trace = LinkTrace::parse(text);
    ASSERT_FALSE(trace.has_value()) << text;
    EXPECT_EQ(trace.error(), error);
  }
}

TEST(LinkTrace, packets_take_opportunities) {
  const LinkTrace trace = trace_of("5\n5\n20\n");
  LinkTrace::Position position;
  // Two small packets share the first, a full one takes what is left and part of the second.
  EXPECT_EQ(trace.send(0ms, 700, position), 5ms);
  EXPECT_EQ(trace.send(1ms, 700, position), 5ms);
  EXPECT_EQ(trace.send(1ms, 1500, position), 5ms);
  EXPECT_EQ(trace.queued_bytes(1ms, position), 2900u);
  EXPECT_EQ(trace.send(1ms, 200, position), 20ms);
  // Nobody used the rest: it is lost with the moment.
  EXPECT_EQ(trace.send(21ms, 100, position), 25ms);
  EXPECT_EQ(trace.queued_bytes(26ms, position), 0u);
}

TEST(LinkTrace, repeats) {
  const LinkTrace trace = trace_of("5\n10\n");
  for (int64_t i = 0; i < 1000; ++i) {
    LinkTrace::Position position;
    const Duration now = std::chrono::milliseconds(i);
    const Duration sent = trace.send(now, 1500, position);
    EXPECT_EQ(sent, std::chrono::milliseconds((i + 4) / 5 * 5 + (i == 0 ? 5 : 0)));
  }
}

TEST(LinkTrace, link_follows_it) {
  // 12 Mbit/s for 100 ms, then nothing for 100 ms.
  std::string text;
  for (int i = 1; i <= 100; ++i) text += std::to_string(i) + "\n";
  text += "200\n";
  const LinkTrace trace = trace_of(text);
  SeededRng rng(1);
  const LinkOptions options{.queue_bytes_max = 30'000, .trace = &trace, .delay = 2ms};
  Link link(options, LinkRandom{.loss = rng, .walk = rng, .jitter = rng, .content = rng},
            instant_from_ns(7));
  size_t delivered = 0;
  Duration longest{};
  for (int64_t i = 0; i < 20'000; ++i) {  // ten seconds of 24 Mbit/s
    const Instant now = instant_from_ns(7) + i * 500us;
    for (const Link::Delivery& delivery : link.on_packet(now, 1500)) {
      ++delivered;
      longest = std::max(longest, delivery.at - now);
    }
    ASSERT_LE(link.queued_bytes(now), 30'000u);
  }
  // 101 opportunities each 200 ms, and what waits at the end.
  EXPECT_NEAR(static_cast<double>(delivered), 50 * 101, 20);
  EXPECT_LE(longest, 2ms + 120ms + 20ms);
  EXPECT_EQ(link.counters().queue_dropped, 20'000 - delivered);
}

}  // namespace
}  // namespace masque
