// SPDX-License-Identifier: Apache-2.0
#include "core/fec/erasure_decoder.h"

#include <algorithm>

#include "core/fec/serial.h"

namespace masque {

ErasureDecoder::ErasureDecoder(size_t symbol_size_max, size_t window_max, size_t equations_max)
    : symbol_size_max_(symbol_size_max),
      equations_max_(equations_max),
      sources_(window_max, symbol_size_max),
      values_(equations_max, symbol_size_max) {
  MASQUE_ASSERT(window_max >= kRepairSourcesMax && window_max <= kWindowLimit);
  MASQUE_ASSERT(equations_max >= 1 && equations_max <= kEquationsLimit);
}

void ErasureDecoder::begin_call() {
  recovered_.clear();
  next_recovered_ = 0;
  matrix_work_ =
      std::min(matrix_work_ + kMatrixWorkPerCall,
               std::max(kMatrixWorkPerCall, ErasureSolver::work(equations_max_, equations_max_)));
}

void ErasureDecoder::allocate_sources() {
  const size_t slots = sources_.slots();
  sources_.allocate();
  tags_.resize(slots);
  // An ESI that belongs in another slot: nothing is known yet.
  for (size_t i = 0; i < slots; ++i) tags_[i] = static_cast<uint32_t>(i + 1);
}

void ErasureDecoder::allocate_equations() {
  values_.allocate();
  equation_coefficients_.resize(equations_max_ * kRepairSourcesMax);
  for (size_t i = equations_max_; i-- > 0;) free_places_.push_back(static_cast<uint16_t>(i));
  equations_.reserve(equations_max_);
  solver_.emplace(equations_max_, equations_max_);
  candidates_.reserve(equations_max_);
  by_first_.reserve(equations_max_);
  chosen_.reserve(equations_max_);
  missing_before_.resize(2 * sources_.slots() + 1);
  unknowns_.reserve(equations_max_);
  row_.reserve(equations_max_);
  weights_.resize(sources_.slots());
  terms_.reserve(sources_.slots() + equations_max_);
  recovered_.reserve(equations_max_);
}

bool ErasureDecoder::behind_window(uint32_t esi) const {
  return serial_distance(esi, newest_) >= slots_signed();
}

size_t ErasureDecoder::count_missing(uint32_t first, uint32_t end) const {
  uint32_t missing = end - first;
  while (first != end) {
    // Up to the end of the ring: a loop without its modulus, for vector registers.
    const uint32_t* const tags = &tags_[slot(first)];
    const auto count = std::min(end - first, static_cast<uint32_t>(tags_.size() - slot(first)));
    for (uint32_t i = 0; i < count; ++i) missing -= static_cast<uint32_t>(tags[i] == first + i);
    first += count;
  }
  return missing;
}

// Removes the equations marked as gone, adds their number to the counter and returns it.
size_t ErasureDecoder::sweep(uint64_t& counter) {
  const size_t removed = std::erase_if(equations_, [&](const Equation& equation) {
    if (equation.gone) free_places_.push_back(equation.place);
    return equation.gone;
  });
  counter += removed;
  return removed;
}

// The slots up to `newest` are about to be reused: what depends on their old symbols is over.
void ErasureDecoder::move_window(uint32_t newest) {
  if (!source_seen_) {
    started_ = source_seen_ = true;
    newest_ = newest;
  } else if (!serial_less(newest_, newest)) {
    return;
  } else {
    // What was skipped is unknown, whatever its slot says of symbols 2^32 ago.
    const uint32_t skipped = std::min(newest - newest_ - 1, static_cast<uint32_t>(tags_.size()));
    for (uint32_t i = 1; i <= skipped; ++i) tags_[slot(newest - i)] = newest - i + 1;
    newest_ = newest;
  }
  if (equations_.empty()) return;
  for (Equation& equation : equations_) {
    equation.gone = behind_window(equation.id.first) ||
                    serial_distance(newest_, equation.id.end()) > slots_signed();
  }
  sweep(counters_.given_up);
}

// The symbol has been stored: the equations that wait for it have one unknown less.
// Equations that are left without unknowns go, on that counter.
void ErasureDecoder::know(uint32_t esi, uint64_t& counter) {
  tags_[slot(esi)] = esi;
  // Sorted by end: those before cannot cover it.
  const auto begin = std::ranges::partition_point(
      equations_, [&](const Equation& e) { return !serial_less(esi, e.id.end()); });
  // Those that wait are counted when they become ready.
  const auto end = equations_.begin() + static_cast<ptrdiff_t>(ready_equations());
  bool any_gone = false;
  for (auto equation = begin; equation < end; ++equation) {
    if (esi - equation->id.first >= equation->id.count) continue;
    --equation->missing;
    equation->gone = equation->missing == 0;
    any_gone = any_gone || equation->gone;
    touched_ = true;
  }
  if (any_gone) sweep(counter);
}

void ErasureDecoder::add_source(uint32_t esi, Bytes head, Bytes body) {
  begin_call();
  ++counters_.sources;
  if (head.size() + body.size() > symbol_size_max_) {
    ++counters_.bad_size;
    return;
  }
  if (!sources_.allocated()) allocate_sources();
  if (source_seen_ && behind_window(esi)) {
    ++counters_.too_old;
    return;
  }
  if (has(esi)) {
    ++counters_.duplicates;
    return;
  }
  move_window(esi);
  sources_.store(esi, head, body);
  know(esi, counters_.unneeded);
  solve();
}

// Whether the repair can be of use; counts why not.
bool ErasureDecoder::admits(const RepairId& id) {
  const uint32_t last = id.end() - 1;
  if (!started_) {
    started_ = true;
    newest_ = last;
  }
  if (behind_window(id.first)) {
    ++counters_.too_old;
    return false;
  }
  if (serial_distance(newest_, last) >= slots_signed()) {
    ++counters_.too_new;
    return false;
  }
  if (floor_ && serial_less(id.first, *floor_)) {
    const uint32_t end = serial_less(id.end(), *floor_) ? id.end() : *floor_;
    if (count_missing(id.first, end) > 0) {
      ++counters_.given_up;
      return false;
    }
  }
  if (std::ranges::find(equations_, id, &Equation::id) != equations_.end()) {
    ++counters_.useless;
    return false;
  }
  return true;
}

void ErasureDecoder::add_repair(const RepairId& id, Bytes symbol) {
  begin_call();
  ++counters_.repairs;
  if (!id.valid()) {
    ++counters_.invalid;
    return;
  }
  if (symbol.empty() || symbol.size() > symbol_size_max_) {
    ++counters_.bad_size;
    return;
  }
  if (!sources_.allocated()) allocate_sources();
  if (!admits(id)) return;
  const size_t missing = count_missing(id.first, id.end());
  if (missing == 0) {
    ++counters_.unneeded;
    return;
  }
  keep(id, symbol, missing);
  solve();
}

void ErasureDecoder::keep(const RepairId& id, Bytes symbol, size_t missing) {
  if (!values_.allocated()) allocate_equations();
  if (free_places_.empty()) {
    ++counters_.evicted;
    free_places_.push_back(equations_.front().place);
    equations_.erase(equations_.begin());
  }
  const uint16_t place = free_places_.back();
  free_places_.pop_back();
  values_.store(place, {}, symbol);
  const Equation equation{.id = id,
                          .missing = static_cast<uint16_t>(missing),
                          .place = place,
                          .has_coefficients = false,
                          .gone = false};
  const auto position = std::ranges::partition_point(
      equations_, [&](const Equation& e) { return !serial_less(id.end(), e.id.end()); });
  equations_.insert(position, equation);
  if (!ready(equation)) return;
  // Alone it needs all but one of its unknowns; with others, it brings them one closer.
  quiet_ = std::min(quiet_, missing);
  touched_ = true;
}

bool ErasureDecoder::ready(const Equation& equation) const {
  return !expected_ || !serial_less(*expected_, equation.id.end());
}

size_t ErasureDecoder::ready_equations() const {
  const auto end = std::ranges::partition_point(
      equations_, [&](const Equation& equation) { return ready(equation); });
  return static_cast<size_t>(end - equations_.begin());
}

void ErasureDecoder::expect_from(uint32_t esi) {
  begin_call();
  const size_t before = ready_equations();
  expected_ = esi;
  const size_t after = ready_equations();
  if (after <= before) return;
  for (size_t i = before; i < after; ++i) {
    Equation& equation = equations_[i];
    equation.missing = static_cast<uint16_t>(count_missing(equation.id.first, equation.id.end()));
    equation.gone = equation.missing == 0;
  }
  sweep(counters_.unneeded);
  quiet_ = 0;
  touched_ = true;
  solve();
}

void ErasureDecoder::forget_before(uint32_t esi) {
  if (floor_ && !serial_less(*floor_, esi)) return;
  // What lies before the old floor has been looked at.
  for (Equation& equation : equations_) {
    const RepairId& id = equation.id;
    if (!serial_less(id.first, esi)) continue;
    const uint32_t from = floor_ && serial_less(id.first, *floor_) ? *floor_ : id.first;
    const uint32_t to = serial_less(id.end(), esi) ? id.end() : esi;
    equation.gone = serial_less(from, to) && count_missing(from, to) > 0;
  }
  sweep(counters_.given_up);
  floor_ = esi;
}

std::optional<ErasureDecoder::Recovered> ErasureDecoder::poll_recovered() {
  while (next_recovered_ < recovered_.size()) {
    const uint32_t esi = recovered_[next_recovered_++];
    // Hostile repairs may have moved the window past it meanwhile.
    if (has(esi)) return Recovered{.esi = esi, .symbol = sources_.symbol(esi)};
  }
  return std::nullopt;
}

}  // namespace masque
