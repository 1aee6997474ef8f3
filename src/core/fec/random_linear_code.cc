// SPDX-License-Identifier: Apache-2.0
#include "core/fec/random_linear_code.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/fec/gf256.h"
#include "core/fec/tinymt32.h"

namespace masque {

namespace {

// Serial number arithmetic (RFC 1982): how far `to` lies after `from`.
int32_t distance(uint32_t from, uint32_t to) { return static_cast<int32_t>(to - from); }

}  // namespace

void rlc_coefficients(uint16_t repair_key, uint8_t density_threshold, std::span<uint8_t> out) {
  TinyMt32 generator(repair_key);
  for (uint8_t& coefficient : out) {
    coefficient = 0;
    if (density_threshold < 15 && generator.rand16() > density_threshold) continue;
    do {
      coefficient = generator.rand256();
    } while (coefficient == 0);
  }
}

void RlcRepairId::write(ByteWriter& out) const {
  out.u16(repair_key);
  out.u16(static_cast<uint16_t>(density_threshold << 12 | source_count));
  out.u32(first_source);
}

Result<RlcRepairId> RlcRepairId::parse(ByteReader& in) {
  RlcRepairId out;
  TRY(out.repair_key, in.u16());
  TRY(const uint16_t density_and_count, in.u16());
  out.density_threshold = static_cast<uint8_t>(density_and_count >> 12);
  out.source_count = density_and_count & 0xfff;
  TRY(out.first_source, in.u32());
  return out;
}

// ---- encoder ----------------------------------------------------------------------------------

RlcEncoder::RlcEncoder(size_t symbol_size, size_t window_max)
    : symbol_size_(symbol_size),
      window_max_(window_max),
      arena_(std::make_unique_for_overwrite<uint8_t[]>(symbol_size * window_max)) {
  MASQUE_ASSERT(symbol_size > 0 && window_max > 0 && window_max <= kWindowMax);
}

Bytes RlcEncoder::symbol(uint32_t esi) const {
  return {arena_.get() + (esi % window_max_) * symbol_size_, symbol_size_};
}

uint32_t RlcEncoder::add(Bytes bytes) {
  MASQUE_ASSERT(bytes.size() <= symbol_size_);
  uint8_t* out = arena_.get() + (next_ % window_max_) * symbol_size_;
  std::ranges::copy(bytes, out);
  std::memset(out + bytes.size(), 0, symbol_size_ - bytes.size());
  used_ = std::min(used_ + 1, window_max_);
  return next_++;
}

void RlcEncoder::keep_newest(size_t count) { used_ = std::min(used_, count); }

std::optional<RlcRepairId> RlcEncoder::make_repair(MutableBytes out, size_t count,
                                                   uint8_t density_threshold) {
  MASQUE_ASSERT(out.size() == symbol_size_);
  if (used_ == 0) return std::nullopt;
  const size_t covered = count == 0 ? used_ : std::min(count, used_);
  const RlcRepairId id{.repair_key = next_key_++,
                       .density_threshold = density_threshold,
                       .source_count = static_cast<uint16_t>(covered),
                       .first_source = next_ - static_cast<uint32_t>(covered)};
  std::array<uint8_t, kWindowMax> coefficients;
  rlc_coefficients(id.repair_key, density_threshold, std::span(coefficients).first(covered));
  std::ranges::fill(out, uint8_t{0});
  for (uint32_t i = 0; i < covered; ++i)
    gf256::add_scaled(out, symbol(id.first_source + i), coefficients[i]);
  return id;
}

// ---- decoder ----------------------------------------------------------------------------------

RlcDecoder::RlcDecoder(size_t symbol_size, size_t window_max, size_t equations_max)
    : symbol_size_(symbol_size),
      window_max_(window_max),
      sources_(std::make_unique_for_overwrite<uint8_t[]>(symbol_size * window_max)),
      known_(window_max, 0),
      values_(std::make_unique_for_overwrite<uint8_t[]>(symbol_size * equations_max)) {
  MASQUE_ASSERT(window_max >= RlcEncoder::kWindowMax);
  equations_.reserve(equations_max);
  recovered_.reserve(window_max);
  for (size_t i = 0; i < equations_max; ++i) {
    Equation& equation = free_.emplace_back();
    equation.coefficients.reserve(window_max);
    equation.value = values_.get() + i * symbol_size;
  }
}

bool RlcDecoder::in_window(uint32_t esi) const {
  const int32_t age = distance(esi, newest_);
  return started_ && age >= 0 && static_cast<size_t>(age) < window_max_;
}

bool RlcDecoder::has(uint32_t esi) const {
  return in_window(esi) && known_[esi % window_max_] != 0;
}

// The window moves up to `newest`: slots of symbols not heard of yet are cleared, equations with
// unknowns that have left it are given up.
void RlcDecoder::advance(uint32_t newest) {
  if (!started_) {
    started_ = true;
    newest_ = newest;
    std::ranges::fill(known_, uint8_t{0});
    return;
  }
  const int32_t step = distance(newest_, newest);
  if (step <= 0) return;
  if (static_cast<size_t>(step) >= window_max_) {
    std::ranges::fill(known_, uint8_t{0});
  } else {
    for (uint32_t i = 1; i <= static_cast<uint32_t>(step); ++i)
      known_[(newest_ + i) % window_max_] = 0;
  }
  newest_ = newest;
  while (!equations_.empty() && !in_window(equations_.front().first)) {
    release(equations_.front());
    equations_.erase(equations_.begin());
  }
}

void RlcDecoder::store(uint32_t esi, Bytes symbol) {
  uint8_t* out = slot(esi);
  std::ranges::copy(symbol, out);
  std::memset(out + symbol.size(), 0, symbol_size_ - symbol.size());
  known_[esi % window_max_] = 1;
}

void RlcDecoder::add_source(uint32_t esi, Bytes symbol) {
  recovered_.clear();
  next_recovered_ = 0;
  if (symbol.size() > symbol_size_) return;
  ++counters_.sources;
  advance(esi);
  if (!in_window(esi)) {
    ++counters_.too_old;
    return;
  }
  if (has(esi)) return;
  store(esi, symbol);
  solve();
}

void RlcDecoder::add_repair(const RlcRepairId& id, Bytes symbol) {
  recovered_.clear();
  next_recovered_ = 0;
  if (symbol.size() != symbol_size_ || id.source_count == 0 ||
      id.source_count > RlcEncoder::kWindowMax)
    return;
  ++counters_.repairs;
  advance(id.first_source + id.source_count - 1);
  if (!in_window(id.first_source)) {
    ++counters_.too_old;
    return;
  }
  if (free_.empty()) {
    ++counters_.over_limit;
    return;
  }
  Equation equation = take_free();
  equation.first = id.first_source;
  equation.coefficients.resize(id.source_count);
  rlc_coefficients(id.repair_key, id.density_threshold, equation.coefficients);
  std::ranges::copy(symbol, equation.value);
  substitute_known(equation);
  if (!reduce(equation)) {
    ++counters_.useless;
    release(equation);
    return;
  }
  insert(std::move(equation));
  solve();
}

void RlcDecoder::substitute_known(Equation& equation) {
  for (uint32_t i = 0; i < equation.coefficients.size(); ++i) {
    uint8_t& coefficient = equation.coefficients[i];
    if (coefficient == 0 || !has(equation.first + i)) continue;
    gf256::add_scaled({equation.value, symbol_size_}, {slot(equation.first + i), symbol_size_},
                      coefficient);
    coefficient = 0;
  }
}

// Cuts zeros off both ends and makes the first coefficient 1. An empty row is left empty.
void RlcDecoder::normalise(Equation& equation, size_t symbol_size) {
  auto& coefficients = equation.coefficients;
  const auto first = std::ranges::find_if(coefficients, [](uint8_t c) { return c != 0; });
  equation.first += static_cast<uint32_t>(first - coefficients.begin());
  coefficients.erase(coefficients.begin(), first);
  while (!coefficients.empty() && coefficients.back() == 0) coefficients.pop_back();
  if (coefficients.empty() || coefficients[0] == 1) return;
  const uint8_t factor = gf256::inverse(coefficients[0]);
  for (uint8_t& coefficient : coefficients) coefficient = gf256::multiply(coefficient, factor);
  gf256::scale({equation.value, symbol_size}, factor);
}

// Forward elimination against the rows we have. False: it says nothing new.
bool RlcDecoder::reduce(Equation& equation) {
  for (;;) {
    normalise(equation, symbol_size_);
    if (equation.coefficients.empty()) return false;
    const auto row = std::ranges::find(equations_, equation.first, &Equation::first);
    if (row == equations_.end()) return true;
    if (equation.coefficients.size() < row->coefficients.size())
      equation.coefficients.resize(row->coefficients.size(), 0);
    for (size_t i = 0; i < row->coefficients.size(); ++i)
      equation.coefficients[i] ^= row->coefficients[i];
    gf256::add_scaled({equation.value, symbol_size_}, {row->value, symbol_size_}, 1);
  }
}

void RlcDecoder::insert(Equation equation) {
  const auto place = std::ranges::find_if(
      equations_, [&](const Equation& e) { return distance(equation.first, e.first) > 0; });
  equations_.insert(place, std::move(equation));
}

// Until nothing changes: put what is known into every row; a row with one unknown gives it away.
void RlcDecoder::solve() {
  for (bool progress = true; progress;) {
    progress = false;
    for (size_t i = equations_.size(); i-- > 0;) {
      Equation equation = std::move(equations_[i]);
      equations_.erase(equations_.begin() + static_cast<ptrdiff_t>(i));
      const uint32_t first = equation.first;
      substitute_known(equation);
      if (!reduce(equation)) {
        release(equation);
        continue;
      }
      if (equation.coefficients.size() == 1) {
        store(equation.first, {equation.value, symbol_size_});
        recovered_.push_back(equation.first);
        ++counters_.recovered;
        release(equation);
        progress = true;
        continue;
      }
      progress = progress || equation.first != first;
      insert(std::move(equation));
    }
  }
  std::ranges::sort(recovered_, [](uint32_t a, uint32_t b) { return distance(a, b) > 0; });
}

RlcDecoder::Equation RlcDecoder::take_free() {
  Equation out = std::move(free_.back());
  free_.pop_back();
  return out;
}

void RlcDecoder::release(Equation& equation) {
  equation.coefficients.clear();
  free_.push_back(std::move(equation));
}

std::optional<RlcDecoder::Recovered> RlcDecoder::poll_recovered() {
  if (next_recovered_ == recovered_.size()) return std::nullopt;
  const uint32_t esi = recovered_[next_recovered_++];
  return Recovered{.esi = esi, .symbol = {slot(esi), symbol_size_}};
}

}  // namespace masque
