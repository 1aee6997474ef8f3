// SPDX-License-Identifier: Apache-2.0
// Randomness comes in from outside: the kernel's (host/random.h) in production, a seeded generator
// in the simulator, so that one seed draws the whole world.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace masque {

class Rng {
 public:
  virtual ~Rng() = default;
  // Fills `out` with bytes that are unpredictable to outsiders (production) or repeatable
  // (simulation).
  virtual void fill(std::span<uint8_t> out) = 0;

  uint64_t u64() {
    std::array<uint8_t, 8> bytes;
    fill(bytes);
    uint64_t value = 0;
    for (const uint8_t b : bytes) value = value << 8 | b;
    return value;
  }
  // Uniform in [0, bound); the bias of the modulus is below 2^-32 for the bounds used here.
  uint64_t below(uint64_t bound) { return bound == 0 ? 0 : u64() % bound; }
};

// xoshiro256** seeded by splitmix64: for simulation and tests only, never for keys or tokens.
class SeededRng final : public Rng {
 public:
  explicit SeededRng(uint64_t seed);
  void fill(std::span<uint8_t> out) override;

 private:
  uint64_t next();
  std::array<uint64_t, 4> state_;
};

}  // namespace masque
