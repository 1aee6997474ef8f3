// SPDX-License-Identifier: Apache-2.0
#include "core/fec/reed_solomon.h"

#include <algorithm>

#include "base/assert.h"
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

}  // namespace masque
