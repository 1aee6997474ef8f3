// SPDX-License-Identifier: Apache-2.0
#include "host/clock.h"

#include <ctime>

namespace masque {

Instant monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail for this clock
  return Instant(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

std::chrono::system_clock::time_point wall_clock_now() { return std::chrono::system_clock::now(); }

}  // namespace masque
