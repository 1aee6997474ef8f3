// SPDX-License-Identifier: Apache-2.0
// Serial number arithmetic (RFC 1982) for ESIs that wrap at 32 bits.
#pragma once

#include <cstdint>

namespace masque {

// How far `to` lies after `from`; negative when before it.
constexpr int32_t serial_distance(uint32_t from, uint32_t to) {
  return static_cast<int32_t>(to - from);
}
constexpr bool serial_less(uint32_t a, uint32_t b) { return serial_distance(a, b) > 0; }

}  // namespace masque
