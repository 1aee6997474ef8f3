// SPDX-License-Identifier: Apache-2.0
// Keys that must survive a restart, so that clients of a killed server get a stateless reset and
// their address tokens and session tickets stay good: STATE_DIR/server.keys, mode 0600. A missing
// or damaged file is replaced by new keys with one warning; clients then recover by idle timeout
// (faults.md A3).
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/rng.h"

namespace masque {

constexpr size_t kServerKeyBytes = 32;

struct ServerKeys {
  using Key = std::array<uint8_t, kServerKeyBytes>;
  Key stateless_reset{};  // RFC 9000 10.3.2: static key
  Key address_token{};    // Retry and NEW_TOKEN, RFC 9000 8.1
  Key session_ticket{};   // TLS tickets

  static Result<ServerKeys, SysError> load_or_create(const std::string& path, Rng& rng);
};

}  // namespace masque
