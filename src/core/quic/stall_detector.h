// SPDX-License-Identifier: Apache-2.0
// Finds a connection whose congestion window can never open again. ngtcp2 (1.22.1, and later) arms
// no probe timeout for a PATH_RESPONSE, which counts as in flight: when nothing else is in flight,
// the window is at its minimum and three responses of 1,200 bytes are lost, nothing is ever
// acknowledged, nothing may be sent, and the peer's packets keep the connection from timing out.
//
// In an honest outage each probe timeout adds a probe to what is in flight, at intervals that
// double. So: blocked, and the same amount in flight for four times as long as the next probe may
// take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace masque {

class StallDetector {
 public:
  static constexpr Duration kPatienceMin = 2s;
  static constexpr int kPtoMultiple = 8;

  // Sending is blocked by the congestion window. True when it will stay so for ever.
  bool on_blocked(Instant now, uint64_t bytes_in_flight, Duration pto) {
    if (!since_ || bytes_in_flight < bytes_in_flight_) {
      // A new wait, or something was acknowledged or declared lost: the back-off begins anew.
      patience_ = std::max(kPatienceMin, kPtoMultiple * pto);
    } else if (bytes_in_flight > bytes_in_flight_) {
      patience_ *= 2;  // a probe went out: the next takes twice as long
    } else {
      return now - *since_ >= patience_;
    }
    since_ = now;
    bytes_in_flight_ = bytes_in_flight;
    return false;
  }
  void on_open() { since_.reset(); }
  bool waiting() const { return since_.has_value(); }

 private:
  std::optional<Instant> since_;
  uint64_t bytes_in_flight_ = 0;
  Duration patience_{};
};

}  // namespace masque
