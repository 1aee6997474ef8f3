// SPDX-License-Identifier: Apache-2.0
// The only place where time is read. The core is given `Instant now`; wall-clock time is for the
// service alone (certificates, logs, leases on disk).
#pragma once

#include <chrono>
#include <cstdint>

#include "base/time.h"

namespace masque {

Instant monotonic_now();                                 // CLOCK_MONOTONIC
std::chrono::system_clock::time_point wall_clock_now();  // CLOCK_REALTIME

}  // namespace masque
