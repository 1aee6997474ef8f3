// SPDX-License-Identifier: Apache-2.0
// What a queue before a connection has to know of it.
#pragma once

#include "base/time.h"

namespace masque {

struct SendingPace {
  Duration round_trip{};  // zero: not known yet
  // The controller is still looking for the path's rate, and doubles it in each round trip: what
  // waits shows that it is not that far yet, not that the path is full.
  bool searching = false;
};

}  // namespace masque
