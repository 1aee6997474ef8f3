// SPDX-License-Identifier: Apache-2.0
// For work that a peer can ask for as often as it likes: kBurst times at once, then once each
// kInterval. The owner remembers what is to be done, so that the newest supersedes what waits.
#pragma once

#include <cstdint>
#include <optional>

#include "base/time.h"
#include "core/ip/icmp_limiter.h"

namespace masque {

class Throttle {
 public:
  static constexpr Duration kInterval = 1s;
  static constexpr uint32_t kBurst = 8;

  // False: not before next_timeout().
  bool may_act(Instant now) {
    if (wait_until_ && now < *wait_until_) return false;
    wait_until_.reset();
    if (bucket_.take(now)) return true;
    wait_until_ = now + kInterval;
    return false;
  }
  std::optional<Instant> next_timeout() const { return wait_until_; }
  // There is nothing more to do.
  void forget() { wait_until_.reset(); }

 private:
  TokenBucket bucket_{{.per_second = 1s / kInterval, .burst = kBurst}};
  std::optional<Instant> wait_until_;
};

}  // namespace masque
