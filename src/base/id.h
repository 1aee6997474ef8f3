// SPDX-License-Identifier: Apache-2.0
// A strong type for each protocol number, so that a Request ID cannot be passed as a Context ID.
// All of them are QUIC varints: 0 .. 2^62-1 (RFC 9000 16).
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

#include "base/assert.h"

namespace masque {

template <class Tag>
class Id {
 public:
  static constexpr uint64_t kMax = (uint64_t{1} << 62) - 1;
  constexpr explicit Id(uint64_t value) : value_(value) { MASQUE_ASSERT(value <= kMax); }
  constexpr uint64_t value() const { return value_; }
  friend constexpr auto operator<=>(Id, Id) = default;

 private:
  uint64_t value_;
};

using ContextId = Id<struct ContextIdTag>;      // RFC 9484 5
using RequestId = Id<struct RequestIdTag>;      // RFC 9484 4.7
using CapsuleType = Id<struct CapsuleTypeTag>;  // RFC 9297 3.2
using StreamId = Id<struct StreamIdTag>;        // RFC 9000 2.1

}  // namespace masque

template <class Tag>
struct std::hash<masque::Id<Tag>> {
  size_t operator()(masque::Id<Tag> id) const noexcept { return std::hash<uint64_t>{}(id.value()); }
};
