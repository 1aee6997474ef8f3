// SPDX-License-Identifier: Apache-2.0
// Systematic Reed-Solomon over GF(2^8) with the generator matrix of RFC 5510 8.2-8.4, as RFC 6865
// uses it: V[i][j] = alpha^(i*j), GM = V[k,k]^-1 * V[k,n]. Any k of the n symbols give the k source
// symbols back. Not the matrix of other libraries (Cauchy, powers of the row): those are not
// compatible on the wire.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace masque {

class ReedSolomon {
 public:
  static constexpr size_t kSymbolsMax = 255;  // n, for m = 8

  // 1 <= k < n <= 255 (RFC 5510 8.1); the matrix is made once.
  ReedSolomon(size_t k, size_t n);

  size_t k() const { return k_; }
  size_t n() const { return n_; }
  // Column `esi` of the generator matrix, k values.
  std::span<const uint8_t> column(size_t esi) const { return {&matrix_[esi * k_], k_}; }

  // Repair symbol `esi` (k..n-1) over k source symbols of one size.
  void encode(std::span<const Bytes> sources, size_t esi, MutableBytes out) const;

  struct Symbol {
    uint8_t esi = 0;
    Bytes bytes;
  };
  enum class Fault : uint8_t { TooFew, Duplicate, BadEsi, BadSize };
  // Fills `out` (k buffers of the symbol size) from any k different symbols.
  std::expected<void, Fault> decode(std::span<const Symbol> received,
                                    std::span<const MutableBytes> out) const;

 private:
  size_t k_;
  size_t n_;
  std::vector<uint8_t> matrix_;  // by column
};

}  // namespace masque
