// SPDX-License-Identifier: Apache-2.0
#include "core/fec/reed_solomon.h"

#include <algorithm>
#include <bitset>

#include "core/fec/gf256.h"

namespace masque {

namespace {

// Gauss-Jordan over the rows of [a | b], both k rows; `b` has `width` columns. False: singular.
bool solve_in_place(std::vector<uint8_t>& a, std::vector<uint8_t>& b, size_t k, size_t width) {
  for (size_t pivot = 0; pivot < k; ++pivot) {
    size_t row = pivot;
    while (row < k && a[row * k + pivot] == 0) ++row;
    if (row == k) return false;
    if (row != pivot) {
      std::swap_ranges(&a[row * k], &a[row * k] + k, &a[pivot * k]);
      std::swap_ranges(&b[row * width], &b[row * width] + width, &b[pivot * width]);
    }
    const uint8_t factor = gf256::inverse(a[pivot * k + pivot]);
    gf256::scale({&a[pivot * k], k}, factor);
    gf256::scale({&b[pivot * width], width}, factor);
    for (size_t other = 0; other < k; ++other) {
      const uint8_t scale = a[other * k + pivot];
      if (other == pivot || scale == 0) continue;
      gf256::add_scaled({&a[other * k], k}, {&a[pivot * k], k}, scale);
      gf256::add_scaled({&b[other * width], width}, {&b[pivot * width], width}, scale);
    }
  }
  return true;
}

}  // namespace

ReedSolomon::ReedSolomon(size_t k, size_t n) : k_(k), n_(n), matrix_(k * n) {
  MASQUE_ASSERT(k >= 1 && k < n && n <= kSymbolsMax);
  std::vector<uint8_t> square(k * k);
  std::vector<uint8_t> wide(k * n);
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = 0; j < n; ++j) {
      const uint8_t value = gf256::power_of_two(static_cast<unsigned>(i * j));
      wide[i * n + j] = value;
      if (j < k) square[i * k + j] = value;
    }
  }
  MASQUE_ASSERT(solve_in_place(square, wide, k, n));
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = 0; j < n; ++j) matrix_[j * k + i] = wide[i * n + j];
  }
}

void ReedSolomon::encode(std::span<const Bytes> sources, size_t esi, MutableBytes out) const {
  MASQUE_ASSERT(sources.size() == k_ && esi >= k_ && esi < n_);
  std::ranges::fill(out, uint8_t{0});
  for (size_t i = 0; i < k_; ++i) gf256::add_scaled(out, sources[i], column(esi)[i]);
}

std::expected<void, ReedSolomon::Fault> ReedSolomon::decode(
    std::span<const Symbol> received, std::span<const MutableBytes> out) const {
  MASQUE_ASSERT(out.size() == k_);
  if (received.size() < k_) return std::unexpected(Fault::TooFew);
  const std::span<const Symbol> used = received.first(k_);
  std::bitset<256> seen;
  for (const Symbol& symbol : used) {
    if (symbol.esi >= n_) return std::unexpected(Fault::BadEsi);
    if (seen.test(symbol.esi)) return std::unexpected(Fault::Duplicate);
    if (symbol.bytes.size() != out[0].size()) return std::unexpected(Fault::BadSize);
    seen.set(symbol.esi);
  }
  // Row r says: the sum over i of column(esi_r)[i] * source_i is symbol r. Invert once, apply to
  // the bytes.
  std::vector<uint8_t> system(k_ * k_);
  std::vector<uint8_t> inverse(k_ * k_, 0);
  for (size_t r = 0; r < k_; ++r) {
    std::ranges::copy(column(used[r].esi), &system[r * k_]);
    inverse[r * k_ + r] = 1;
  }
  // Any k columns are independent: that is what makes the code MDS.
  MASQUE_ASSERT(solve_in_place(system, inverse, k_, k_));
  for (size_t i = 0; i < k_; ++i) {
    std::ranges::fill(out[i], uint8_t{0});
    for (size_t r = 0; r < k_; ++r) gf256::add_scaled(out[i], used[r].bytes, inverse[i * k_ + r]);
  }
  return {};
}

}  // namespace masque
