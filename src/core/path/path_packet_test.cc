// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_packet.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/path/path_test_support.h"
#include "core/path/source_symbol.h"

namespace masque {
namespace {

std::string header_hex(const PathHeader& header) {
  std::array<uint8_t, kPathHeaderSize> out;
  write_path_header(header, out);
  return to_hex(out);
}

// The vectors of docs/wire.md.
TEST(PathHeader, is_written_as_documented) {
  EXPECT_EQ(header_hex({.kind = PathPacketKind::RealTimeSource,
                        .coded = true,
                        .sequence = 0x12345,
                        .symbol = 0xabc,
                        .stamp = 0x6789a}),
            "62468aabc6789a93");
  EXPECT_EQ(header_hex({}), "0000000000000044");
  EXPECT_EQ(header_hex({.kind = PathPacketKind::Control, .sequence = 0xfffff, .stamp = 0xfffff}),
            "dffffe000fffff36");
}

TEST(PathHeader, reads_what_it_writes_and_keeps_low_bits_only) {
  EXPECT_TRUE(rc::check([](bool coded) {
    const PathHeader header{
        .kind = static_cast<PathPacketKind>(*rc::gen::inRange(0, 4)),
        .coded = coded,
        .sequence = *rc::gen::arbitrary<uint32_t>(),
        .symbol = *rc::gen::arbitrary<uint32_t>(),
        .stamp = *rc::gen::arbitrary<uint32_t>(),
    };
    std::array<uint8_t, kPathHeaderSize> out;
    write_path_header(header, out);
    const auto read = read_path_header(out);
    RC_ASSERT(read.has_value());
    RC_ASSERT(read->kind == header.kind);
    RC_ASSERT(read->coded == coded);
    RC_ASSERT(read->sequence == (header.sequence & 0xfffff));
    RC_ASSERT(read->symbol == (header.symbol & 0x1fff));
    RC_ASSERT(read->stamp == (header.stamp & 0xfffff));
  }));
}

TEST(PathHeader, every_damage_of_up_to_8_bits_in_a_row_is_found) {
  std::array<uint8_t, kPathHeaderSize> good;
  write_path_header({.sequence = 0x54321, .symbol = 77, .stamp = 0xabcde}, good);
  const uint64_t whole = uint64_t{load_be32(good.data())} << 32 | load_be32(good.data() + 4);
  for (unsigned at = 0; at < 64; ++at) {
    for (uint64_t pattern = 1; pattern < 256; pattern += 2) {
      const uint64_t damaged = whole ^ pattern << at;
      if (at > 56 && pattern >> (64 - at) != 0) continue;
      std::array<uint8_t, kPathHeaderSize> in;
      store_be32(in.data(), static_cast<uint32_t>(damaged >> 32));
      store_be32(in.data() + 4, static_cast<uint32_t>(damaged));
      ASSERT_FALSE(read_path_header(in)) << at << ' ' << pattern;
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

TEST(PathMask, taken_off_gives_the_header_back) {
  testing::SumProtection protection;
  EXPECT_TRUE(rc::check([&](std::vector<uint8_t> packet) {
    packet.resize(std::max<size_t>(packet.size(),
                                   kPathPrefixSize + kPathHeaderSize + kRepairParametersSize + 16));
    for (const MaskExtent extent : {MaskExtent::Header, MaskExtent::HeaderAndParameters}) {
      auto masked = packet;
      apply_path_mask(protection, masked, extent);
      RC_ASSERT(std::ranges::equal(Bytes(masked).first(kPathPrefixSize),
                                   Bytes(packet).first(kPathPrefixSize)));
      apply_path_mask(protection, masked, extent);
      RC_ASSERT(masked == packet);
    }
  }));
}

}  // namespace
}  // namespace masque
