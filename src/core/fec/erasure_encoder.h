// SPDX-License-Identifier: Apache-2.0
// The sender's side of the erasure codes: keeps the newest source symbols, and makes repair symbols
// over any part of them that is still there, at any time and in any order. One arena, allocated at
// the first add(); nothing else is allocated. The work of make_repair() is one multiplication and
// one addition a byte of the covered symbols, by their real lengths.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "core/fec/erasure_code.h"
#include "core/fec/symbol_ring.h"

namespace masque {

class ErasureEncoder {
 public:
  static constexpr size_t kSymbolSizeMax = SymbolRing::kSymbolSizeMax;

  static constexpr size_t kKeptMax = 4096;

  // symbol_size_max <= 65535, 1 <= kept_max <= kKeptMax. A repair covers 255 symbols at most.
  ErasureEncoder(size_t symbol_size_max, size_t kept_max);

  // Adds the next source symbol, head|body (at most symbol_size_max together), and returns its ESI;
  // the first is 0. The oldest leaves when kept_max are there.
  uint32_t add(Bytes head, Bytes body);

  uint32_t next_source() const { return next_; }
  size_t kept() const { return kept_; }
  // Empty when it is not kept any more. Valid until the next add().
  Bytes symbol(uint32_t esi) const;

  // What to hand to make_repair(). sliding() covers the newest `count` symbols (fewer if there are
  // fewer) with the next key; a block has `count` <= `block_size` symbols, block_size out of
  // kBlockSizes, repair_index < kBlockRepairsMax.
  RepairId sliding(size_t count);
  static RepairId reed_solomon(uint32_t first, size_t count, size_t block_size,
                               size_t repair_index);
  static RepairId xor_parity(uint32_t first, size_t count);

  // Writes the repair symbol for `id` and returns its length, that of the longest covered symbol.
  // 0: the id is not valid, a covered symbol is not there, or `out` is too small.
  size_t make_repair(const RepairId& id, MutableBytes out) const;

 private:
  bool holds(uint32_t esi) const { return next_ - 1 - esi < kept_; }

  size_t symbol_size_max_;
  size_t kept_max_;
  size_t kept_ = 0;
  uint32_t next_ = 0;
  uint16_t next_key_ = 1;
  SymbolRing ring_;
  mutable RepairCoefficients coefficients_;  // a cache
};

}  // namespace masque
