// SPDX-License-Identifier: Apache-2.0
// How much leaves at one instant when everything else would let more go: the window is far open and
// packets wait all the time.
#include <gtest/gtest.h>

#include "transport/pair.h"

namespace masque {
namespace {

// Bytes that the client sends at one instant, at most.
struct Bursts {
  Instant at{};
  size_t burst = 0, largest = 0, total = 0;
  void on_packet(Instant now, size_t size) {
    if (now != at) burst = 0;
    at = now;
    burst += size;
    total += size;
    largest = std::max(largest, burst);
  }
};

// proves: KR3
TEST(Pacing, rfc9002_7_7_a_wide_window_leaves_in_small_bursts) {
  Pair pair;
  pair.run();
  const auto stream = pair.connect();
  pair.run(100ms);
  Bursts bursts;
  pair.drop = [&](bool to_server, Bytes bytes) {
    if (to_server) bursts.on_packet(pair.now, bytes.size());
    return false;
  };
  const std::string packet(1000, 'a');
  pair.before_flush = [&] {
    while (pair.send_packet(*pair.client, *stream, packet) == SendResult::Sent) {
    }
  };
  // Nothing is lost, so the window doubles each round trip of 20 ms.
  const auto window = [&] { return pair.client->quic().stats().congestion_window; };
  constexpr uint64_t kWide = 2'000'000;
  for (int i = 0; i < 100 && window() < kWide; ++i) pair.run(10ms);
  ASSERT_GE(window(), kWide);
  bursts = {};
  pair.run(2 * kOneWay);
  EXPECT_GE(bursts.total, kWide / 2) << "the window was used";
  // The library's quantum, whatever the window is: 64 KiB, and the datagram that fills it.
  EXPECT_LE(bursts.largest, 64u * 1024u + 1472u);
}

}  // namespace
}  // namespace masque
