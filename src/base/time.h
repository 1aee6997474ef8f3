// SPDX-License-Identifier: Apache-2.0
// Monotonic time as the core sees it: it comes in from outside as `Instant now` and is never read
// from a clock here. `Instant` has no now(); only host/clock.h and sim/ make one.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace masque {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;  // 25ms, 10s: durations read as they are written

struct MonotonicTimeline {
  using rep = int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicTimeline, Duration>;
  static constexpr bool is_steady = true;
};
using Instant = MonotonicTimeline::time_point;

constexpr Instant instant_from_ns(uint64_t ns) {
  return Instant(Duration(static_cast<int64_t>(ns)));
}
constexpr uint64_t to_ns(Instant t) { return static_cast<uint64_t>(t.time_since_epoch().count()); }

// The earlier of two timers, either of which may not be set.
constexpr std::optional<Instant> earlier(std::optional<Instant> a, std::optional<Instant> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

}  // namespace masque
