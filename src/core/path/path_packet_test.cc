// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_packet.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/path/path_test_support.h"
#include "core/path/source_symbol.h"

namespace masque {
namespace {

using testing::Packet;

// As in docs/wire.md: the fields without check and mask.
std::string fields_hex(const PathHeader& header) {
  const BoundHeader bound = bound_header(header);
  return to_hex(Bytes(bound).first(kPathFieldsSize));
}

// The vectors of docs/wire.md.
TEST(PathHeader, is_written_as_documented) {
  EXPECT_EQ(fields_hex({.kind = PathPacketKind::RealTimeSource,
                        .coded = true,
                        .sequence = 0x12345,
                        .symbol = 0xabc,
                        .stamp = 0x6789a}),
            "62468aabc6789a");
  EXPECT_EQ(fields_hex({}), "00000000000000");
  EXPECT_EQ(fields_hex({.kind = PathPacketKind::Control, .sequence = 0xfffff, .stamp = 0xfffff}),
            "dffffe000fffff");
  const BoundHeader bound = bound_header({.sequence = 0x123456789abcdef});
  EXPECT_EQ(to_hex(bound), "179bde000000000123456789abcdef");
}

Packet random_packet() {
  Packet packet = *rc::gen::arbitrary<Packet>();
  packet.resize(std::max<size_t>(packet.size(),
                                 kPathPrefixSize + kPathHeaderSize + kRepairParametersSize + 16));
  return packet;
}

TEST(PathHeader, is_read_as_it_was_written) {
  testing::SumProtection protection;
  EXPECT_TRUE(rc::check([&](bool coded) {
    constexpr int64_t kHalf = int64_t{1} << (PathHeader::kSequenceBits - 1);
    const auto expected = *rc::gen::inRange<int64_t>(kHalf, int64_t{1} << 60);
    const PathHeader header{
        .kind = static_cast<PathPacketKind>(*rc::gen::inRange(0, 4)),
        .coded = coded,
        .sequence = static_cast<uint64_t>(expected + *rc::gen::inRange<int64_t>(-kHalf + 1, kHalf)),
        .symbol = *rc::gen::inRange(0u, 1u << PathHeader::kSymbolBits),
        .stamp = *rc::gen::inRange(0u, 1u << PathHeader::kStampBits),
    };
    const Packet packet = random_packet();
    Packet wire = packet;
    write_path_header(protection, header, wire);
    Packet read_of = wire;
    RC_ASSERT(read_path_header(protection, read_of, static_cast<uint64_t>(expected)) == header);
    // All but the header is as it was.
    const auto header_at = read_of.begin() + kPathPrefixSize;
    std::ranges::copy(Bytes(packet).subspan(kPathPrefixSize, kPathHeaderSize), header_at);
    RC_ASSERT(read_of == packet);
  }));
}

TEST(PathHeader, of_another_generation_is_refused) {
  testing::SumProtection protection;
  Packet packet(100);
  write_path_header(protection, {.sequence = 5}, packet);
  for (const uint64_t generation : {1u, 2u, 4096u}) {
    Packet again = packet;
    EXPECT_FALSE(
        read_path_header(protection, again, 5 + (generation << PathHeader::kSequenceBits)));
  }
  EXPECT_TRUE(read_path_header(protection, packet, 5));
}

TEST(PathHeader, every_turned_pair_of_bits_is_noticed) {
  testing::SumProtection protection;
  Packet packet(100, 0xab);
  write_path_header(protection, {.sequence = 0x54321, .symbol = 77, .stamp = 0xabcde}, packet);
  for (size_t a = 0; a < 8 * kPathHeaderSize; ++a) {
    for (size_t b = 0; b <= a; ++b) {  // a == b: this one alone
      Packet damaged = packet;
      damaged[kPathPrefixSize + a / 8] ^= static_cast<uint8_t>(1u << a % 8);
      if (a != b) damaged[kPathPrefixSize + b / 8] ^= static_cast<uint8_t>(1u << b % 8);
      ASSERT_FALSE(read_path_header(protection, damaged, 0x54321)) << a << ' ' << b;
    }
  }
}

TEST(RepairParameters, are_written_as_documented) {
  const auto hex = [](const RepairParameters& parameters) {
    std::array<uint8_t, kRepairParametersSize> out;
    write_repair_parameters(parameters, out);
    EXPECT_EQ(read_repair_parameters(out), parameters);
    return to_hex(out);
  };
  EXPECT_EQ(hex({.code = ErasureCode::SlidingWindow,
                 .traffic_class = TrafficClass::Bulk,
                 .count = 128,
                 .key = 0xbeef}),
            "c080beef");
  EXPECT_EQ(hex({.code = ErasureCode::ReedSolomon,
                 .traffic_class = TrafficClass::RealTime,
                 .count = 4,
                 .key = 1}),
            "a0040001");
}

TEST(RepairParameters, unknown_codes_and_reserved_bits_are_refused) {
  for (unsigned first = 0; first < 256; ++first) {
    const std::array<uint8_t, 4> in = {static_cast<uint8_t>(first), 1, 0, 0};
    const bool good = (first & 0xc0) != 0 && (first & 0x1f) == 0;
    EXPECT_EQ(read_repair_parameters(in).has_value(), good) << first;
  }
}

TEST(Unwrap, takes_the_nearest_value) {
  constexpr uint64_t k = uint64_t{1} << 20;
  EXPECT_EQ(unwrap(0, 0, 20), 0u);
  EXPECT_EQ(unwrap(0, k - 1, 20), k - 1);  // nothing lies below zero
  EXPECT_EQ(unwrap(k, k - 1, 20), k - 1);
  EXPECT_EQ(unwrap(k - 1, 0, 20), k);
  EXPECT_EQ(unwrap(k / 2, 0, 20), k);  // half way: forwards
  EXPECT_EQ(unwrap(k / 2 - 1, 0, 20), 0u);
  EXPECT_EQ(unwrap(5 * k + 3, k - 1, 20), 5 * k - 1);
  EXPECT_EQ(unwrap(5 * k - 3, 2, 20), 5 * k + 2);
  EXPECT_EQ(unwrap(5 * k, 0xfff00000 | 7, 20), 5 * k + 7);  // high bits do not count
}

TEST(Unwrap, finds_every_value_within_half_of_the_range) {
  EXPECT_TRUE(rc::check([] {
    const auto bits = *rc::gen::element(13u, 16u, 20u);
    const int64_t half = int64_t{1} << (bits - 1);
    const auto expected = *rc::gen::inRange<int64_t>(0, int64_t{1} << 50);
    const auto value = expected + *rc::gen::inRange<int64_t>(-half + 1, half);
    RC_PRE(value >= 0);
    RC_ASSERT(unwrap(static_cast<uint64_t>(expected), static_cast<uint64_t>(value), bits) ==
              static_cast<uint64_t>(value));
  }));
}

TEST(PathStamp, counts_32_us_and_wraps_after_33_s) {
  EXPECT_EQ(PathStamp::of(Instant{1s}), 31'250u);
  EXPECT_EQ(PathStamp::of(Instant{PathStamp::kUnit * PathStamp::kModulus}), 0u);
  EXPECT_EQ(PathStamp::of(Instant{PathStamp::kUnit * PathStamp::kModulus - 1ns}), 0xfffffu);
}

TEST(SourceSymbol, gives_back_the_packet_and_nothing_less) {
  const std::vector<uint8_t> rest(20, 0xab);
  const auto head =
      symbol_head({.first_byte = 0x5a, .sequence = 0x1234, .stamp = 0x7a12, .rest = rest});
  EXPECT_EQ(to_hex(head), "5a00141234007a12");
  std::vector<uint8_t> symbol(head.begin(), head.end());
  symbol.insert(symbol.end(), rest.begin(), rest.end());
  symbol.resize(60);  // a repair's symbol is as long as the longest source
  const auto read = read_symbol(symbol);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->first_byte, 0x5a);
  EXPECT_EQ(read->sequence, 0x1234);
  EXPECT_EQ(read->stamp, 0x7a12u);
  EXPECT_TRUE(std::ranges::equal(read->rest, rest));
  for (size_t size = 0; size < kSymbolHeadSize + rest.size(); ++size)
    EXPECT_FALSE(read_symbol(Bytes(symbol).first(size))) << size;
}

TEST(SourceSymbol, of_wrong_symbols_is_refused) {
  const auto with = [](uint8_t first_byte, uint16_t length, uint8_t stamp_high) {
    std::vector<uint8_t> symbol(100);
    symbol[0] = first_byte;
    store_be16(&symbol[1], length);
    symbol[5] = stamp_high;
    return read_symbol(symbol).has_value();
  };
  EXPECT_TRUE(with(0x40, 16, 0x0f));
  EXPECT_TRUE(with(0x40, 92, 0));
  EXPECT_FALSE(with(0x40, 93, 0));
  EXPECT_FALSE(with(0x40, 15, 0));
  EXPECT_FALSE(with(0x40, 16, 0x10));
  EXPECT_FALSE(with(0xc0, 16, 0));  // a long header is never wrapped
}

}  // namespace
}  // namespace masque
