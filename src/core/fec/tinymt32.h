// SPDX-License-Identifier: Apache-2.0
// TinyMT32 with the parameters of RFC 8682 2.1: the generator of RLC coefficients. Both ends must
// draw the same numbers from the same 32-bit seed; it is no source of secrets.
#pragma once

#include <array>
#include <cstddef>
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
  template <size_t kLanes>
  friend class TinyMt32Lanes;

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

// Generators of kLanes seeds that follow each other, in step; loops that compilers turn into vector
// instructions.
template <size_t kLanes>
class TinyMt32Lanes {
 public:
  explicit TinyMt32Lanes(uint32_t first_seed) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const auto state = TinyMt32(first_seed + static_cast<uint32_t>(lane)).state_;
      for (size_t i = 0; i < 4; ++i) state_[i][lane] = state[i];
    }
  }
  // TinyMt32::rand256() of each.
  void next_bytes(std::array<uint8_t, kLanes>& out) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      uint32_t y = state_[3][lane];
      uint32_t x = (state_[0][lane] & 0x7fffffff) ^ state_[1][lane] ^ state_[2][lane];
      x ^= x << 1;
      y ^= (y >> 1) ^ x;
      const uint32_t odd = 0u - (y & 1);
      state_[0][lane] = state_[1][lane];
      state_[1][lane] = state_[2][lane] ^ (odd & TinyMt32::kMat1);
      state_[2][lane] = x ^ (y << 10) ^ (odd & TinyMt32::kMat2);
      state_[3][lane] = y;
      const uint32_t t1 = state_[0][lane] + (state_[2][lane] >> 8);
      out[lane] = static_cast<uint8_t>(y ^ t1 ^ ((0u - (t1 & 1)) & TinyMt32::kTmat));
    }
  }

 private:
  std::array<std::array<uint32_t, kLanes>, 4> state_;
};

}  // namespace masque
