// SPDX-License-Identifier: Apache-2.0
// For the tests of the codes: a decoder that is plainly right and slow, to compare with. It keeps
// every equation and solves the whole system from the start each time it is asked.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <vector>

#include "base/rng.h"
#include "core/fec/erasure_code.h"
#include "core/fec/gf256.h"

namespace masque::test {

using Symbol = std::vector<uint8_t>;
using Symbols = std::map<uint32_t, Symbol>;

inline Symbol random_symbol(SeededRng& rng, size_t size) {
  Symbol out(size);
  rng.fill(out);
  return out;
}

// Symbols are compared without the zeros that recovery may leave behind them.
inline Symbol without_padding(Symbol symbol) {
  while (!symbol.empty() && symbol.back() == 0) symbol.pop_back();
  return symbol;
}

// sum += factor * symbol, by the definition of the product.
inline void add_slowly(Symbol& sum, const Symbol& symbol, uint8_t factor) {
  if (sum.size() < symbol.size()) sum.resize(symbol.size());
  for (size_t i = 0; i < symbol.size(); ++i) sum[i] ^= gf256::multiply_slowly(factor, symbol[i]);
}

class ReferenceDecoder {
 public:
  void add_source(uint32_t esi, Symbol symbol) { known_.emplace(esi, std::move(symbol)); }
  void add_repair(const RepairId& id, Symbol symbol) {
    repairs_.emplace_back(id, std::move(symbol));
  }

  // Every unknown that the equations determine.
  Symbols solve() const {
    std::vector<Row> rows;
    for (const auto& [id, symbol] : repairs_) rows.push_back(substitute(id, symbol));
    std::vector<Row> done;
    for (Row row : rows) {
      for (const Row& pivot : done) eliminate(row, pivot);
      if (row.factors.empty()) continue;
      const uint8_t inverse = gf256::inverse(row.factors.begin()->second);
      for (auto& [esi, factor] : row.factors) factor = gf256::multiply_slowly(factor, inverse);
      for (uint8_t& byte : row.sum) byte = gf256::multiply_slowly(byte, inverse);
      row.pivot = row.factors.begin()->first;
      for (Row& earlier : done) eliminate(earlier, row);
      done.push_back(row);
    }
    Symbols out;
    for (const Row& row : done) {
      if (row.factors.size() == 1) out[row.pivot] = row.sum;
    }
    return out;
  }

 private:
  struct Row {
    std::map<uint32_t, uint8_t> factors;
    Symbol sum;
    uint32_t pivot = 0;
  };

  Row substitute(const RepairId& id, const Symbol& symbol) const {
    RepairCoefficients all;
    const Bytes coefficients = all.of(id);
    Row row{.factors = {}, .sum = symbol};
    for (uint32_t i = 0; i < id.count; ++i) {
      const auto known = known_.find(id.first + i);
      if (known == known_.end()) {
        row.factors[id.first + i] = coefficients[i];
      } else {
        add_slowly(row.sum, known->second, coefficients[i]);
      }
    }
    return row;
  }
  static void eliminate(Row& row, const Row& pivot) {
    const auto at = row.factors.find(pivot.pivot);
    if (at == row.factors.end()) return;
    const uint8_t scale = at->second;
    for (const auto& [esi, factor] : pivot.factors)
      row.factors[esi] ^= gf256::multiply_slowly(factor, scale);
    std::erase_if(row.factors, [](const auto& entry) { return entry.second == 0; });
    add_slowly(row.sum, pivot.sum, scale);
  }

  Symbols known_;
  std::vector<std::pair<RepairId, Symbol>> repairs_;
};

}  // namespace masque::test
