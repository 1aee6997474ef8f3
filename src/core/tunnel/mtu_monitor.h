// SPDX-License-Identifier: Apache-2.0
// Watches the largest IP packet that fits into the tunnel now. IPv6 needs 1280 bytes: a tunnel that
// carries IPv6 and cannot carry those must be aborted (RFC 9484 7.2, protocol.md U4). The limit is
// low for a while at the start and after every path change, until QUIC's search for the path MTU
// ends, so it is judged only after a grace period.
//
//   Fine --limit < 1280 and IPv6 in use--> TooSmall since t --grace over--> abort
//     ^--------------- limit >= 1280 or no IPv6 --------|
#pragma once

#include <cstddef>
#include <optional>

#include "base/time.h"

namespace masque {

enum class Ipv6Use : uint8_t { No, Yes };

class MtuMonitor {
 public:
  struct Options {
    Duration grace = 15s;
    size_t packet_size_max = 65535;  // configured upper bound
  };
  explicit MtuMonitor(Options options) : options_(options) {}

  enum class Change : uint8_t { None, Changed };
  // The channel's present limit; 0 means unknown (handshake under way) and is never judged.
  Change on_limit(Instant now, size_t packet_size_max, Ipv6Use ipv6);
  size_t limit() const { return limit_; }
  std::optional<Instant> next_timeout() const;
  // The tunnel must end now.
  bool must_abort(Instant now) const;

 private:
  Options options_;
  size_t limit_ = 0;
  std::optional<Instant> too_small_since_;
};

}  // namespace masque
