// SPDX-License-Identifier: Apache-2.0
// Packets that were asked for again and are not here yet. The request or its answer may be lost,
// too: after a while they are asked for once more, kAsksMax times in all.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace masque {

class AwaitedPackets {
 public:
  static constexpr size_t kMax = 64;  // more are asked for once only
  static constexpr uint8_t kAsksMax = 3;

  bool empty() const { return count_ == 0; }
  void on_asked(Instant now, uint64_t sequence) {
    if (count_ < kMax) packets_[count_++] = {.sequence = sequence, .asked_at = now};
  }
  // When the next is due, if nothing comes for `wait` after it was asked for. Those for which
  // `missing(sequence)` is false are forgotten.
  template <class Missing>
  std::optional<Instant> next_due(Duration wait, Missing missing) {
    const auto end = std::remove_if(
        packets_.begin(), packets_.begin() + static_cast<ptrdiff_t>(count_),
        [&](const Awaited& one) { return one.asks >= kAsksMax || !missing(one.sequence); });
    count_ = static_cast<size_t>(end - packets_.begin());
    std::optional<Instant> due;
    for (size_t i = 0; i < count_; ++i) due = earlier(due, packets_[i].asked_at + wait);
    return due;
  }
  // The lowest sequence from `from` on that is due: it counts as asked for now.
  std::optional<uint64_t> ask_again(Instant now, Duration wait, uint64_t from) {
    Awaited* lowest = nullptr;
    for (size_t i = 0; i < count_; ++i) {
      Awaited& one = packets_[i];
      if (one.asks >= kAsksMax || one.sequence < from || one.asked_at + wait > now) continue;
      if (lowest == nullptr || one.sequence < lowest->sequence) lowest = &one;
    }
    if (lowest == nullptr) return std::nullopt;
    lowest->asked_at = now;
    ++lowest->asks;
    return lowest->sequence;
  }

 private:
  struct Awaited {
    uint64_t sequence = 0;
    Instant asked_at{};
    uint8_t asks = 1;
  };
  std::array<Awaited, kMax> packets_{};
  size_t count_ = 0;
};

}  // namespace masque
