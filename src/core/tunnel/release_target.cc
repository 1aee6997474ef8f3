// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/release_target.h"

namespace masque {

void ReleaseTarget::Peaks::add(Duration longest) {
  if (longest > first) {
    second = first;
    first = longest;
  } else if (longest > second) {
    second = longest;
  }
}

void ReleaseTarget::start(Instant now, Duration relative_delay) {
  buckets_.fill({});
  current_ = 0;
  current_since_ = now;
  earlier_peaks_ = {};
  earlier_shortest_ = Duration::max();
  target_ = relative_delay + std::min(kStartMargin, options_.allowance);
  started_ = true;
  started_at_ = now;
  last_packet_ = now;
}

// Opens new buckets until the current one holds `now`; known() bounds how many.
void ReleaseTarget::roll(Instant now) {
  if (now - current_since_ < kBucket) return;
  while (now - current_since_ >= kBucket) {
    current_since_ += kBucket;
    current_ = (current_ + 1) % kBuckets;
    buckets_[current_] = {};
  }
  earlier_peaks_ = {};
  earlier_shortest_ = Duration::max();
  for (size_t age = 1; age < kBuckets; ++age) {
    const Bucket& bucket = buckets_[(current_ + kBuckets - age) % kBuckets];
    if (age < kPeakBuckets) earlier_peaks_.add(bucket.longest);
    earlier_shortest_ = std::min(earlier_shortest_, bucket.shortest);
  }
}

Duration ReleaseTarget::wanted() const {
  Peaks peaks = earlier_peaks_;
  peaks.add(buckets_[current_].longest);
  Duration peak = peaks.first;
  if (peaks.second != Duration::min()) peak = std::min(peak, peaks.second + kOutlierMax);
  const Duration spread = std::max(peak - shortest_, Duration::zero());
  return peak + std::max(kMarginMin, spread / kMarginOfSpread);
}

void ReleaseTarget::on_packet(Instant now, Duration relative_delay) {
  if (!known(now)) start(now, relative_delay);
  const Duration passed = now - last_packet_;
  last_packet_ = now;
  roll(now);
  Bucket& bucket = buckets_[current_];
  bucket.shortest = std::min(bucket.shortest, relative_delay);
  bucket.longest = std::max(bucket.longest, relative_delay);
  shortest_ = std::min(earlier_shortest_, bucket.shortest);

  const Duration goal = wanted();
  if (goal >= target_) {
    target_ = goal;
  } else {
    const Duration excess = target_ - goal;
    const Duration per_second = now - started_at_ < kPeakWindow
                                    ? kFallAtStart
                                    : std::clamp(excess / kFallTime, kFallMin, kFallMax);
    const Duration fall = per_second * (std::min(passed, kPeakWindow) / 1us) / 1'000'000;
    target_ -= std::min(excess, fall);
  }
  target_ = std::min(target_, shortest_ + options_.allowance);
}

}  // namespace masque
