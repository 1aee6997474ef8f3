// SPDX-License-Identifier: Apache-2.0
// Symbols of different lengths in one arena of equal slots, made for gf256::combine(): slots begin
// on a cache line and each symbol is followed by zeros up to a whole vector. The number of slots is
// a power of two, so that slot = ESI modulo slots goes on over the wrap of the ESI.
#pragma once

#include <bit>
#include <cstring>
#include <memory>

#include "base/bytes.h"
#include "core/fec/gf256.h"

namespace masque {

class SymbolRing {
 public:
  static constexpr size_t kSymbolSizeMax = 65535;

  SymbolRing(size_t slots_min, size_t symbol_size_max)
      : slots_(std::bit_ceil(slots_min)),
        // An odd number of lines: symbols must not all fall into the same sets of the cache.
        stride_(gf256::padded_size(symbol_size_max) | gf256::kVectorSize) {
    MASQUE_ASSERT(slots_min >= 1 && symbol_size_max >= 1 && symbol_size_max <= kSymbolSizeMax);
  }

  size_t slots() const { return slots_; }
  bool allocated() const { return arena_ != nullptr; }
  void allocate() {
    const size_t bytes = slots_ * stride_ + gf256::kVectorSize;
    arena_ = std::make_unique_for_overwrite<uint8_t[]>(bytes);
    lengths_ = std::make_unique<uint16_t[]>(slots_);
    void* first = arena_.get();
    size_t space = bytes;
    first_ = static_cast<uint8_t*>(std::align(gf256::kVectorSize, slots_ * stride_, first, space));
  }

  void store(uint32_t index, Bytes head, Bytes body) {
    uint8_t* out = slot(index);
    if (!head.empty()) std::memcpy(out, head.data(), head.size());
    if (!body.empty()) std::memcpy(out + head.size(), body.data(), body.size());
    finish(index, head.size() + body.size());
  }
  // For a symbol that is computed in place: its bytes, then finish().
  uint8_t* slot(uint32_t index) { return first_ + (index & (slots_ - 1)) * stride_; }
  void finish(uint32_t index, size_t size) {
    lengths_[index & (slots_ - 1)] = static_cast<uint16_t>(size);
    std::memset(slot(index) + size, 0, gf256::padded_size(size) - size);
  }

  size_t length(uint32_t index) const { return lengths_[index & (slots_ - 1)]; }
  Bytes symbol(uint32_t index) const {
    return {first_ + (index & (slots_ - 1)) * stride_, length(index)};
  }
  gf256::Term term(uint32_t index, uint8_t factor) const {
    const Bytes bytes = symbol(index);
    return {.data = bytes.data(), .size = static_cast<uint32_t>(bytes.size()), .factor = factor};
  }

 private:
  size_t slots_;
  size_t stride_;
  std::unique_ptr<uint8_t[]> arena_;
  std::unique_ptr<uint16_t[]> lengths_;
  uint8_t* first_ = nullptr;
};

}  // namespace masque
