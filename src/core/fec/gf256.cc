// SPDX-License-Identifier: Apache-2.0
#include "core/fec/gf256.h"

#include <algorithm>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace masque::gf256 {

namespace {

// A product is the sum of the products of both nibbles: two 16-byte tables for each factor.
struct alignas(16) NibbleTable {
  std::array<uint8_t, 16> low{};
  std::array<uint8_t, 16> high{};
};
constexpr std::array<NibbleTable, 256> make_nibble_tables() {
  std::array<NibbleTable, 256> out{};
  for (unsigned factor = 0; factor < 256; ++factor) {
    for (unsigned nibble = 0; nibble < 16; ++nibble) {
      out[factor].low[nibble] =
          multiply(static_cast<uint8_t>(factor), static_cast<uint8_t>(nibble));
      out[factor].high[nibble] =
          multiply(static_cast<uint8_t>(factor), static_cast<uint8_t>(nibble << 4));
    }
  }
  return out;
}
constexpr std::array<NibbleTable, 256> kNibbles = make_nibble_tables();

// Multiplication by a constant is linear over the bits: GF2P8AFFINEQB takes it as an 8x8 matrix
// whose row for result bit i is byte 7 - i.
constexpr std::array<uint64_t, 256> make_bit_matrices() {
  std::array<uint64_t, 256> out{};
  for (unsigned factor = 0; factor < 256; ++factor) {
    for (unsigned column = 0; column < 8; ++column) {
      const unsigned product =
          multiply(static_cast<uint8_t>(factor), static_cast<uint8_t>(1u << column));
      for (unsigned row = 0; row < 8; ++row) {
        if ((product >> row & 1) != 0) out[factor] |= uint64_t{1} << ((7 - row) * 8 + column);
      }
    }
  }
  return out;
}
[[maybe_unused]] constexpr std::array<uint64_t, 256> kBitMatrices = make_bit_matrices();

void add_scaled_reference(uint8_t* target, const uint8_t* source, size_t length, uint8_t factor) {
  const NibbleTable& table = kNibbles[factor];
  for (size_t i = 0; i < length; ++i) {
    target[i] =
        static_cast<uint8_t>(target[i] ^ table.low[source[i] & 15] ^ table.high[source[i] >> 4]);
  }
}

#if defined(__x86_64__)
__attribute__((target("ssse3"))) size_t add_scaled_ssse3(uint8_t* target, const uint8_t* source,
                                                         size_t length, uint8_t factor) {
  const __m128i low = _mm_load_si128(reinterpret_cast<const __m128i*>(kNibbles[factor].low.data()));
  const __m128i high =
      _mm_load_si128(reinterpret_cast<const __m128i*>(kNibbles[factor].high.data()));
  const __m128i mask = _mm_set1_epi8(15);
  size_t i = 0;
  for (; i + 16 <= length; i += 16) {
    const __m128i s = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i));
    const __m128i l = _mm_shuffle_epi8(low, _mm_and_si128(s, mask));
    const __m128i h = _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi64(s, 4), mask));
    auto* out = reinterpret_cast<__m128i*>(target + i);
    _mm_storeu_si128(out, _mm_xor_si128(_mm_loadu_si128(out), _mm_xor_si128(l, h)));
  }
  return i;
}

__attribute__((target("avx2"))) size_t add_scaled_avx2(uint8_t* target, const uint8_t* source,
                                                       size_t length, uint8_t factor) {
  const __m256i low = _mm256_broadcastsi128_si256(
      _mm_load_si128(reinterpret_cast<const __m128i*>(kNibbles[factor].low.data())));
  const __m256i high = _mm256_broadcastsi128_si256(
      _mm_load_si128(reinterpret_cast<const __m128i*>(kNibbles[factor].high.data())));
  const __m256i mask = _mm256_set1_epi8(15);
  size_t i = 0;
  for (; i + 32 <= length; i += 32) {
    const __m256i s = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i));
    const __m256i l = _mm256_shuffle_epi8(low, _mm256_and_si256(s, mask));
    const __m256i h = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi64(s, 4), mask));
    auto* out = reinterpret_cast<__m256i*>(target + i);
    _mm256_storeu_si256(out, _mm256_xor_si256(_mm256_loadu_si256(out), _mm256_xor_si256(l, h)));
  }
  return i;
}

__attribute__((target("avx512f,avx512bw,gfni"))) void add_scaled_avx512(uint8_t* target,
                                                                        const uint8_t* source,
                                                                        size_t length,
                                                                        uint8_t factor) {
  const __m512i matrix = _mm512_set1_epi64(static_cast<long long>(kBitMatrices[factor]));
  size_t i = 0;
  for (; i + 64 <= length; i += 64) {
    const __m512i product =
        _mm512_gf2p8affine_epi64_epi8(_mm512_loadu_si512(source + i), matrix, 0);
    _mm512_storeu_si512(target + i, _mm512_xor_si512(_mm512_loadu_si512(target + i), product));
  }
  if (i == length) return;
  const __mmask64 rest = ~uint64_t{0} >> (64 - (length - i));
  const __m512i product =
      _mm512_gf2p8affine_epi64_epi8(_mm512_maskz_loadu_epi8(rest, source + i), matrix, 0);
  _mm512_mask_storeu_epi8(target + i, rest,
                          _mm512_xor_si512(_mm512_maskz_loadu_epi8(rest, target + i), product));
}

__attribute__((target("avx2,gfni"))) size_t add_scaled_gfni(uint8_t* target, const uint8_t* source,
                                                            size_t length, uint8_t factor) {
  const __m256i matrix = _mm256_set1_epi64x(static_cast<long long>(kBitMatrices[factor]));
  size_t i = 0;
  for (; i + 32 <= length; i += 32) {
    const __m256i s = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i));
    auto* out = reinterpret_cast<__m256i*>(target + i);
    _mm256_storeu_si256(out, _mm256_xor_si256(_mm256_loadu_si256(out),
                                              _mm256_gf2p8affine_epi64_epi8(s, matrix, 0)));
  }
  return i;
}

// The sums of kUnits * 64 bytes from `offset` on, whole vectors written to `out`. Unrolled with the
// sums in registers; the number of vectors that a shorter term has is tested for each.
template <size_t kUnits>
__attribute__((target("avx512f,avx512bw,gfni"))) void combine_avx512(uint8_t* out,
                                                                     std::span<const Term> terms,
                                                                     size_t offset) {
  __m512i sums[kUnits];
#pragma GCC unroll 24
  for (size_t i = 0; i < kUnits; ++i) sums[i] = _mm512_setzero_si512();
  for (const Term& term : terms) {
    if (term.size <= offset) continue;
    const __m512i matrix = _mm512_set1_epi64(static_cast<long long>(kBitMatrices[term.factor]));
    const uint8_t* data = term.data + offset;
    const size_t length = term.size - offset;
    if (length > (kUnits - 1) * 64) [[likely]] {
#pragma GCC unroll 24
      for (size_t i = 0; i < kUnits; ++i) {
        sums[i] = _mm512_xor_si512(
            sums[i], _mm512_gf2p8affine_epi64_epi8(_mm512_loadu_si512(data + i * 64), matrix, 0));
      }
      continue;
    }
#pragma GCC unroll 24
    for (size_t i = 0; i < kUnits; ++i) {
      if (length <= i * 64) continue;
      sums[i] = _mm512_xor_si512(
          sums[i], _mm512_gf2p8affine_epi64_epi8(_mm512_loadu_si512(data + i * 64), matrix, 0));
    }
  }
#pragma GCC unroll 24
  for (size_t i = 0; i < kUnits; ++i) _mm512_storeu_si512(out + i * 64, sums[i]);
}

template <size_t kUnits>
__attribute__((target("avx2,gfni"))) void combine_gfni(uint8_t* out, std::span<const Term> terms,
                                                       size_t offset) {
  __m256i sums[kUnits * 2];
#pragma GCC unroll 16
  for (size_t i = 0; i < kUnits * 2; ++i) sums[i] = _mm256_setzero_si256();
  for (const Term& term : terms) {
    if (term.size <= offset) continue;
    const __m256i matrix = _mm256_set1_epi64x(static_cast<long long>(kBitMatrices[term.factor]));
    const auto* data = reinterpret_cast<const __m256i*>(term.data + offset);
    const size_t length = term.size - offset;
#pragma GCC unroll 16
    for (size_t i = 0; i < kUnits * 2; ++i) {
      if (length <= i * 32) continue;
      sums[i] = _mm256_xor_si256(
          sums[i], _mm256_gf2p8affine_epi64_epi8(_mm256_loadu_si256(data + i), matrix, 0));
    }
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kUnits * 2; ++i)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out) + i, sums[i]);
}

template <size_t kUnits>
__attribute__((target("avx2"))) void combine_avx2(uint8_t* out, std::span<const Term> terms,
                                                  size_t offset) {
  const __m256i mask = _mm256_set1_epi8(15);
  __m256i sums[kUnits * 2];
#pragma GCC unroll 16
  for (size_t i = 0; i < kUnits * 2; ++i) sums[i] = _mm256_setzero_si256();
  for (const Term& term : terms) {
    if (term.size <= offset) continue;
    const NibbleTable& table = kNibbles[term.factor];
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_load_si128(reinterpret_cast<const __m128i*>(table.low.data())));
    const __m256i high = _mm256_broadcastsi128_si256(
        _mm_load_si128(reinterpret_cast<const __m128i*>(table.high.data())));
    const auto* data = reinterpret_cast<const __m256i*>(term.data + offset);
    const size_t length = term.size - offset;
#pragma GCC unroll 16
    for (size_t i = 0; i < kUnits * 2; ++i) {
      if (length <= i * 32) continue;
      const __m256i s = _mm256_loadu_si256(data + i);
      const __m256i l = _mm256_shuffle_epi8(low, _mm256_and_si256(s, mask));
      const __m256i h = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi64(s, 4), mask));
      sums[i] = _mm256_xor_si256(sums[i], _mm256_xor_si256(l, h));
    }
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kUnits * 2; ++i)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out) + i, sums[i]);
}

using CombineUnits = void (*)(uint8_t*, std::span<const Term>, size_t);
// Index: how many 64-byte units at once, as many sums as leave registers for the rest. One pass
// over a whole packet is worth it: it reads each term in one go.
template <size_t... kUnits>
constexpr auto avx512_table(std::index_sequence<kUnits...>) {
  return std::array<CombineUnits, sizeof...(kUnits) + 1>{nullptr, combine_avx512<kUnits + 1>...};
}
constexpr size_t kUnitsMax = 24;
constexpr auto kCombineAvx512 = avx512_table(std::make_index_sequence<kUnitsMax>());
constexpr CombineUnits kCombineGfni[] = {nullptr,         combine_gfni<1>, combine_gfni<2>,
                                         combine_gfni<3>, combine_gfni<4>, combine_gfni<5>,
                                         combine_gfni<6>};
constexpr CombineUnits kCombineAvx2[] = {nullptr, combine_avx2<1>, combine_avx2<2>, combine_avx2<3>,
                                         combine_avx2<4>};

std::span<const CombineUnits> combine_units(Kernel kernel) {
  if (kernel == Kernel::Avx512Gfni) return kCombineAvx512;
  if (kernel == Kernel::Avx2Gfni) return kCombineGfni;
  if (kernel == Kernel::Avx2) return kCombineAvx2;
  return {};
}
#endif

}  // namespace

bool supported(Kernel kernel) {
#if defined(__x86_64__)
  const auto avx2 = [] { return __builtin_cpu_supports("avx2") != 0; };
  const auto gfni = [] { return __builtin_cpu_supports("gfni") != 0; };
  switch (kernel) {
    case Kernel::Reference:
      return true;
    case Kernel::Ssse3:
      return __builtin_cpu_supports("ssse3") != 0;
    case Kernel::Avx2:
      return avx2();
    case Kernel::Avx2Gfni:
      return avx2() && gfni();
    case Kernel::Avx512Gfni:
      return gfni() && __builtin_cpu_supports("avx512f") != 0 &&
             __builtin_cpu_supports("avx512bw") != 0;
  }
  std::unreachable();
#else
  return kernel == Kernel::Reference;
#endif
}

Kernel best_kernel() {
  static const Kernel best = [] {
    Kernel out = Kernel::Reference;
    for (const Kernel kernel : kKernels) {
      if (supported(kernel)) out = kernel;
    }
    return out;
  }();
  return best;
}

std::string_view to_string(Kernel kernel) {
  switch (kernel) {
    case Kernel::Reference:
      return "reference";
    case Kernel::Ssse3:
      return "ssse3";
    case Kernel::Avx2:
      return "avx2";
    case Kernel::Avx2Gfni:
      return "avx2+gfni";
    case Kernel::Avx512Gfni:
      return "avx512+gfni";
  }
  std::unreachable();
}

void add_scaled(MutableBytes target, Bytes source, uint8_t factor, Kernel kernel) {
  MASQUE_ASSERT(target.size() >= source.size());
  if (factor == 0 || source.empty()) return;
  size_t done = 0;
#if defined(__x86_64__)
  if (kernel == Kernel::Avx512Gfni) {
    add_scaled_avx512(target.data(), source.data(), source.size(), factor);
    return;
  }
  if (kernel == Kernel::Avx2Gfni)
    done = add_scaled_gfni(target.data(), source.data(), source.size(), factor);
  if (kernel == Kernel::Avx2)
    done = add_scaled_avx2(target.data(), source.data(), source.size(), factor);
  if (kernel == Kernel::Ssse3)
    done = add_scaled_ssse3(target.data(), source.data(), source.size(), factor);
#endif
  add_scaled_reference(target.data() + done, source.data() + done, source.size() - done, factor);
}

void add_scaled(MutableBytes target, Bytes source, uint8_t factor) {
  add_scaled(target, source, factor, best_kernel());
}

void scale(MutableBytes data, uint8_t factor) {
  const NibbleTable& table = kNibbles[factor];
  for (uint8_t& byte : data) byte = table.low[byte & 15] ^ table.high[byte >> 4];
}

void combine(MutableBytes out, std::span<const Term> terms, Kernel kernel) {
#if defined(__x86_64__)
  if (const auto units = combine_units(kernel); !units.empty()) {
    // Passes of nearly the same width: 32 vectors are 16 + 16, not 24 + 8.
    const size_t all = padded_size(out.size()) / kVectorSize;
    const size_t passes = (all + units.size() - 2) / (units.size() - 1);
    for (size_t pass = 0, done = 0; pass < passes; ++pass) {
      const size_t count = (all - done + passes - pass - 1) / (passes - pass);
      const size_t offset = done * kVectorSize;
      done += count;
      if (done * kVectorSize <= out.size()) {
        units[count](out.data() + offset, terms, offset);
        continue;
      }
      alignas(kVectorSize) std::array<uint8_t, kUnitsMax * kVectorSize> last;
      units[count](last.data(), terms, offset);
      std::memcpy(out.data() + offset, last.data(), out.size() - offset);
    }
    return;
  }
#endif
  std::ranges::fill(out, uint8_t{0});
  for (const Term& term : terms) {
    add_scaled(out, Bytes(term.data, std::min<size_t>(term.size, out.size())), term.factor, kernel);
  }
}

void combine(MutableBytes out, std::span<const Term> terms) { combine(out, terms, best_kernel()); }

}  // namespace masque::gf256
