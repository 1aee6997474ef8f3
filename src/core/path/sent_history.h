// SPDX-License-Identifier: Apache-2.0
// How many bytes had been sent at some time before, so that what arrives can be compared with what
// was sent a round trip earlier. Linear between its marks, in constant space.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace masque {

class SentHistory {
 public:
  void on_sent(size_t bytes) { total_ += bytes; }
  void mark(Instant now) { marks_[next_++ % kMarks] = {now, total_}; }

  // Bytes between the two times; what lies before the oldest mark counts as nothing.
  double between(Instant from, Instant to) const { return sent_by(to) - sent_by(from); }

 private:
  static constexpr size_t kMarks = 64;
  struct Mark {
    Instant at{};
    uint64_t total = 0;
  };

  double sent_by(Instant when) const {
    if (next_ == 0) return static_cast<double>(total_);
    Mark after = newest(0);
    if (after.at <= when) return static_cast<double>(after.total);
    for (size_t back = 1; back < std::min(next_, kMarks); ++back) {
      const Mark before = newest(back);
      if (before.at <= when) {
        const double part = static_cast<double>((when - before.at).count()) /
                            static_cast<double>((after.at - before.at).count());
        return static_cast<double>(before.total) +
               part * static_cast<double>(after.total - before.total);
      }
      after = before;
    }
    return static_cast<double>(after.total);
  }
  const Mark& newest(size_t back) const { return marks_[(next_ - 1 - back) % kMarks]; }

  std::array<Mark, kMarks> marks_{};
  size_t next_ = 0;
  uint64_t total_ = 0;
};

}  // namespace masque
