// SPDX-License-Identifier: Apache-2.0
// Draws values from a fuzzer's input; an empty one yields zeros.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/bytes.h"

namespace masque {

class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }
  uint8_t u8() {
    const Bytes b = take(1);
    return b.empty() ? uint8_t{0} : b[0];
  }
  uint16_t u16() {
    const uint8_t high = u8();
    return static_cast<uint16_t>(high << 8 | u8());
  }
  uint32_t u32() {
    const uint16_t high = u16();
    return uint32_t{high} << 16 | u16();
  }
  Bytes take(size_t count) {
    const Bytes out = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(out.size());
    return out;
  }
  Bytes rest() { return take(rest_.size()); }

 private:
  Bytes rest_;
};

}  // namespace masque
