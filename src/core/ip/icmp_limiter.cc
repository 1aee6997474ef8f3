// SPDX-License-Identifier: Apache-2.0
#include "core/ip/icmp_limiter.h"

#include "base/mutant.h"

namespace masque {

bool TokenBucket::take(Instant now) {
  if (!started_) {
    refilled_at_ = now;
    started_ = true;
  }
  if (now > refilled_at_ && options_.per_second > 0) {
    const uint64_t ns_per_token = 1'000'000'000 / options_.per_second;
    const uint64_t earned = static_cast<uint64_t>((now - refilled_at_).count()) / ns_per_token;
    // Only whole tokens move the time on: the rest of a token is not lost.
    refilled_at_ += Duration(static_cast<int64_t>(earned * ns_per_token));
    tokens_ += earned;
    if (tokens_ >= options_.burst && !mutant("icmp.burst.remove")) {
      tokens_ = options_.burst;
      refilled_at_ = now;
    }
  }
  if (mutant("icmp.limit.remove")) return true;
  if (tokens_ == 0) {
    ++refused_;
    return false;
  }
  --tokens_;
  return true;
}

}  // namespace masque
