// SPDX-License-Identifier: Apache-2.0
// Names, limits and coefficients, against the vectors of RFC 8681, RFC 8682 and worked examples of
// RFC 5510's matrix.
#include "core/fec/erasure_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "core/fec/erasure_encoder.h"
#include "core/fec/reed_solomon.h"
#include "core/fec/rlc_coefficients.h"
#include "core/fec/tinymt32.h"

namespace masque {
namespace {

TEST(ErasureCode, names_and_back) {
  for (const ErasureCode code :
       {ErasureCode::Xor, ErasureCode::ReedSolomon, ErasureCode::SlidingWindow}) {
    EXPECT_EQ(parse_erasure_code(to_string(code)), code);
  }
  EXPECT_EQ(to_string(ErasureCode::SlidingWindow), "sliding-window");
  EXPECT_EQ(to_string(ErasureCode{77}), "unknown");
  EXPECT_FALSE(parse_erasure_code("unknown"));
  EXPECT_FALSE(parse_erasure_code("XOR"));
}

TEST(ErasureCode, block_sizes) {
  EXPECT_EQ(block_size_index(1), 0);
  EXPECT_EQ(block_size_index(4), 0);
  EXPECT_EQ(block_size_index(5), 1);
  EXPECT_EQ(block_size_index(64), 4);
  EXPECT_FALSE(block_size_index(65));
}

// Faults G2: numbers that do not belong together.
TEST(ErasureCode, limits_of_repair_ids) {
  const auto valid = [](ErasureCode code, uint8_t count, unsigned key) {
    return RepairId{.code = code, .first = 9, .count = count, .key = static_cast<uint16_t>(key)}
        .valid();
  };
  EXPECT_TRUE(valid(ErasureCode::Xor, 1, 0));
  EXPECT_TRUE(valid(ErasureCode::Xor, 255, 0));
  EXPECT_FALSE(valid(ErasureCode::Xor, 0, 0));
  EXPECT_FALSE(valid(ErasureCode::Xor, 1, 1));
  EXPECT_TRUE(valid(ErasureCode::SlidingWindow, 255, 65535));
  EXPECT_FALSE(valid(ErasureCode::SlidingWindow, 0, 1));
  EXPECT_TRUE(valid(ErasureCode::ReedSolomon, 4, 0x001f));
  EXPECT_FALSE(valid(ErasureCode::ReedSolomon, 4, 0x0020));  // repair 32
  EXPECT_FALSE(valid(ErasureCode::ReedSolomon, 5, 0x0000));  // more sources than k
  EXPECT_TRUE(valid(ErasureCode::ReedSolomon, 64, 0x0400));
  EXPECT_FALSE(valid(ErasureCode::ReedSolomon, 64, 0x0500));  // no such k
  EXPECT_FALSE(valid(ErasureCode{0}, 1, 0));
  EXPECT_FALSE(valid(ErasureCode{4}, 1, 0));
}

TEST(ErasureCode, no_coefficient_is_zero) {
  RepairCoefficients coefficients;
  const auto all_set = [&](const RepairId& id) {
    const Bytes out = coefficients.of(id);
    return out.size() == id.count && !std::ranges::contains(out, 0);
  };
  for (unsigned key = 0; key < 65536; key += 7) {
    EXPECT_TRUE(all_set(
        {.code = ErasureCode::SlidingWindow, .count = 255, .key = static_cast<uint16_t>(key)}));
  }
  for (const uint8_t k : kBlockSizes) {
    for (size_t index = 0; index < kBlockRepairsMax; ++index)
      EXPECT_TRUE(all_set(ErasureEncoder::reed_solomon(0, k, k, index)));
  }
  EXPECT_TRUE(all_set(ErasureEncoder::xor_parity(0, 255)));
}

TEST(TinyMt32, rfc8682_vector) {
  TinyMt32 generator(1);
  for (const uint32_t expected : {2545341989u, 981918433u, 3715302833u, 2387538352u, 3591001365u,
                                  3820442102u, 2114400566u, 2196103051u, 2783359912u, 764534509u}) {
    EXPECT_EQ(generator.next(), expected);
  }
  TinyMt32 bytes(1);
  for (const int expected : {37, 225, 177, 176, 21, 246, 54, 139, 168, 237})
    EXPECT_EQ(bytes.rand256(), expected);
  TinyMt32 nibbles(1);
  for (const int expected : {5, 1, 1, 0, 5, 6, 6, 11, 8, 13}) EXPECT_EQ(nibbles.rand16(), expected);
}

TEST(RlcCoefficients, rfc8681_3_6) {
  const std::pair<uint16_t, std::vector<uint8_t>> cases[] = {
      {0, {39, 42, 153, 208, 176, 219, 77, 72}},
      {1, {37, 225, 177, 176, 21, 246, 54, 139}},
      {2, {249, 140, 98, 88, 123, 116, 116, 112}},
      {65535, {52, 199, 76, 244, 208, 206, 112, 248}},
  };
  for (const auto& [key, expected] : cases) {
    std::vector<uint8_t> coefficients(8);
    rlc_coefficients(key, 15, coefficients);
    EXPECT_EQ(coefficients, expected);
  }
  std::vector<uint8_t> sparse(8);
  rlc_coefficients(1, 7, sparse);
  EXPECT_EQ(sparse, (std::vector<uint8_t>{225, 176, 246, 139, 0, 0, 187, 0}));
}

TEST(RlcCoefficients, keys_side_by_side_give_the_same) {
  RlcCoefficientCache cache;
  std::vector<uint8_t> expected(RlcCoefficientCache::kCoefficients);
  for (unsigned key = 0; key < 65536; ++key) {
    rlc_coefficients(static_cast<uint16_t>(key), 15, expected);
    ASSERT_TRUE(std::ranges::equal(cache.row(static_cast<uint16_t>(key)), expected)) << key;
  }
}

TEST(ReedSolomon, rfc5510_generator_matrix) {
  const ReedSolomon two(2, 4);
  EXPECT_EQ(to_hex(two.column(2)), "0203");
  EXPECT_EQ(to_hex(two.column(3)), "0607");
  const ReedSolomon four(4, 6);
  EXPECT_EQ(to_hex(four.column(4)), "4078360f");
  EXPECT_EQ(to_hex(four.column(5)), "e7d25763");
  // A column does not depend on n: the matrix of a block size serves every number of repairs.
  const ReedSolomon longer(4, 36);
  EXPECT_TRUE(std::ranges::equal(four.column(5), longer.column(5)));
}

}  // namespace
}  // namespace masque
