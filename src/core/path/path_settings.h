// SPDX-License-Identifier: Apache-2.0
// What the operator chooses of the path layer ([resilience] in the configuration).
#pragma once

#include <cstdint>

#include "base/time.h"
#include "core/fec/erasure_code.h"

namespace masque {

enum class ResilienceMode : uint8_t {
  Auto,   // both classes, as much code as the link needs
  Off,    // plain RFC 9484
  Calls,  // code for real time only; bulk is put in order but not coded
  Bulk,   // code for bulk, no timed release
};

struct PathSettings {
  ResilienceMode mode = ResilienceMode::Off;
  ErasureCode code = ErasureCode::SlidingWindow;
  // How much later than it was sent a bulk packet may be handed on because an earlier one is
  // missing. Long enough for what is asked for again on a path of 250 ms: a rare pause costs TCP
  // less than a loss, which takes a third of its rate for seconds.
  Duration hold_max = 400ms;
  // No real-time packet waits for others longer than until this much after the fastest one would
  // have come. The timed release above has the same bound (ReleaseOptions::allowance).
  Duration realtime_budget = 100ms;
  // Recovered packets look congestion-marked (ECN CE) to QUIC, so that its controller still sees
  // the loss.
  enum class RecoveredAs : uint8_t { Intact, Marked } recovered_as = RecoveredAs::Intact;
  // The shaper at the tunnel's entrance keeps the queue of the bottleneck short.
  enum class Shaper : uint8_t { On, Off } shaper = Shaper::On;
  Duration queue_target = 15ms;
  size_t window_max = 255;  // symbols under one repair
};

}  // namespace masque
