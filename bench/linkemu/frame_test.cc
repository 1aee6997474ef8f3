// SPDX-License-Identifier: Apache-2.0
#include "linkemu/frame.h"

#include <gtest/gtest.h>

#include <vector>

namespace masque::linkemu {
namespace {

std::vector<uint8_t> frame(uint16_t type, size_t packet_size) {
  std::vector<uint8_t> bytes(kEthernetHeader + packet_size);
  store_be16(bytes.data() + 12, type);
  return bytes;
}

TEST(Frame, link_layer_frames_are_control) {
  EXPECT_EQ(frame_kind(frame(0x0806, 28)), FrameKind::Control);  // ARP
  EXPECT_EQ(frame_kind(frame(0x88cc, 50)), FrameKind::Control);  // LLDP
  EXPECT_EQ(frame_kind(std::vector<uint8_t>(13)), FrameKind::Control);
}

TEST(Frame, ip_packets_are_not) {
  auto v4 = frame(0x0800, 20);
  EXPECT_EQ(frame_kind(v4), FrameKind::Ip);
  v4[kEthernetHeader + 16] = 224;  // 224.0.0.x stays on its link
  EXPECT_EQ(frame_kind(v4), FrameKind::Control);
  v4[kEthernetHeader + 18] = 1;
  EXPECT_EQ(frame_kind(v4), FrameKind::Ip);
  EXPECT_EQ(frame_kind(frame(0x0800, 19)), FrameKind::Ip);
}

TEST(Frame, neighbour_discovery_is_control) {
  auto v6 = frame(0x86dd, 60);
  EXPECT_EQ(frame_kind(v6), FrameKind::Ip);
  v6[kEthernetHeader + 6] = 58;
  for (const auto& [type, kind] : {std::pair<uint8_t, FrameKind>{128, FrameKind::Ip},
                                   {132, FrameKind::Ip},
                                   {133, FrameKind::Control},
                                   {137, FrameKind::Control},
                                   {138, FrameKind::Ip}}) {
    v6[kEthernetHeader + 40] = type;
    EXPECT_EQ(frame_kind(v6), kind) << int{type};
  }
  v6[kEthernetHeader + 24] = 0xff;
  v6[kEthernetHeader + 25] = 0x02;
  EXPECT_EQ(frame_kind(v6), FrameKind::Control);
}

TEST(Frame, completes_a_checksum) {
  // Four bytes from offset 14 on: the field holds 0x0102 (the pseudo header's sum), then 0x0304.
  std::vector<uint8_t> bytes(18);
  store_be16(bytes.data() + 14, 0x0102);
  store_be16(bytes.data() + 16, 0x0304);
  ASSERT_TRUE(complete_checksum(bytes, {.checksum_start = 14, .checksum_offset = 0}));
  EXPECT_EQ(load_be16(bytes.data() + 14), static_cast<uint16_t>(~0x0406));
  // A sum of 0xffff would give 0, which means "none".
  store_be16(bytes.data() + 14, 0x0000);
  store_be16(bytes.data() + 16, 0xffff);
  ASSERT_TRUE(complete_checksum(bytes, {.checksum_start = 14, .checksum_offset = 0}));
  EXPECT_EQ(load_be16(bytes.data() + 14), 0xffff);
}

TEST(Frame, refuses_a_checksum_outside) {
  std::vector<uint8_t> bytes(18);
  EXPECT_TRUE(complete_checksum(bytes, {.checksum_start = 14, .checksum_offset = 2}));
  EXPECT_FALSE(complete_checksum(bytes, {.checksum_start = 14, .checksum_offset = 3}));
  EXPECT_FALSE(complete_checksum(bytes, {.checksum_start = 19, .checksum_offset = 0}));
  EXPECT_FALSE(complete_checksum(bytes, {.checksum_start = 65'535, .checksum_offset = 65'535}));
}

}  // namespace
}  // namespace masque::linkemu
