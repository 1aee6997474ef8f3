// SPDX-License-Identifier: Apache-2.0
// TinyMT32 with the parameters of RFC 8682 2.1: the generator of RLC coefficients. Both ends must
// draw the same numbers from the same 32-bit seed; it is no source of secrets.
#pragma once

#include <array>
#include <cstdint>

namespace masque {

class TinyMt32 {
 public:
  explicit constexpr TinyMt32(uint32_t seed) : state_{seed, kMat1, kMat2, kTmat} {
    constexpr uint32_t kMinLoop = 8;
    constexpr uint32_t kPreLoop = 8;
    for (uint32_t i = 1; i < kMinLoop; ++i) {
      const uint32_t before = state_[(i - 1) & 3];
      state_[i & 3] ^= i + 1812433253u * (before ^ (before >> 30));
    }
    for (uint32_t i = 0; i < kPreLoop; ++i) step();
  }

  constexpr uint32_t next() {
    step();
    const uint32_t t1 = state_[0] + (state_[2] >> 8);
    const uint32_t t0 = state_[3] ^ t1;
    return (t1 & 1) != 0 ? t0 ^ kTmat : t0;
  }
  // RFC 8681 3.5: the low bits of one output.
  constexpr uint8_t rand16() { return static_cast<uint8_t>(next() & 15); }
  constexpr uint8_t rand256() { return static_cast<uint8_t>(next() & 255); }

 private:
  static constexpr uint32_t kMat1 = 0x8f7011ee;
  static constexpr uint32_t kMat2 = 0xfc78ff1f;
  static constexpr uint32_t kTmat = 0x3793fdff;

  constexpr void step() {
    uint32_t y = state_[3];
    uint32_t x = (state_[0] & 0x7fffffff) ^ state_[1] ^ state_[2];
    x ^= x << 1;
    y ^= (y >> 1) ^ x;
    state_[0] = state_[1];
    state_[1] = state_[2];
    state_[2] = x ^ (y << 10);
    state_[3] = y;
    if ((y & 1) != 0) {
      state_[1] ^= kMat1;
      state_[2] ^= kMat2;
    }
  }

  std::array<uint32_t, 4> state_;
};

}  // namespace masque
