// SPDX-License-Identifier: Apache-2.0
#include "core/fec/erasure_encoder.h"

#include <algorithm>
#include <array>

namespace masque {

ErasureEncoder::ErasureEncoder(size_t symbol_size_max, size_t kept_max)
    : symbol_size_max_(symbol_size_max), kept_max_(kept_max), ring_(kept_max, symbol_size_max) {
  MASQUE_ASSERT(kept_max >= 1 && kept_max <= kKeptMax);
}

uint32_t ErasureEncoder::add(Bytes head, Bytes body) {
  MASQUE_ASSERT(head.size() + body.size() <= symbol_size_max_);
  if (!ring_.allocated()) ring_.allocate();
  ring_.store(next_, head, body);
  kept_ = std::min(kept_ + 1, kept_max_);
  return next_++;
}

Bytes ErasureEncoder::symbol(uint32_t esi) const {
  return holds(esi) ? ring_.symbol(esi) : Bytes();
}

RepairId ErasureEncoder::sliding(size_t count) {
  const size_t covered = std::min({count, kept_, kRepairSourcesMax});
  return {.code = ErasureCode::SlidingWindow,
          .first = next_ - static_cast<uint32_t>(covered),
          .count = static_cast<uint8_t>(covered),
          .key = next_key_++};
}

RepairId ErasureEncoder::reed_solomon(uint32_t first, size_t count, size_t block_size,
                                      size_t repair_index) {
  const auto size_index = block_size_index(block_size);
  MASQUE_ASSERT(size_index && kBlockSizes[*size_index] == block_size && count <= block_size &&
                repair_index < kBlockRepairsMax);
  return {.code = ErasureCode::ReedSolomon,
          .first = first,
          .count = static_cast<uint8_t>(count),
          .key = static_cast<uint16_t>(size_t{*size_index} << 8 | repair_index)};
}

RepairId ErasureEncoder::xor_parity(uint32_t first, size_t count) {
  MASQUE_ASSERT(count <= kRepairSourcesMax);
  return {.code = ErasureCode::Xor, .first = first, .count = static_cast<uint8_t>(count), .key = 0};
}

size_t ErasureEncoder::make_repair(const RepairId& id, MutableBytes out) const {
  if (!id.valid() || !holds(id.first) || !holds(id.end() - 1) || id.count > kept_) return 0;
  const Bytes coefficients = coefficients_.of(id);
  std::array<gf256::Term, kRepairSourcesMax> terms;
  size_t longest = 0;
  for (size_t i = 0; i < id.count; ++i) {
    terms[i] = ring_.term(id.first + static_cast<uint32_t>(i), coefficients[i]);
    longest = std::max<size_t>(longest, terms[i].size);
  }
  if (out.size() < longest) return 0;
  gf256::combine(out.first(longest), std::span(terms).first(id.count));
  return longest;
}

}  // namespace masque
