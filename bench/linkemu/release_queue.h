// SPDX-License-Identifier: Apache-2.0
// Packets by the time at which they leave; equal times in the order in which they came. A binary
// heap whose memory is reserved at the start.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/time.h"
#include "linkemu/packet_io.h"

namespace masque::linkemu {

class ReleaseQueue {
 public:
  struct Release {
    Instant at;
    uint64_t order = 0;
    Slot slot = 0;
    Direction direction = Direction::Up;

    friend bool operator>(const Release& a, const Release& b) {
      return a.at != b.at ? a.at > b.at : a.order > b.order;
    }
  };

  explicit ReleaseQueue(size_t size_max) : size_max_(size_max) { heap_.reserve(size_max); }

  bool empty() const { return heap_.empty(); }
  bool full() const { return heap_.size() == size_max_; }
  size_t size() const { return heap_.size(); }
  const Release& first() const { return heap_.front(); }

  void push(Instant at, Direction direction, Slot slot) {
    heap_.push_back({.at = at, .order = next_order_++, .slot = slot, .direction = direction});
    std::ranges::push_heap(heap_, std::greater<>());
  }
  Release pop() {
    std::ranges::pop_heap(heap_, std::greater<>());
    const Release release = heap_.back();
    heap_.pop_back();
    return release;
  }

 private:
  size_t size_max_;
  uint64_t next_order_ = 0;
  std::vector<Release> heap_;
};

}  // namespace masque::linkemu
