// SPDX-License-Identifier: Apache-2.0
// Error codes of HTTP/3 (RFC 9114 8.1, RFC 9297 5.2) and the one mapping from our WireError to
// them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace masque {

enum class HttpError : uint64_t {
  Datagram = 0x33,
  NoError = 0x100,
  GeneralProtocol = 0x101,
  Internal = 0x102,
  StreamCreation = 0x103,
  ClosedCriticalStream = 0x104,
  FrameUnexpected = 0x105,
  Frame = 0x106,
  ExcessiveLoad = 0x107,
  Id = 0x108,
  Settings = 0x109,
  MissingSettings = 0x10a,
  RequestRejected = 0x10b,
  RequestCancelled = 0x10c,
  RequestIncomplete = 0x10d,
  Message = 0x10e,
  Connect = 0x10f,
  VersionFallback = 0x110,
};
std::string_view to_string(HttpError error);

// A malformed capsule is a malformed message: H3_MESSAGE_ERROR (RFC 9484 4.7, RFC 9297 3.3).
HttpError to_http_error(WireError error);

}  // namespace masque
