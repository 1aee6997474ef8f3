// SPDX-License-Identifier: Apache-2.0
// A UDP or TCP end point and the pair of them that QUIC calls a path (RFC 9000 9).
#pragma once

#include <cstdint>
#include <string>

#include "core/ip/address.h"

namespace masque {

struct SocketAddress {
  IpAddress address;
  uint16_t port = 0;

  // "192.0.2.1:443", "[2001:db8::1]:443"; a missing port is BadSyntax.
  static Result<SocketAddress> parse(std::string_view text);
  std::string to_string() const;
  friend auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
};

struct NetworkPath {
  SocketAddress local;
  SocketAddress remote;
  friend auto operator<=>(const NetworkPath&, const NetworkPath&) = default;
};

// The two ECN bits of the IP header (RFC 3168).
enum class Ecn : uint8_t { NotEct = 0, Ect1 = 1, Ect0 = 2, Ce = 3 };

}  // namespace masque
