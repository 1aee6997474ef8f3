// SPDX-License-Identifier: Apache-2.0
// When to solve, and solving. A set of equations determines its unknowns when it has as many of
// them as unknowns (rarely not, when coefficients happen to be dependent; the equation that is
// found dependent goes). The windows are intervals, so candidates sorted by the end of their window
// are searched for such a set in one pass: with M(e) unknowns before e, the equations i..j can be
// enough when j + 1 - M(end j) >= i - M(first i). How far the best set is from it says for how many
// events nothing needs to be looked at.
#include <algorithm>
#include <limits>

#include "core/fec/erasure_decoder.h"
#include "core/fec/serial.h"

namespace masque {

void ErasureDecoder::solve() {
  if (!touched_) return;
  touched_ = false;
  if (quiet_ > 1) {
    --quiet_;
    return;
  }
  while (try_candidates() == Progress::Some) {
  }
  touched_ = false;
  std::ranges::sort(recovered_, serial_less);
}

// An equation with more unknowns than there are equations cannot be in a solvable set; without it
// there are fewer equations, and so on.
void ErasureDecoder::choose_candidates() {
  candidates_.clear();
  const size_t ready = ready_equations();
  for (size_t i = 0; i < ready; ++i) candidates_.push_back(static_cast<uint16_t>(i));
  quiet_ = std::numeric_limits<size_t>::max();
  for (;;) {
    const size_t count = candidates_.size();
    std::erase_if(candidates_, [&](uint16_t i) {
      const size_t missing = equations_[i].missing;
      if (missing <= count) return false;
      quiet_ = std::min(quiet_, missing - count);
      return true;
    });
    if (candidates_.size() == count) return;
  }
}

uint32_t ErasureDecoder::first_of(Range range) const {
  uint32_t first = candidate(range.first).id.first;
  for (size_t i = range.first + 1; i <= range.last; ++i) {
    if (serial_less(candidate(i).id.first, first)) first = candidate(i).id.first;
  }
  return first;
}

ErasureDecoder::Progress ErasureDecoder::try_candidates() {
  choose_candidates();
  if (candidates_.empty()) return Progress::None;
  const uint32_t start = first_of({.first = 0, .last = candidates_.size() - 1});
  const uint32_t span = candidate(candidates_.size() - 1).id.end() - start;
  MASQUE_ASSERT(span < missing_before_.size());  // admits() and move_window() see to it
  uint16_t missing = 0;
  for (uint32_t i = 0; i < span; ++i) {
    missing_before_[i] = missing;
    if (!has(start + i)) ++missing;
  }
  missing_before_[span] = missing;

  int best = std::numeric_limits<int>::max();
  size_t best_first = 0;
  for (size_t j = 0; j < candidates_.size(); ++j) {
    const RepairId& id = candidate(j).id;
    const int from = static_cast<int>(j) - missing_before_[id.first - start];
    if (from < best) {
      best = from;
      best_first = j;
    }
    const int lacking = best - static_cast<int>(j + 1) + missing_before_[id.end() - start];
    if (lacking <= 0) {
      if (attempt({.first = best_first, .last = j}) == Progress::Some) return Progress::Some;
      // Windows within windows: the set may be another one.
      if (best_first > 0 && attempt({.first = 0, .last = j}) == Progress::Some)
        return Progress::Some;
    }
    quiet_ = std::min(quiet_, static_cast<size_t>(std::max(lacking, 1)));
  }
  return Progress::None;
}

// False: too many unknowns to solve for at once, or too far apart.
bool ErasureDecoder::collect_unknowns(Range range) {
  const uint32_t start = first_of(range);
  const uint32_t end = candidate(range.last).id.end();
  unknowns_.clear();
  if (end - start > sources_.slots()) return false;
  for (uint32_t esi = start; esi != end; ++esi) {
    if (has(esi)) continue;
    if (unknowns_.size() == kColumnsMax) return false;
    unknowns_.push_back(esi);
  }
  return true;
}

Bytes ErasureDecoder::coefficients(Equation& equation) {
  const MutableBytes out(&equation_coefficients_[equation.place * kRepairSourcesMax],
                         equation.id.count);
  if (!equation.has_coefficients) std::ranges::copy(coefficients_.of(equation.id), out.begin());
  equation.has_coefficients = true;
  return out;
}

void ErasureDecoder::eliminate(Range range) {
  solver_->start(range.last - range.first + 1, unknowns_.size());
  row_.resize(unknowns_.size());
  for (size_t i = range.first; i <= range.last; ++i) {
    Equation& equation = candidate(i);
    const Bytes factors = coefficients(equation);
    for (size_t column = 0; column < unknowns_.size(); ++column) {
      const uint32_t offset = unknowns_[column] - equation.id.first;
      row_[column] = offset < factors.size() ? factors[offset] : uint8_t{0};
    }
    equation.gone = solver_->add_row(row_) == ErasureSolver::Row::Dependent;
  }
}

// One unknown: the sum of equations times factors, and of the known symbols in their windows.
void ErasureDecoder::compute(uint32_t esi, Range range, Bytes factors) {
  const uint32_t start = first_of(range);
  const uint32_t span = candidate(range.last).id.end() - start;
  std::fill_n(weights_.begin(), span, uint8_t{0});
  terms_.clear();
  size_t length = SymbolRing::kSymbolSizeMax;
  for (size_t i = range.first; i <= range.last; ++i) {
    Equation& equation = candidate(i);
    const RepairId& id = equation.id;
    if (esi - id.first < id.count) length = std::min(length, values_.length(equation.place));
    const uint8_t factor = factors[i - range.first];
    if (factor == 0) continue;
    terms_.push_back(values_.term(equation.place, factor));
    gf256::add_scaled(MutableBytes(weights_).subspan(id.first - start, id.count),
                      coefficients(equation), factor);
  }
  for (uint32_t i = 0; i < span; ++i) {
    if (weights_[i] != 0 && has(start + i)) terms_.push_back(sources_.term(start + i, weights_[i]));
  }
  gf256::combine({sources_.slot(esi), length}, terms_);
  sources_.finish(esi, length);
}

ErasureDecoder::Progress ErasureDecoder::attempt(Range range) {
  if (!collect_unknowns(range)) return Progress::None;
  const size_t work = ErasureSolver::work(range.last - range.first + 1, unknowns_.size());
  if (work > matrix_work_) {
    ++counters_.postponed;
    return Progress::None;
  }
  matrix_work_ -= work;
  eliminate(range);
  // All symbols first: they are computed from equations and slots that know() takes away.
  const size_t before = recovered_.size();
  for (size_t row = 0; row < solver_->rank(); ++row) {
    const auto column = solver_->determined(row);
    if (!column) continue;
    compute(unknowns_[*column], range, solver_->factors(row));
    recovered_.push_back(unknowns_[*column]);
  }
  const bool dependent = sweep(counters_.useless) > 0;
  for (size_t i = before; i < recovered_.size(); ++i) {
    move_window(recovered_[i]);
    know(recovered_[i], counters_.used);
    ++counters_.recovered;
  }
  return dependent || recovered_.size() > before ? Progress::Some : Progress::None;
}

}  // namespace masque
