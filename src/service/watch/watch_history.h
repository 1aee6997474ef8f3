// SPDX-License-Identifier: Apache-2.0
// The last minute of a session: a point for each interval, or none where nothing is known.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "service/watch/watch_sample.h"

namespace masque {

class WatchHistory {
 public:
  static constexpr Duration kLength = 60s;
  static constexpr Duration kRecent = 10s;

  explicit WatchHistory(Duration interval)
      : slots_(static_cast<size_t>(std::max<int64_t>(kLength / interval, 1))),
        recent_(static_cast<size_t>(std::max<int64_t>(kRecent / interval, 1))) {}

  void push(std::optional<WatchPoint> point) {
    points_.push_back(point);
    ++pushed_;
    if (points_.size() > slots_) points_.pop_front();
  }

  const WatchPoint* last() const {
    return points_.empty() || !points_.back() ? nullptr : &*points_.back();
  }
  // The last kRecent as one point: shares of a single interval say little.
  std::optional<WatchPoint> recent() const {
    std::optional<WatchPoint> out;
    for (size_t i = points_.size() - std::min(points_.size(), recent_); i < points_.size(); ++i) {
      if (!points_[i]) continue;
      out ? out->extend(*points_[i]) : void(out = points_[i]);
    }
    return out;
  }

  // `value` of each point in at most `columns` cells, the newest last; a cell is the mean of its
  // points. Cells keep their points while the history moves on, so that they do not flicker.
  template <class Value>
  std::vector<std::optional<double>> cells(size_t columns, Value value) const {
    const size_t wanted = std::max<size_t>(columns, 1);
    const size_t per_cell = (slots_ + wanted - 1) / wanted;
    const uint64_t last_cell = (pushed_ + per_cell - 1) / per_cell;
    const size_t count = (slots_ + per_cell - 1) / per_cell;
    std::vector<std::optional<double>> out(count);
    std::vector<size_t> samples(count);
    for (size_t i = 0; i < points_.size(); ++i) {
      const uint64_t number = pushed_ - points_.size() + i;
      const uint64_t age = last_cell - 1 - number / per_cell;
      if (age >= count || !points_[i]) continue;
      const std::optional<double> its = value(*points_[i]);
      if (!its) continue;
      const size_t cell = count - 1 - static_cast<size_t>(age);
      out[cell] = out[cell].value_or(0) + *its;
      ++samples[cell];
    }
    for (size_t i = 0; i < count; ++i) {
      if (out[i]) *out[i] /= static_cast<double>(samples[i]);
    }
    return out;
  }

 private:
  size_t slots_;
  size_t recent_;
  uint64_t pushed_ = 0;
  std::deque<std::optional<WatchPoint>> points_;
};

}  // namespace masque
