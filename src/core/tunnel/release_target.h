// SPDX-License-Identifier: Apache-2.0
// How long after its stamp a real-time packet is released: a little above the longest delays of the
// last seconds, so that nearly all packets have come by then and leave evenly.
//
// Delays are relative: arrival minus the sender's stamp, by two clocks with an unknown offset. The
// target rises at once when a packet comes close to it, and falls slowly (kFallMax), which a
// listener's jitter buffer does not notice. A single stall of the network lifts it by kOutlierMax
// at most; two of them count in full. It never lies more than `allowance` above the shortest delay
// of the last kMinimumWindow.
#pragma once

#include <array>
#include <cstdint>

#include "base/time.h"

namespace masque {

struct ReleaseTargetOptions {
  Duration allowance = 100ms;
};

class ReleaseTarget {
 public:
  static constexpr Duration kBucket = 250ms;
  static constexpr size_t kBuckets = 40;
  static constexpr size_t kPeakBuckets = 32;
  static constexpr Duration kPeakWindow = kBucket * kPeakBuckets;
  static constexpr Duration kMinimumWindow = kBucket * kBuckets;
  static constexpr Duration kStartMargin = 20ms;
  static constexpr Duration kMarginMin = 1ms;
  static constexpr int64_t kMarginOfSpread = 8;  // margin: the spread of delays over this
  static constexpr Duration kOutlierMax = 25ms;
  static constexpr Duration kFallMin = 1ms;  // per second
  static constexpr Duration kFallMax = 5ms;
  static constexpr Duration kFallAtStart = 10ms;  // while the first target is still a guess
  static constexpr int64_t kFallTime = 8;         // seconds in which an excess would be gone

  explicit ReleaseTarget(ReleaseTargetOptions options) : options_(options) {}

  void on_packet(Instant now, Duration relative_delay);
  // False before the first packet, and again after kMinimumWindow without any.
  bool known(Instant now) const { return started_ && now - last_packet_ <= kMinimumWindow; }
  Duration value() const { return target_; }
  Duration shortest() const { return shortest_; }

 private:
  struct Bucket {
    Duration shortest = Duration::max();
    Duration longest = Duration::min();
  };
  // The two longest of different buckets.
  struct Peaks {
    Duration first = Duration::min();
    Duration second = Duration::min();
    void add(Duration longest);
  };

  void start(Instant now, Duration relative_delay);
  void roll(Instant now);
  Duration wanted() const;

  ReleaseTargetOptions options_;
  std::array<Bucket, kBuckets> buckets_{};
  size_t current_ = 0;
  Instant current_since_{};
  Peaks earlier_peaks_;  // without the current bucket
  Duration earlier_shortest_ = Duration::max();
  Duration shortest_{};
  Duration target_{};
  Instant started_at_{};
  Instant last_packet_{};
  bool started_ = false;
};

}  // namespace masque
