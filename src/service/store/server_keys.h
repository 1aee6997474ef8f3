// SPDX-License-Identifier: Apache-2.0
// The secret that must survive a restart, so that clients of a killed server get a stateless reset
// and their address tokens stay good: STATE_DIR/server.keys, mode 0600. Where the file is missing
// it is made; one that is damaged or that others could read is replaced, with one warning. Clients
// then recover by idle timeout (faults.md A3).
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
  // RFC 9000 10.3.2: static key; also of Retry and NEW_TOKEN tokens (8.1), by a derivation of its
  // own.
  Key stateless_reset{};

  static Result<ServerKeys, SysError> load_or_create(const std::string& path, Rng& rng);
};

}  // namespace masque
