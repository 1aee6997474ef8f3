// SPDX-License-Identifier: Apache-2.0
#include "core/ip/fragment.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <vector>

#include "core/ip/checksum.h"

namespace masque {
namespace {

using Packet = std::vector<uint8_t>;

constexpr uint16_t kMore = 0x2000;
constexpr uint16_t kDontFragment = 0x4000;

// `field`: flags and offset.
Packet make(size_t payload_size, uint16_t field = 0, const std::vector<uint8_t>& options = {}) {
  const size_t header_size = kIpv4HeaderSize + options.size();
  Packet out(header_size + payload_size);
  for (size_t i = 0; i < payload_size; ++i) {
    // Any eight bytes tell where they come from.
    out[header_size + i] = static_cast<uint8_t>(i % 2 == 0 ? i / 2 : i / 512);
  }
  out[0] = static_cast<uint8_t>(0x40 | header_size / 4);
  out[1] = 0xb9;  // EF, ECT(1)
  store_be16(&out[2], static_cast<uint16_t>(out.size()));
  store_be16(&out[4], 0xabcd);
  store_be16(&out[6], field);
  out[8] = 17;
  out[9] = ip_protocol::kUdp;
  store_be32(&out[12], 0xc0000201);
  store_be32(&out[16], 0x0a080002);
  std::ranges::copy(options, out.begin() + kIpv4HeaderSize);
  store_be16(&out[10], internet_checksum(Bytes(out).first(header_size)));
  return out;
}

std::vector<Packet> cut(const PacketSlices& packet, size_t mtu) {
  const auto view = parse_ip_packet(packet);
  EXPECT_TRUE(view && Ipv4Fragmenter::can_cut(packet, *view, mtu));
  Ipv4Fragmenter fragments(packet, *view, mtu);
  std::vector<Packet> out;
  Packet room(mtu);
  while (const size_t size = fragments.next(room)) {
    out.emplace_back(room.begin(), room.begin() + static_cast<ptrdiff_t>(size));
  }
  return out;
}
std::vector<Packet> cut(const Packet& packet, size_t mtu) {
  return cut({.head = packet, .body = {}}, mtu);
}
bool can_cut(const Packet& packet, size_t mtu) {
  const PacketSlices slices{.head = packet, .body = {}};
  return Ipv4Fragmenter::can_cut(slices, parse_ip_packet(slices).value(), mtu);
}

uint16_t field_of(const Packet& packet) { return load_be16(&packet[6]); }
size_t offset_of(const Packet& packet) { return size_t{8} * (field_of(packet) & 0x1fff); }
Packet payload_of(const Packet& packet) {
  return {packet.begin() + (packet[0] & 15) * 4, packet.end()};
}

TEST(Ipv4Fragmenter, rfc791_3_2_offsets_lengths_and_flags) {
  const Packet packet = make(2000);
  const auto fragments = cut(packet, 1000);
  ASSERT_EQ(fragments.size(), 3u);
  EXPECT_EQ(fragments[0].size(), 20u + 976u);  // a multiple of eight bytes
  EXPECT_EQ(fragments[1].size(), 20u + 976u);
  EXPECT_EQ(fragments[2].size(), 20u + 48u);
  EXPECT_EQ(field_of(fragments[0]), kMore);
  EXPECT_EQ(field_of(fragments[1]), kMore | 976 / 8);
  EXPECT_EQ(field_of(fragments[2]), 2 * 976 / 8);
  Packet joined;
  for (const Packet& fragment : fragments) {
    ASSERT_TRUE(parse_ip_packet(Bytes(fragment)));  // lengths and checksum are right
    EXPECT_TRUE(std::equal(fragment.begin() + 8, fragment.begin() + 10, packet.begin() + 8));
    EXPECT_EQ(fragment[1], packet[1]);
    EXPECT_EQ(load_be16(&fragment[4]), 0xabcd);
    const Packet payload = payload_of(fragment);
    joined.insert(joined.end(), payload.begin(), payload.end());
  }
  EXPECT_EQ(joined, payload_of(packet));
}

TEST(Ipv4Fragmenter, rfc791_3_2_a_fragment_is_cut_further) {
  const auto middle = cut(make(1480, kMore | 100), 800);
  ASSERT_EQ(middle.size(), 2u);
  EXPECT_EQ(field_of(middle[0]), kMore | 100);
  EXPECT_EQ(field_of(middle[1]), kMore | (100 + 776 / 8));
  const auto last = cut(make(1480, 100), 800);
  EXPECT_EQ(field_of(last[1]), 100 + 776 / 8);
}

TEST(Ipv4Fragmenter, rfc791_3_1_options_go_where_they_belong) {
  // Record route (first alone), no operation, router alert (every one), end.
  const std::vector<uint8_t> options = {7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0, 0, 0, 0, 0};
  const Packet packet = make(1400, 0, options);
  const auto fragments = cut(packet, 600);
  ASSERT_EQ(fragments.size(), 3u);
  EXPECT_TRUE(std::equal(options.begin(), options.end(), fragments[0].begin() + 20));
  for (const size_t i : {1u, 2u}) {
    EXPECT_EQ(fragments[i][0], 0x46);
    EXPECT_EQ(load_be32(&fragments[i][20]), 0x94040000u);
    EXPECT_TRUE(parse_ip_packet(Bytes(fragments[i])));
  }
  // Options that cannot be read end the walk.
  for (const std::vector<uint8_t>& broken :
       {std::vector<uint8_t>{0x94, 1, 0, 0}, {0x94, 5, 0, 0}, {1, 1, 1, 0x94}}) {
    EXPECT_EQ(cut(make(1400, 0, broken), 600)[1][0], 0x45);
  }
}

TEST(Ipv4Fragmenter, what_may_be_cut) {
  EXPECT_TRUE(can_cut(make(1381), 1400));
  EXPECT_FALSE(can_cut(make(1380), 1400)) << "it fits";
  EXPECT_FALSE(can_cut(make(1381, kDontFragment), 1400));
  EXPECT_TRUE(can_cut(make(1381), Ipv4Fragmenter::kMtuMin));
  EXPECT_FALSE(can_cut(make(1381), Ipv4Fragmenter::kMtuMin - 1));
  // 65515 bytes of payload are the most that there can be, and the offset counts to 65528.
  EXPECT_TRUE(can_cut(make(1415, (65535 - 1415) / 8), 1400));
  EXPECT_FALSE(can_cut(make(1424, (65535 - 1415) / 8), 1400));
  Packet v6(1500);
  v6[0] = 0x60;
  store_be16(&v6[4], 1460);
  v6[6] = ip_protocol::kUdp;
  EXPECT_FALSE(can_cut(v6, 1400));
}

TEST(Ipv4Fragmenter, the_most_fragments_of_one_packet) {
  EXPECT_EQ(cut(make(65515), Ipv4Fragmenter::kMtuMin).size(), 119u);
  std::vector<uint8_t> options(40, 1);
  options[0] = 0x82;  // in every fragment
  options[1] = 40;
  EXPECT_EQ(cut(make(65475, 0, options), Ipv4Fragmenter::kMtuMin).size(), 128u);
}

// Cut twice, in any pieces of memory, and joined in any order, a packet is what it was.
TEST(Ipv4Fragmenter, property_fragments_of_fragments_join_to_the_packet) {
  EXPECT_TRUE(rc::check([] {
    const size_t size = *rc::gen::inRange<size_t>(600, 9000);
    std::vector<uint8_t> options = *rc::gen::container<std::vector<uint8_t>>(
        *rc::gen::inRange<size_t>(0, 11) * 4, rc::gen::arbitrary<uint8_t>());
    const auto first_offset = *rc::gen::inRange<uint16_t>(0, 7000);
    const uint16_t more = *rc::gen::element<uint16_t>(0, kMore);
    const size_t payload = more == 0 ? size : size / 8 * 8;
    const Packet packet = make(payload, first_offset | more, options);
    const size_t wide = *rc::gen::inRange<size_t>(580, 1500);
    const size_t narrow = *rc::gen::inRange<size_t>(Ipv4Fragmenter::kMtuMin, wide + 1);
    RC_PRE(packet.size() > wide);
    const size_t split =
        *rc::gen::inRange<size_t>(kIpv4HeaderSize + options.size(), packet.size() + 1);

    std::vector<Packet> fragments;
    for (const Packet& one :
         cut({.head = Bytes(packet).first(split), .body = Bytes(packet).subspan(split)}, wide)) {
      RC_ASSERT(one.size() <= wide);
      if (one.size() <= narrow) {
        fragments.push_back(one);
        continue;
      }
      const auto again = cut(one, narrow);
      fragments.insert(fragments.end(), again.begin(), again.end());
    }
    Packet joined(payload);
    size_t bytes = 0;
    size_t ends = 0;
    for (const Packet& one : fragments) {
      RC_ASSERT(one.size() <= std::max(wide, narrow));
      RC_ASSERT(parse_ip_packet(Bytes(one)).has_value());
      const Packet part = payload_of(one);
      const size_t at = offset_of(one) - size_t{8} * first_offset;
      RC_ASSERT(at + part.size() <= payload);
      const bool end = at + part.size() == payload;
      ends += end ? 1 : 0;
      RC_ASSERT(end || part.size() % 8 == 0);
      RC_ASSERT((field_of(one) & kMore) == (end ? more : kMore));
      std::ranges::copy(part, joined.begin() + static_cast<ptrdiff_t>(at));
      bytes += part.size();
    }
    RC_ASSERT(bytes == payload);  // none twice, none missing
    RC_ASSERT(ends == 1u);
    RC_ASSERT(joined == payload_of(packet));
  }));
}

}  // namespace
}  // namespace masque
