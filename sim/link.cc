// SPDX-License-Identifier: Apache-2.0
#include "sim/link.h"

#include <algorithm>

namespace masque {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int kWalkStepsMax = 64;  // after a long silence older steps make no difference

}  // namespace

size_t Link::queued_bytes(Instant now) const {
  if (options_.rate_bits_per_second == 0 || idle_at_ <= now) return 0;
  const auto waiting = static_cast<uint64_t>((idle_at_ - now).count());
  // In whole microseconds: a queue of hours at line rate does not overflow.
  return static_cast<size_t>(waiting / 1000 * options_.rate_bits_per_second / 8 / 1'000'000);
}

bool Link::lost() {
  if (burst_ == Burst::Bad && chance(options_.burst_leave_ppm)) {
    burst_ = Burst::Good;
  } else if (burst_ == Burst::Good && chance(options_.burst_enter_ppm)) {
    burst_ = Burst::Bad;
  }
  if (burst_ == Burst::Bad) {
    ++counters_.burst_lost;
    return true;
  }
  if (chance(options_.loss_ppm)) {
    ++counters_.lost;
    return true;
  }
  return false;
}

Duration Link::propagation(Instant now) {
  if (options_.walk_width > Duration::zero()) {
    int steps = 0;
    while (walked_at_ + options_.walk_interval <= now && steps++ < kWalkStepsMax) {
      walked_at_ += options_.walk_interval;
      const auto width = static_cast<uint64_t>(2 * options_.walk_step.count() + 1);
      walked_ += Duration(static_cast<int64_t>(rng_.below(width))) - options_.walk_step;
      walked_ = std::clamp(walked_, Duration::zero(), options_.walk_width);
    }
    if (steps >= kWalkStepsMax) walked_at_ = now;
  }
  Duration out = options_.delay + walked_;
  if (options_.jitter > Duration::zero()) {
    out += Duration(
        static_cast<int64_t>(rng_.below(static_cast<uint64_t>(options_.jitter.count()) + 1)));
  }
  return out;
}

std::span<const Link::Delivery> Link::on_packet(Instant now, size_t size) {
  ++counters_.packets;
  counters_.bytes += size;
  if (options_.path == LinkOptions::Path::Blackhole) {
    ++counters_.swallowed;
    return {};
  }
  if (size > options_.mtu) {
    ++counters_.too_big;
    return {};
  }
  if (lost()) return {};

  Instant sent = now;
  if (options_.rate_bits_per_second > 0) {
    if (queued_bytes(now) + size > options_.queue_bytes_max) {
      ++counters_.queue_dropped;
      return {};
    }
    const auto bits = static_cast<int64_t>(size) * 8;
    const auto rate = static_cast<int64_t>(options_.rate_bits_per_second);
    idle_at_ = std::max(idle_at_, now) + Duration(bits * kSecond / rate);
    sent = idle_at_;
  }
  Instant at = sent + propagation(now);
  if (options_.order == LinkOptions::Order::Kept) at = std::max(at, last_delivery_);
  last_delivery_ = std::max(last_delivery_, at);

  size_t count = 0;
  deliveries_[count++] = {.at = at};
  if (chance(options_.duplicate_ppm)) {
    ++counters_.duplicated;
    deliveries_[count++] = {.at = at + options_.duplicate_delay};
  }
  for (size_t i = 0; i < count; ++i) {
    if (!chance(options_.corrupt_ppm)) continue;
    ++counters_.corrupted;
    deliveries_[i].content = Delivery::Content::Corrupted;
  }
  counters_.delivered += count;
  return std::span(deliveries_).first(count);
}

}  // namespace masque
