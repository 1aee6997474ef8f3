// SPDX-License-Identifier: Apache-2.0
#include "core/ip/checksum.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace masque {
namespace {

// The definition, word by word.
uint16_t slow_sum(Bytes data) {
  uint32_t sum = 0;
  for (size_t i = 0; i < data.size(); i += 2) {
    sum += static_cast<uint32_t>(data[i] << 8 | (i + 1 < data.size() ? data[i + 1] : 0));
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

TEST(InternetSum, rfc1071_3_example) {
  const auto data = from_hex("0001f203f4f5f6f7").value();
  InternetSum sum;
  sum.add(data);
  EXPECT_EQ(sum.folded(), 0xddf2);
  EXPECT_EQ(sum.checksum(), 0x220d);
}

TEST(InternetSum, header_of_protocol_vector_is_right) {
  const auto header = from_hex("45000020000040004011 4e87 c000020b c6336407").value();
  EXPECT_EQ(internet_checksum(header), 0);
}

TEST(InternetSum, property_equals_the_definition_at_any_size_and_alignment) {
  EXPECT_TRUE(rc::check([](const std::vector<uint8_t>& noise) {
    const size_t size = *rc::gen::inRange<size_t>(0, 2000);
    std::vector<uint8_t> data(size + 8);
    for (size_t i = 0; i < data.size(); ++i)
      data[i] = noise.empty() ? 0xff : noise[i % noise.size()];
    const size_t start = *rc::gen::inRange<size_t>(0, 8);
    const Bytes piece = Bytes(data).subspan(start, size);
    InternetSum sum;
    sum.add(piece);
    RC_ASSERT(sum.folded() == slow_sum(piece));
  }));
}

TEST(InternetSum, property_pieces_of_odd_lengths_add_up) {
  EXPECT_TRUE(rc::check([](const std::vector<uint8_t>& data) {
    InternetSum sum;
    Bytes rest(data);
    while (!rest.empty()) {
      const size_t n = *rc::gen::inRange<size_t>(1, rest.size() + 1);
      sum.add(rest.first(n));
      rest = rest.subspan(n);
    }
    RC_ASSERT(sum.folded() == slow_sum(data));
  }));
}

TEST(InternetSum, pseudo_header_equals_its_bytes) {
  const auto v4 = from_hex("c000020b c6336407 00 11 000c").value();
  InternetSum sum;
  sum.add_pseudo_header(IpAddress::v4(0xc000020b), IpAddress::v4(0xc6336407), 17, 12);
  EXPECT_EQ(sum.folded(), slow_sum(v4));

  const auto v6 = from_hex(
                      "20010db8000000000000000000000001 20010db8000000000000000000000002"
                      "00012345 000000 3a")
                      .value();
  InternetSum sum6;
  sum6.add_pseudo_header(IpAddress::from_bytes(Bytes(v6).first(16)).value(),
                         IpAddress::from_bytes(Bytes(v6).subspan(16, 16)).value(), 58, 0x12345);
  EXPECT_EQ(sum6.folded(), slow_sum(v6));
}

TEST(UpdatedChecksum, rfc1624_4_example) {
  // The corner case that eqn. 4 of RFC 1141 gets wrong: 0x0000, not 0xffff.
  EXPECT_EQ(updated_checksum(0xdd2f, 0x5555, 0x3285), 0x0000);
}

TEST(UpdatedChecksum, property_equals_the_whole_sum) {
  EXPECT_TRUE(rc::check([](std::vector<uint8_t> data, uint16_t after) {
    RC_PRE(data.size() >= 4);
    data[0] |= 0x40;  // a header is never all zero
    const uint16_t checksum = internet_checksum(data);
    const uint16_t before = load_be16(data.data() + 2);
    store_be16(data.data() + 2, after);
    RC_ASSERT(updated_checksum(checksum, before, after) == internet_checksum(data));
  }));
}

}  // namespace
}  // namespace masque
