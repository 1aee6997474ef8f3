// SPDX-License-Identifier: Apache-2.0
// How far from its time each packet left: the emulator's own precision, for its report. Microsecond
// bins up to four milliseconds, what is worse shares the last bin and the maximum.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/time.h"

namespace masque::linkemu {

class DelayError {
 public:
  void add(Duration error) {
    const Duration distance = error < Duration::zero() ? -error : error;
    max_ = std::max(max_, distance);
    const auto us = static_cast<size_t>(distance.count() / 1000);
    ++bins_[std::min(us, bins_.size() - 1)];
    ++count_;
  }

  // The smallest number of microseconds that `share` of all packets stayed within.
  uint64_t percentile_us(double share) const {
    const auto wanted = static_cast<uint64_t>(static_cast<double>(count_) * share);
    uint64_t seen = 0;
    for (size_t i = 0; i < bins_.size(); ++i) {
      seen += bins_[i];
      if (seen > wanted) return i + 1 == bins_.size() ? max_us() : i;
    }
    return max_us();
  }
  uint64_t max_us() const { return static_cast<uint64_t>(max_.count() / 1000); }
  uint64_t count() const { return count_; }

 private:
  std::array<uint64_t, 4096> bins_{};
  uint64_t count_ = 0;
  Duration max_{};
};

}  // namespace masque::linkemu
