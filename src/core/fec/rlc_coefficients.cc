// SPDX-License-Identifier: Apache-2.0
#include "core/fec/rlc_coefficients.h"

#include <algorithm>

#include "core/fec/tinymt32.h"

namespace masque {

void rlc_coefficients(uint16_t repair_key, uint8_t density_threshold, std::span<uint8_t> out) {
  TinyMt32 generator(repair_key);
  for (uint8_t& coefficient : out) {
    coefficient = 0;
    if (density_threshold < 15 && generator.rand16() > density_threshold) continue;
    do {
      coefficient = generator.rand256();
    } while (coefficient == 0);
  }
}

std::span<const uint8_t> RlcCoefficientCache::row(uint16_t repair_key) {
  const auto first_key = static_cast<uint16_t>(repair_key & ~(kKeys - 1));
  if (first_key_ != first_key) fill(first_key);
  return std::span(rows_[repair_key % kKeys]).first(kCoefficients);
}

void RlcCoefficientCache::fill(uint16_t first_key) {
  first_key_ = first_key;
  std::array<std::array<uint8_t, kKeys>, kDraws> draws;
  TinyMt32Lanes<kKeys> generators(first_key);
  for (auto& draw : draws) generators.next_bytes(draw);
  for (size_t i = 0; i < kDraws; ++i) {
    for (size_t key = 0; key < kKeys; ++key) rows_[key][i] = draws[i][key];
  }
  for (size_t key = 0; key < kKeys; ++key) {
    auto& row = rows_[key];
    const auto end = std::remove(std::ranges::find(row, 0), row.end(), 0);
    if (static_cast<size_t>(end - row.begin()) >= kCoefficients) continue;
    rlc_coefficients(static_cast<uint16_t>(first_key + key), 15,
                     std::span(row).first(kCoefficients));
  }
}

}  // namespace masque
