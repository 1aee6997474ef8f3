// SPDX-License-Identifier: Apache-2.0
// Gauss-Jordan elimination over GF(2^8) that looks at coefficients only. Rows are added one by one;
// each remembers from which multiples of the rows added it is made, so that the symbols need to be
// combined only once, for unknowns that are determined. One matrix, allocated once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace masque {

class ErasureSolver {
 public:
  ErasureSolver(size_t rows_max, size_t columns_max);

  // Forgets everything: `rows` at most will be added, of `columns` unknowns.
  void start(size_t rows, size_t columns);
  // Byte operations that a system of this size takes at most.
  static size_t work(size_t rows, size_t columns);

  enum class Row : uint8_t { Independent, Dependent };
  // A row of `columns` coefficients. Dependent: it follows from the earlier ones.
  Row add_row(Bytes coefficients);

  size_t rank() const { return pivots_.size(); }
  // The unknown that the system's row (< rank()) determines, if it is but one.
  std::optional<size_t> determined(size_t row) const;
  // That unknown is the sum of the added rows' right sides times these, by order of addition.
  Bytes factors(size_t row) const { return {row_at(row) + columns_, added_}; }

 private:
  const uint8_t* row_at(size_t row) const { return matrix_.get() + row * width_; }
  uint8_t* row_at(size_t row) { return matrix_.get() + row * width_; }
  MutableBytes whole(size_t row) { return {row_at(row), width_}; }

  size_t rows_max_;
  size_t columns_max_;
  size_t rows_ = 0;
  size_t columns_ = 0;
  size_t width_ = 0;  // columns, then one factor for each row to be added
  size_t added_ = 0;
  std::unique_ptr<uint8_t[]> matrix_;
  std::vector<uint16_t> pivots_;  // by row: its column with a 1 that no other row has
};

}  // namespace masque
