// SPDX-License-Identifier: Apache-2.0
#include "core/fec/erasure_solver.h"

#include <algorithm>

#include "core/fec/gf256.h"

namespace masque {

ErasureSolver::ErasureSolver(size_t rows_max, size_t columns_max)
    : rows_max_(rows_max),
      columns_max_(columns_max),
      matrix_(std::make_unique_for_overwrite<uint8_t[]>(rows_max * (columns_max + rows_max))) {
  pivots_.reserve(rows_max);
}

void ErasureSolver::start(size_t rows, size_t columns) {
  MASQUE_ASSERT(rows <= rows_max_ && columns <= columns_max_);
  rows_ = rows;
  columns_ = columns;
  width_ = columns + rows;
  added_ = 0;
  pivots_.clear();
}

size_t ErasureSolver::work(size_t rows, size_t columns) {
  // Every new row meets every earlier one at most twice; short rows have their price, too.
  constexpr size_t kRowMin = 256;
  return 2 * rows * (1 + std::min(rows, columns)) * std::max(rows + columns, kRowMin);
}

ErasureSolver::Row ErasureSolver::add_row(Bytes coefficients) {
  MASQUE_ASSERT(coefficients.size() == columns_ && added_ < rows_);
  const size_t row = pivots_.size();
  uint8_t* const made = row_at(row);
  std::ranges::copy(coefficients, made);
  std::fill(made + columns_, made + width_, uint8_t{0});
  made[columns_ + added_++] = 1;
  for (size_t i = 0; i < row; ++i) gf256::add_scaled(whole(row), whole(i), made[pivots_[i]]);
  const auto pivot = static_cast<size_t>(
      std::find_if(made, made + columns_, [](uint8_t c) { return c != 0; }) - made);
  if (pivot == columns_) return Row::Dependent;
  gf256::scale(whole(row), gf256::inverse(made[pivot]));
  for (size_t i = 0; i < row; ++i) gf256::add_scaled(whole(i), whole(row), row_at(i)[pivot]);
  pivots_.push_back(static_cast<uint16_t>(pivot));
  return Row::Independent;
}

std::optional<size_t> ErasureSolver::determined(size_t row) const {
  const Bytes columns(row_at(row), columns_);
  const size_t pivot = pivots_[row];
  const auto zero = [](uint8_t c) { return c == 0; };
  if (!std::ranges::all_of(columns.first(pivot), zero)) return std::nullopt;
  if (!std::ranges::all_of(columns.subspan(pivot + 1), zero)) return std::nullopt;
  return pivot;
}

}  // namespace masque
