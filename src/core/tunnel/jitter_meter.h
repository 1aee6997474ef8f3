// SPDX-License-Identifier: Apache-2.0
// Interarrival jitter as RTP reports it (RFC 3550 6.4.1): the mean change of the transit time from
// one packet to the next, with a gain of 1/16.
#pragma once

#include <optional>

#include "base/time.h"

namespace masque {

class JitterMeter {
 public:
  // `transit`: arrival minus the sender's stamp; its zero does not matter.
  void on_packet(Duration transit) {
    if (last_) {
      const Duration change = transit > *last_ ? transit - *last_ : *last_ - transit;
      jitter_ += (change - jitter_) / 16;
    }
    last_ = transit;
  }
  Duration jitter() const { return jitter_; }

 private:
  std::optional<Duration> last_;
  Duration jitter_{};
};

}  // namespace masque
