// SPDX-License-Identifier: Apache-2.0
// Errors as values. `TRY(const auto x, expression);` declares x or returns the error to the caller.
//
// Whose fault decides the type: WireError (the peer's), SysError (the machine's), ConfigError (the
// operator's). Our own faults are assertions (base/assert.h), never errors.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace masque {

// What was wrong with bytes from the peer. The layer that owns the stream or connection maps it to
// the RFC's error code; see http/error.h.
enum class WireError : uint8_t {
  Truncated,            // fewer bytes than the field needs
  TrailingBytes,        // more bytes than the fields need, RFC 9297 3.3
  BadVarint,            // a varint beyond the range of its field
  BadIpVersion,         // neither 4 nor 6
  BadPrefixLength,      // beyond 32 / 128
  HostBitsSet,          // RFC 9484 4.7.1
  BadAddressRange,      // start > end, RFC 9484 4.7.3
  RouteOrder,           // RFC 9484 4.7.3 ordering rules violated
  RouteOverlap,         // protocol-0 range overlaps another, RFC 9484 4.7.3
  ZeroRequestId,        // RFC 9484 4.7.2
  ReusedRequestId,      // RFC 9484 4.7.2
  EmptyAddressRequest,  // RFC 9484 4.7.2
  TooMany,              // over one of our limits
  TooLong,              // a known capsule longer than our limit
  BadSyntax,            // text that does not match its grammar
  Unexpected,           // legal bytes at a place where they are forbidden
};
std::string_view to_string(WireError error);

// A failed system call: what was tried, on what, and errno.
struct SysError {
  int code = 0;           // errno
  std::string operation;  // "open /dev/net/tun"
  std::string message() const;
};

// A fault in a configuration file or argument; printed like a compiler's message, exit code 78.
struct ConfigError {
  std::string file;
  uint32_t line = 0;  // 0 = no line is to blame
  uint32_t column = 0;
  std::string key;
  std::string text;  // what is wrong and how to mend it
  std::string message() const;
};

template <class T, class E = WireError>
using Result = std::expected<T, E>;

}  // namespace masque

#define MASQUE_CONCAT_INNER(a, b) a##b
#define MASQUE_CONCAT(a, b) MASQUE_CONCAT_INNER(a, b)

#define TRY(declaration, ...)                                                        \
  auto MASQUE_CONCAT(try_result_, __LINE__) = (__VA_ARGS__);                         \
  if (!MASQUE_CONCAT(try_result_, __LINE__))                                         \
    return std::unexpected(std::move(MASQUE_CONCAT(try_result_, __LINE__)).error()); \
  declaration = std::move(*MASQUE_CONCAT(try_result_, __LINE__))

#define TRY_VOID(...)                                        \
  do {                                                       \
    if (auto try_result = (__VA_ARGS__); !try_result)        \
      return std::unexpected(std::move(try_result).error()); \
  } while (false)
