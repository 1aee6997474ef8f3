// SPDX-License-Identifier: Apache-2.0
// When to solve, and solving. A set of equations determines its unknowns when it has as many of
// them as unknowns (rarely not, when coefficients happen to be dependent; the equation that is
// found dependent goes). The windows are intervals, so candidates sorted by the end of their window
// are searched for such a set in one pass: with M(e) unknowns before e, the equations i..j can be
// enough only when j + 1 - M(end j) >= i - M(first i). How far the best set is from it says for how
// many events nothing needs to be looked at. Where windows lie within windows, that is not
// sufficient, and the sets that end with j are counted one by one. So whatever is attempted either
// recovers something or removes an equation.
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
// there are fewer equations, and so on, but not without end.
void ErasureDecoder::choose_candidates() {
  constexpr int kPassesMax = 6;
  candidates_.clear();
  quiet_ = std::numeric_limits<size_t>::max();
  const size_t ready = ready_equations();
  for (size_t i = 0; i < ready; ++i) candidates_.push_back(static_cast<uint16_t>(i));
  for (int pass = 0; pass < kPassesMax; ++pass) {
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

// M, for the candidates' windows; the first of them begins at start_.
void ErasureDecoder::count_unknowns() {
  start_ = candidate(0).id.first;
  for (size_t i = 1; i < candidates_.size(); ++i) {
    if (serial_less(candidate(i).id.first, start_)) start_ = candidate(i).id.first;
  }
  const uint32_t span = candidate(candidates_.size() - 1).id.end() - start_;
  MASQUE_ASSERT(span < missing_before_.size());  // admits() and move_window() see to it
  uint16_t missing = 0;
  for (uint32_t i = 0; i < span; ++i) {
    missing_before_[i] = missing;
    missing = static_cast<uint16_t>(missing + static_cast<uint16_t>(!has(start_ + i)));
  }
  missing_before_[span] = missing;
}

ErasureDecoder::Progress ErasureDecoder::try_candidates() {
  choose_candidates();
  if (candidates_.empty()) return Progress::None;
  count_unknowns();
  by_first_.clear();
  int best = std::numeric_limits<int>::max();
  for (size_t j = 0; j < candidates_.size(); ++j) {
    const RepairId& id = candidate(j).id;
    best = std::min(best, static_cast<int>(j) - unknowns_before(id.first));
    const int lacking = best - static_cast<int>(j + 1) + unknowns_before(id.end());
    quiet_ = std::min(quiet_, static_cast<size_t>(std::max(lacking, 1)));
    if (lacking > 0) continue;
    const size_t looking = kWorkPerCandidate * candidates_.size();
    if (looking > matrix_work_) break;
    matrix_work_ -= looking;
    if (!choose_set(j)) continue;
    const size_t work = ErasureSolver::work(chosen_.size(), unknowns_.size());
    if (work > matrix_work_) {
      ++counters_.postponed;
      break;
    }
    matrix_work_ -= work;
    if (solve_chosen() == Progress::Some) return Progress::Some;
  }
  return Progress::None;
}

// The smallest set of equations, candidate j the last of them, that has as many equations as
// unknowns; and its unknowns. False: there is none.
bool ErasureDecoder::choose_set(size_t j) {
  if (by_first_.empty()) {
    for (size_t i = 0; i < candidates_.size(); ++i) by_first_.push_back(static_cast<uint16_t>(i));
    std::ranges::sort(by_first_, [&](uint16_t a, uint16_t b) {
      return serial_less(candidate(b).id.first, candidate(a).id.first);
    });
  }
  const uint32_t end = candidate(j).id.end();
  const int before_end = unknowns_before(end);
  chosen_.clear();
  unknowns_.clear();
  for (const uint16_t i : by_first_) {
    if (i > j) continue;
    chosen_.push_back(candidates_[i]);
    const uint32_t first = candidate(i).id.first;
    const int unknowns = before_end - unknowns_before(first);
    if (static_cast<int>(chosen_.size()) < unknowns) continue;
    if (end - first > sources_.slots()) return false;  // would need the same slots twice
    for (uint32_t esi = first; esi != end; ++esi) {
      if (!has(esi)) unknowns_.push_back(esi);
    }
    std::ranges::sort(chosen_);  // by age: of dependent equations the newest goes
    return true;
  }
  return false;
}

Bytes ErasureDecoder::coefficients(Equation& equation) {
  const MutableBytes out(&equation_coefficients_[equation.place * kRepairSourcesMax],
                         equation.id.count);
  if (!equation.has_coefficients) std::ranges::copy(coefficients_.of(equation.id), out.begin());
  equation.has_coefficients = true;
  return out;
}

void ErasureDecoder::eliminate() {
  solver_->start(chosen_.size(), unknowns_.size());
  row_.resize(unknowns_.size());
  for (const uint16_t index : chosen_) {
    Equation& equation = equations_[index];
    const Bytes factors = coefficients(equation);
    for (size_t column = 0; column < unknowns_.size(); ++column) {
      const uint32_t offset = unknowns_[column] - equation.id.first;
      row_[column] = offset < factors.size() ? factors[offset] : uint8_t{0};
    }
    equation.gone = solver_->add_row(row_) == ErasureSolver::Row::Dependent;
  }
}

// One unknown: the sum of the equations times factors, and of the known symbols in their windows.
void ErasureDecoder::compute(uint32_t esi, Bytes factors) {
  const uint32_t first =
      std::ranges::min(chosen_, serial_less, [&](uint16_t i) { return equations_[i].id.first; });
  const uint32_t start = equations_[first].id.first;
  const uint32_t span = equations_[chosen_.back()].id.end() - start;
  std::fill_n(weights_.begin(), span, uint8_t{0});
  terms_.clear();
  size_t length = SymbolRing::kSymbolSizeMax;
  for (size_t i = 0; i < chosen_.size(); ++i) {
    Equation& equation = equations_[chosen_[i]];
    const RepairId& id = equation.id;
    if (esi - id.first < id.count) length = std::min(length, values_.length(equation.place));
    if (factors[i] == 0) continue;
    terms_.push_back(values_.term(equation.place, factors[i]));
    gf256::add_scaled(MutableBytes(weights_).subspan(id.first - start, id.count),
                      coefficients(equation), factors[i]);
  }
  for (uint32_t i = 0; i < span; ++i) {
    if (weights_[i] != 0 && has(start + i)) terms_.push_back(sources_.term(start + i, weights_[i]));
  }
  gf256::combine({sources_.slot(esi), length}, terms_);
  sources_.finish(esi, length);
}

ErasureDecoder::Progress ErasureDecoder::solve_chosen() {
  eliminate();
  // All symbols first: they are computed from equations and slots that know() takes away.
  const size_t before = recovered_.size();
  for (size_t row = 0; row < solver_->rank(); ++row) {
    const auto column = solver_->determined(row);
    if (!column) continue;
    compute(unknowns_[*column], solver_->factors(row));
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
