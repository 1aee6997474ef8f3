// SPDX-License-Identifier: Apache-2.0
#include "core/ip/socket_address.h"

#include <charconv>
#include <format>

namespace masque {

Result<SocketAddress> SocketAddress::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::unexpected(WireError::BadSyntax);
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);

  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  TRY(const IpAddress address, IpAddress::parse(host));
  // Brackets are for IPv6 and IPv6 needs them: else "::1:443" would be ambiguous (RFC 3986 3.2.2).
  if (bracketed != (address.version() == IpVersion::V6))
    return std::unexpected(WireError::BadSyntax);

  uint16_t port = 0;
  if (digits.empty() || digits.size() > 5) return std::unexpected(WireError::BadSyntax);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    return std::unexpected(WireError::BadSyntax);
  }
  return SocketAddress{.address = address, .port = port};
}

std::string SocketAddress::to_string() const {
  if (address.version() == IpVersion::V6) return std::format("[{}]:{}", address.to_string(), port);
  return std::format("{}:{}", address.to_string(), port);
}

}  // namespace masque
