// SPDX-License-Identifier: Apache-2.0
// The coefficients of the sliding-window random linear code, RFC 8681 3.6.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace masque {

// One coefficient for each source symbol of a repair with this key. A density threshold below 15
// makes some of them zero: (threshold + 1) / 16 are not.
void rlc_coefficients(uint16_t repair_key, uint8_t density_threshold, std::span<uint8_t> out);

// The same for density 15 and keys that come one after the other: the generators of sixteen
// neighbours run side by side in vector registers, for little more than the price of one.
class RlcCoefficientCache {
 public:
  static constexpr size_t kKeys = 16;
  static constexpr size_t kCoefficients = 255;

  // kCoefficients of them, valid until the next call.
  std::span<const uint8_t> row(uint16_t repair_key);

 private:
  // More draws than coefficients, because zeros are drawn again.
  static constexpr size_t kDraws = kCoefficients + 17;

  void fill(uint16_t first_key);

  std::optional<uint16_t> first_key_;
  std::array<std::array<uint8_t, kDraws>, kKeys> rows_{};
};

}  // namespace masque
