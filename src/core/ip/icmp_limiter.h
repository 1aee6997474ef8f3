// SPDX-License-Identifier: Apache-2.0
// The token bucket that limits ICMP errors (RFC 4443 2.4 (f)); time comes in.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace masque {

class TokenBucket {
 public:
  struct Options {
    uint32_t per_second = 10;
    uint32_t burst = 10;
  };

  explicit TokenBucket(Options options) : options_(options), tokens_(options.burst) {}
  // Takes one token if there is one. `now` never goes back; if it does, no tokens are added.
  bool take(Instant now);
  uint64_t refused() const { return refused_; }

 private:
  Options options_;
  uint64_t tokens_;
  Instant refilled_at_{};
  bool started_ = false;
  uint64_t refused_ = 0;
};

}  // namespace masque
