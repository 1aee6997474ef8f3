// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <cstring>
#include <format>

namespace masque {

std::string_view to_string(WireError error) {
  switch (error) {
    case WireError::Truncated:
      return "truncated";
    case WireError::TrailingBytes:
      return "trailing bytes";
    case WireError::BadVarint:
      return "varint out of range";
    case WireError::BadIpVersion:
      return "bad IP version";
    case WireError::BadPrefixLength:
      return "bad prefix length";
    case WireError::HostBitsSet:
      return "host bits set";
    case WireError::BadAddressRange:
      return "range start after its end";
    case WireError::RouteOrder:
      return "routes out of order";
    case WireError::RouteOverlap:
      return "routes overlap";
    case WireError::ZeroRequestId:
      return "request id 0";
    case WireError::ReusedRequestId:
      return "request id reused";
    case WireError::EmptyAddressRequest:
      return "empty address request";
    case WireError::TooMany:
      return "too many entries";
    case WireError::TooLong:
      return "too long";
    case WireError::BadSyntax:
      return "bad syntax";
    case WireError::Unexpected:
      return "unexpected here";
  }
  std::unreachable();
}

std::string SysError::message() const {
  return std::format("{}: {}", operation, std::strerror(code));
}

std::string ConfigError::message() const {
  std::string place = file;
  if (line > 0) place += std::format(":{}:{}", line, column);
  if (!place.empty()) place += ": ";
  if (!key.empty()) place += key + ": ";
  return place + text;
}

}  // namespace masque
