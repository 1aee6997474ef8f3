// SPDX-License-Identifier: Apache-2.0
// The field against its definition, and every kernel that this machine has against the field.
#include "core/fec/gf256.h"

#include <gtest/gtest.h>

#include "core/fec/erasure_test_support.h"

namespace masque {
namespace {

using test::random_symbol;
using test::Symbol;

TEST(Gf256, polynomial_0x11d) {
  EXPECT_EQ(gf256::multiply(0x02, 0x80), 0x1d);
  EXPECT_EQ(gf256::multiply(0x53, 0xca), 0x8f);
}

TEST(Gf256, tables_equal_the_definition_and_inverses_invert) {
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      ASSERT_EQ(gf256::multiply(static_cast<uint8_t>(a), static_cast<uint8_t>(b)),
                gf256::multiply_slowly(static_cast<uint8_t>(a), static_cast<uint8_t>(b)));
    }
    if (a == 0) continue;
    EXPECT_EQ(gf256::multiply(static_cast<uint8_t>(a), gf256::inverse(static_cast<uint8_t>(a))), 1);
  }
}

TEST(Gf256, every_kernel_adds_scaled_like_the_definition) {
  SeededRng rng(1);
  for (size_t length = 0; length < 200; ++length) {
    const Symbol source = random_symbol(rng, length);
    const Symbol start = random_symbol(rng, length + 3);
    for (const unsigned factor : {0u, 1u, 2u, 0x1du, 0xffu}) {
      Symbol expected = start;
      test::add_slowly(expected, source, static_cast<uint8_t>(factor));
      for (const gf256::Kernel kernel : gf256::kKernels) {
        if (!gf256::supported(kernel)) continue;
        Symbol target = start;
        gf256::add_scaled(target, source, static_cast<uint8_t>(factor), kernel);
        ASSERT_EQ(target, expected) << gf256::to_string(kernel) << " " << length;
      }
    }
  }
}

TEST(Gf256, every_kernel_knows_all_factors) {
  Symbol source(256);
  for (size_t i = 0; i < 256; ++i) source[i] = static_cast<uint8_t>(i);
  for (unsigned factor = 0; factor < 256; ++factor) {
    Symbol expected(256, 0);
    test::add_slowly(expected, source, static_cast<uint8_t>(factor));
    for (const gf256::Kernel kernel : gf256::kKernels) {
      if (!gf256::supported(kernel)) continue;
      Symbol target(256, 0);
      gf256::add_scaled(target, source, static_cast<uint8_t>(factor), kernel);
      ASSERT_EQ(target, expected) << gf256::to_string(kernel) << " " << factor;
      const gf256::Term term{
          .data = source.data(), .size = 256, .factor = static_cast<uint8_t>(factor)};
      gf256::combine(target, {&term, 1}, kernel);
      ASSERT_EQ(target, expected) << gf256::to_string(kernel) << " " << factor;
    }
  }
}

// Lengths around every width that a kernel treats apart; terms shorter, equal and longer.
TEST(Gf256, every_kernel_combines_like_the_definition) {
  SeededRng rng(2);
  for (size_t length = 0; length < 1700; length += 1 + rng.below(length < 140 ? 2 : 23)) {
    std::vector<Symbol> stored;
    std::vector<gf256::Term> terms;
    Symbol expected(length, 0);
    for (size_t i = 0; i < 5; ++i) {
      const size_t size = i == 0 ? length : rng.below(length + 70);
      Symbol symbol = random_symbol(rng, size);
      const auto factor = static_cast<uint8_t>(rng.below(256));
      Symbol cut = symbol;
      cut.resize(std::min(size, length));
      test::add_slowly(expected, cut, factor);
      symbol.resize(gf256::padded_size(size), 0);
      stored.push_back(std::move(symbol));
      terms.push_back(
          {.data = stored.back().data(), .size = static_cast<uint32_t>(size), .factor = factor});
    }
    for (const gf256::Kernel kernel : gf256::kKernels) {
      if (!gf256::supported(kernel)) continue;
      Symbol out(length + 64, 0xee);  // what follows `out` stays as it is
      gf256::combine(MutableBytes(out).first(length), terms, kernel);
      ASSERT_TRUE(std::ranges::equal(Bytes(out).first(length), expected))
          << gf256::to_string(kernel) << " " << length;
      ASSERT_EQ(std::ranges::count(Bytes(out).subspan(length), 0xee), 64)
          << gf256::to_string(kernel) << " " << length;
    }
  }
}

}  // namespace
}  // namespace masque
