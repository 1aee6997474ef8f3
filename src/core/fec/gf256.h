// SPDX-License-Identifier: Apache-2.0
// Arithmetic in GF(2^8) with the polynomial x^8+x^4+x^3+x^2+1 (0x11D) of RFC 8681 3.7 and RFC
// 5510 8.2. The bulk operations have a plain reference version and SIMD versions chosen once by
// what the CPU has; all give the same bytes (gf256_test.cc compares them).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace masque::gf256 {

constexpr uint8_t multiply_slowly(uint8_t a, uint8_t b) {
  unsigned product = 0;
  unsigned shifted = a;
  for (unsigned bits = b; bits != 0; bits >>= 1) {
    if ((bits & 1) != 0) product ^= shifted;
    shifted <<= 1;
    if ((shifted & 0x100) != 0) shifted ^= 0x11d;
  }
  return static_cast<uint8_t>(product);
}

struct Tables {
  std::array<uint8_t, 512>
      exp{};  // alpha^i, twice, so that a sum of two logarithms needs no modulus
  std::array<uint8_t, 256> log{};  // log[0] is meaningless
};
constexpr Tables make_tables() {
  Tables out;
  uint8_t power = 1;
  for (unsigned i = 0; i < 255; ++i) {
    out.exp[i] = out.exp[i + 255] = power;
    out.log[power] = static_cast<uint8_t>(i);
    power = multiply_slowly(power, 2);
  }
  return out;
}
inline constexpr Tables kTables = make_tables();

constexpr uint8_t multiply(uint8_t a, uint8_t b) {
  if (a == 0 || b == 0) return 0;
  return kTables.exp[static_cast<size_t>(kTables.log[a]) + kTables.log[b]];
}
// alpha^n for any n >= 0.
constexpr uint8_t power_of_two(unsigned n) { return kTables.exp[n % 255]; }
// The argument is not zero.
constexpr uint8_t inverse(uint8_t a) { return kTables.exp[255u - kTables.log[a]]; }

enum class Kernel : uint8_t { Reference, Ssse3, Avx2, Avx2Gfni, Avx512Gfni };
inline constexpr Kernel kKernels[] = {Kernel::Reference, Kernel::Ssse3, Kernel::Avx2,
                                      Kernel::Avx2Gfni, Kernel::Avx512Gfni};
bool supported(Kernel kernel);
Kernel best_kernel();
std::string_view to_string(Kernel kernel);

// target += factor * source, over the length of source; target is at least as long.
void add_scaled(MutableBytes target, Bytes source, uint8_t factor, Kernel kernel);
void add_scaled(MutableBytes target, Bytes source, uint8_t factor);
// data *= factor.
void scale(MutableBytes data, uint8_t factor);

// One product of a long sum. The bytes after `size` up to a multiple of kVectorSize are readable
// and zero.
inline constexpr size_t kVectorSize = 64;
struct Term {
  const uint8_t* data = nullptr;
  uint32_t size = 0;
  uint8_t factor = 0;
};
constexpr size_t padded_size(size_t size) {
  return (size + kVectorSize - 1) / kVectorSize * kVectorSize;
}
// out = the sum of the terms; shorter terms count as followed by zeros, longer ones are cut. `out`
// is none of the terms. Each byte of a term is read once and sums stay in registers.
void combine(MutableBytes out, std::span<const Term> terms, Kernel kernel);
void combine(MutableBytes out, std::span<const Term> terms);

}  // namespace masque::gf256
