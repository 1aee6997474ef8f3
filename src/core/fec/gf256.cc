// SPDX-License-Identifier: Apache-2.0
#include "core/fec/gf256.h"

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
#endif

}  // namespace

Kernel best_kernel() {
#if defined(__x86_64__)
  static const Kernel best = __builtin_cpu_supports("avx2")    ? Kernel::Avx2
                             : __builtin_cpu_supports("ssse3") ? Kernel::Ssse3
                                                               : Kernel::Reference;
  return best;
#else
  return Kernel::Reference;
#endif
}

std::string_view to_string(Kernel kernel) {
  switch (kernel) {
    case Kernel::Reference:
      return "reference";
    case Kernel::Ssse3:
      return "ssse3";
    case Kernel::Avx2:
      return "avx2";
  }
  std::unreachable();
}

void add_scaled(MutableBytes target, Bytes source, uint8_t factor, Kernel kernel) {
  MASQUE_ASSERT(target.size() >= source.size());
  if (factor == 0) return;
  size_t done = 0;
#if defined(__x86_64__)
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

}  // namespace masque::gf256
