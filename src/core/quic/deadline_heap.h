// SPDX-License-Identifier: Apache-2.0
// The timers of many connections: an indexed binary heap. Moving a timer costs O(log n) and no
// allocation, because every packet moves one.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/time.h"

namespace masque {

class DeadlineHeap {
 public:
  using Slot = uint32_t;

  // Sets, moves or (nullopt) removes the timer of a slot.
  void set(Slot slot, std::optional<Instant> deadline) {
    if (slot >= position_.size()) position_.resize(slot + 1, kNone);
    uint32_t at = position_[slot];
    if (!deadline) {
      if (at != kNone) remove(at);
      return;
    }
    if (at == kNone) {
      at = static_cast<uint32_t>(heap_.size());
      heap_.push_back({*deadline, slot});
      position_[slot] = at;
    } else {
      heap_[at].deadline = *deadline;
    }
    sink(rise(at));
  }

  std::optional<Instant> next() const {
    if (heap_.empty()) return std::nullopt;
    return heap_.front().deadline;
  }
  // A slot whose timer is due; it is removed from the heap.
  std::optional<Slot> pop_due(Instant now) {
    if (heap_.empty() || heap_.front().deadline > now) return std::nullopt;
    const Slot slot = heap_.front().slot;
    remove(0);
    return slot;
  }

 private:
  struct Entry {
    Instant deadline;
    Slot slot;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  void place(uint32_t at, const Entry& entry) {
    heap_[at] = entry;
    position_[entry.slot] = at;
  }
  uint32_t rise(uint32_t at) {
    const Entry entry = heap_[at];
    while (at > 0) {
      const uint32_t parent = (at - 1) / 2;
      if (heap_[parent].deadline <= entry.deadline) break;
      place(at, heap_[parent]);
      at = parent;
    }
    place(at, entry);
    return at;
  }
  void sink(uint32_t at) {
    const Entry entry = heap_[at];
    const auto size = static_cast<uint32_t>(heap_.size());
    for (;;) {
      uint32_t child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && heap_[child + 1].deadline < heap_[child].deadline) ++child;
      if (entry.deadline <= heap_[child].deadline) break;
      place(at, heap_[child]);
      at = child;
    }
    place(at, entry);
  }
  void remove(uint32_t at) {
    position_[heap_[at].slot] = kNone;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (at == heap_.size()) return;
    place(at, last);
    sink(rise(at));
  }

  std::vector<Entry> heap_;
  std::vector<uint32_t> position_;  // slot -> index in heap_
};

}  // namespace masque
