// SPDX-License-Identifier: Apache-2.0
// CoDel (RFC 8289): says of each packet that leaves a queue whether the flow shall be told to slow
// down. It looks at one thing, how long packets have waited: not at all below `target`, and above
// it only when no packet of a whole `interval` had less. Then it signals ever faster until the
// queue is short again.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace masque {

struct CodelOptions {
  Duration target = 5ms;      // standing delay that is fine
  Duration interval = 100ms;  // about the round-trip time of the flows
};

class Codel {
 public:
  // The next packet of the queue has waited `sojourn`; `bytes_behind` more wait after it. True: it
  // is to be dropped or marked, and on_signal() called.
  bool wants_signal(Instant now, Duration sojourn, size_t bytes_behind,
                    const CodelOptions& options);
  void on_signal(Instant now, const CodelOptions& options);
  // The queue ran empty.
  void on_empty() { above_until_ = Instant{}; }

 private:
  bool is_standing(Instant now, Duration sojourn, size_t bytes_behind, const CodelOptions& options);
  Instant next_after(Instant t, const CodelOptions& options) const;

  Instant above_until_{};  // when an interval above the target is over; zero: it is below
  Instant signal_at_{};
  uint32_t count_ = 0;  // signals since it began to signal
  uint32_t last_count_ = 0;
  bool signalling_ = false;
  bool entered_ = false;  // the next signal is the first of a new episode
};

}  // namespace masque
