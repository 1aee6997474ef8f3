// SPDX-License-Identifier: Apache-2.0
// The generator matrix of systematic Reed-Solomon over GF(2^8), RFC 5510 8.2-8.4 as RFC 6865 uses
// it: V[i][j] = alpha^(i*j), GM = V[k,k]^-1 * V[k,n]. Any k of the n symbols give the k source
// symbols back, since any k columns are independent. Not the matrix of other libraries (Cauchy,
// powers of the row): those are not compatible on the wire.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

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

 private:
  size_t k_;
  size_t n_;
  std::vector<uint8_t> matrix_;  // by column
};

}  // namespace masque
