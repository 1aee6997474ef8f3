// SPDX-License-Identifier: Apache-2.0
// The lowest and highest value of the last one to two spans of time, in constant space.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace masque {

template <class Value>
class WindowedRange {
 public:
  explicit WindowedRange(Duration span) : span_(span) {}

  void add(Instant now, Value value) {
    turn(now);
    if (!current_) {
      current_ = Range{value, value};
    } else {
      current_->low = std::min(current_->low, value);
      current_->high = std::max(current_->high, value);
    }
  }
  std::optional<Value> low(Instant now) {
    turn(now);
    if (!current_) return before_ ? std::optional(before_->low) : std::nullopt;
    return before_ ? std::min(before_->low, current_->low) : current_->low;
  }
  std::optional<Value> high(Instant now) {
    turn(now);
    if (!current_) return before_ ? std::optional(before_->high) : std::nullopt;
    return before_ ? std::max(before_->high, current_->high) : current_->high;
  }
  void clear() {
    before_.reset();
    current_.reset();
  }

 private:
  struct Range {
    Value low;
    Value high;
  };
  void turn(Instant now) {
    if (now - since_ < span_) return;
    if (now - since_ >= 2 * span_) current_.reset();
    before_ = current_;
    current_.reset();
    since_ = now;
  }

  Duration span_;
  Instant since_{};
  std::optional<Range> before_;
  std::optional<Range> current_;
};

}  // namespace masque
