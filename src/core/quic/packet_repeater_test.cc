// SPDX-License-Identifier: Apache-2.0
#include "core/quic/packet_repeater.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace masque {
namespace {

constexpr Instant kNow{1s};

TEST(PacketRepeater, says_each_packet_once_more_in_order_and_in_time) {
  PacketRepeater repeater;
  EXPECT_EQ(repeater.next_timeout(), std::nullopt);
  const std::vector<uint8_t> first(100, 1), second(200, 2);
  repeater.keep(kNow, first);
  repeater.keep(kNow + 1ms, second);
  EXPECT_EQ(repeater.next_timeout(), kNow + PacketRepeater::kApart);
  EXPECT_FALSE(repeater.due(kNow + PacketRepeater::kApart - 1ns));
  EXPECT_TRUE(std::ranges::equal(*repeater.due(kNow + PacketRepeater::kApart), first));
  repeater.pop();
  EXPECT_FALSE(repeater.due(kNow + PacketRepeater::kApart));
  EXPECT_TRUE(std::ranges::equal(*repeater.due(kNow + PacketRepeater::kApart + 1ms), second));
  repeater.pop();
  EXPECT_EQ(repeater.next_timeout(), std::nullopt);
}

size_t copies_of(size_t size) {
  PacketRepeater repeater;
  const std::vector<uint8_t> packet(size);
  size_t copies = 0;
  for (int i = 0; i < 1000; ++i) repeater.keep(kNow, packet);
  for (; repeater.due(kNow + 1s); ++copies) repeater.pop();
  return copies;
}

TEST(PacketRepeater, is_bounded_in_packets_and_bytes) {
  EXPECT_EQ(copies_of(40), PacketRepeater::kPacketsMax);
  EXPECT_EQ(copies_of(1200), PacketRepeater::kBytesMax / 1200);
}

}  // namespace
}  // namespace masque
