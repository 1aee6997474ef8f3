// SPDX-License-Identifier: Apache-2.0
// A QUIC connection ID (RFC 9000 5.1): 0 to 20 bytes, a value and a hash-map key.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>

#include "base/assert.h"
#include "base/bytes.h"

namespace masque {

// The length of the connection IDs that we issue, both roles: short headers carry no length, so an
// endpoint must know its own.
constexpr size_t kConnectionIdLength = 8;

class ConnectionId {
 public:
  static constexpr size_t kLengthMax = 20;

  constexpr ConnectionId() = default;
  explicit ConnectionId(Bytes bytes) : length_(static_cast<uint8_t>(bytes.size())) {
    MASQUE_ASSERT(bytes.size() <= kLengthMax);
    if (!bytes.empty()) std::memcpy(bytes_.data(), bytes.data(), bytes.size());
  }
  Bytes bytes() const { return {bytes_.data(), length_}; }
  size_t size() const { return length_; }
  friend auto operator<=>(const ConnectionId&, const ConnectionId&) = default;

 private:
  uint8_t length_ = 0;
  std::array<uint8_t, kLengthMax> bytes_{};
};

}  // namespace masque

template <>
struct std::hash<masque::ConnectionId> {
  // Ours are random, and the table holds the peer's first choice only during its handshake; the
  // endpoint bounds the table, so a flood of chosen IDs costs no more than random ones.
  size_t operator()(const masque::ConnectionId& id) const noexcept {
    uint64_t h = 0xcbf29ce484222325 ^ id.size();
    for (const uint8_t b : id.bytes()) h = (h ^ b) * 0x100000001b3;
    return h;
  }
};
