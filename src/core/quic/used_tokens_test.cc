// SPDX-License-Identifier: Apache-2.0
#include "core/quic/used_tokens.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace masque {
namespace {

constexpr Duration kLife = 24h;
const Instant kStart = instant_from_ns(1'000'000'000);

std::array<uint8_t, 41> token(uint64_t number) {
  std::array<uint8_t, 41> out{};
  out[0] = 0x36;
  std::memcpy(out.data() + out.size() - 8, &number, sizeof(number));
  return out;
}

TEST(UsedTokens, a_token_is_known_until_it_expires) {
  UsedTokens used(kLife);
  EXPECT_FALSE(used.contains(token(1)));
  used.add(kStart, token(1));
  EXPECT_TRUE(used.contains(token(1)));
  EXPECT_FALSE(used.contains(token(2)));
  used.add(kStart + kLife, token(2));
  EXPECT_TRUE(used.contains(token(1)));
  used.add(kStart + 2 * kLife, token(3));
  EXPECT_FALSE(used.contains(token(1)));
  EXPECT_TRUE(used.contains(token(2)));
  EXPECT_EQ(used.size(), 2u);
}

TEST(UsedTokens, memory_is_bounded_and_the_newest_stay) {
  UsedTokens used(kLife);
  constexpr uint64_t kMany = 5 * UsedTokens::kGenerationMax;
  for (uint64_t i = 0; i < kMany; ++i) used.add(kStart, token(i));
  EXPECT_LE(used.size(), 2 * UsedTokens::kGenerationMax);
  for (uint64_t i = kMany - UsedTokens::kGenerationMax; i < kMany; ++i) {
    ASSERT_TRUE(used.contains(token(i))) << i;
  }
}

}  // namespace
}  // namespace masque
