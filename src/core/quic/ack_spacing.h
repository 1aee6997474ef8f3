// SPDX-License-Identifier: Apache-2.0
// Spaces our acknowledgements while the peer's controller looks for the rate of a long path.
//
// HyStart++ (RFC 9406), which CUBIC runs there, ends slow start when the shortest round trip of
// eight acknowledgements grows from one round to the next. Where the delay of the path walks, as it
// does on mobile links, that happens by chance, and the rate is found after ten seconds instead of
// one. With fewer than eight acknowledgements a round it waits for a sign of congestion (RFC
// 9000 13.2.2 leaves their number to us). Data is not delayed: the library is only asked less often
// for what it would send of its own accord, and whenever one of its timers is due.
#pragma once

#include <algorithm>
#include <optional>

#include "base/time.h"

namespace masque {

class AckSpacing {
 public:
  static constexpr Duration kLasts = 5s;
  static constexpr Duration kRttMin = 40ms;    // the delay of shorter paths hardly walks
  static constexpr Duration kEveryMax = 25ms;  // max_ack_delay
  static constexpr int kPerRound = 5;

  void begin(Instant now) { until_ = now + kLasts; }
  bool active(Instant now) const { return now < until_; }

  // The library may be asked; `due`: its next timer.
  bool may_ask(Instant now, Duration smoothed_rtt, Instant due) {
    const Duration every =
        smoothed_rtt < kRttMin ? Duration::zero() : std::min(kEveryMax, smoothed_rtt / kPerRound);
    const Instant next = asked_at_ + every;
    if (active(now) && now < due && now < next) {
      next_ = next;
      return false;
    }
    next_.reset();
    asked_at_ = now;
    return true;
  }
  // A packet of the library's: it took the acknowledgement along.
  void on_packet(Instant now) { asked_at_ = now; }
  // When to ask again what may_ask() refused.
  std::optional<Instant> next_timeout() const { return next_; }

 private:
  Instant until_{};
  Instant asked_at_{};
  std::optional<Instant> next_;
};

}  // namespace masque
