// SPDX-License-Identifier: Apache-2.0
#include "sim/link.h"

#include <algorithm>

namespace masque {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int kWalkStepsMax = 64;  // after a long silence older steps make no difference

bool chance(Rng& rng, uint32_t ppm) { return ppm > 0 && rng.below(kPpm) < ppm; }

Duration time_of(size_t bytes, uint64_t bits_per_second) {
  return Duration(static_cast<int64_t>(bytes) * 8 * kSecond /
                  static_cast<int64_t>(bits_per_second));
}

}  // namespace

size_t Link::queued_bytes(Instant now) const {
  if (options_.trace != nullptr)
    return options_.trace->queued_bytes(now - origin_, trace_position_);
  if (options_.rate_bits_per_second == 0 || idle_at_ <= now) return 0;
  const auto waiting = static_cast<uint64_t>((idle_at_ - now).count());
  // In whole microseconds: a queue of hours at line rate does not overflow.
  return static_cast<size_t>(waiting / 1000 * options_.rate_bits_per_second / 8 / 1'000'000);
}

bool Link::lost() {
  if (burst_ == Burst::Bad && chance(random_.loss, options_.burst_leave_ppm)) {
    burst_ = Burst::Good;
  } else if (burst_ == Burst::Good && chance(random_.loss, options_.burst_enter_ppm)) {
    burst_ = Burst::Bad;
  }
  if (burst_ == Burst::Bad) {
    ++counters_.burst_lost;
    return true;
  }
  if (chance(random_.loss, options_.loss_ppm)) {
    ++counters_.lost;
    return true;
  }
  return false;
}

// The bucket is a clock: each packet moves the time at which it is full again, and that may lie at
// most one burst ahead (the "virtual scheduling" form of a token bucket).
bool Link::policed(Instant now, size_t size) {
  const uint64_t rate = options_.police_bits_per_second;
  if (rate == 0) return false;
  const Instant full_at = std::max(bucket_full_at_, now) + time_of(size, rate);
  if (full_at - now > time_of(options_.police_burst_bytes, rate)) return true;
  bucket_full_at_ = full_at;
  return false;
}

std::optional<Instant> Link::transmit_by_trace(Instant now, size_t size) {
  const LinkTrace& trace = *options_.trace;
  LinkTrace::Position position = trace_position_;
  const Instant sent = std::max(now, origin_ + trace.send(now - origin_, size, position));
  const bool full = options_.queue_time_max > Duration::zero()
                        ? sent - now > options_.queue_time_max
                        : queued_bytes(now) + size > options_.queue_bytes_max;
  if (full) return std::nullopt;
  trace_position_ = position;
  return sent;
}

std::optional<Instant> Link::transmit(Instant now, size_t size) {
  if (options_.trace != nullptr) return transmit_by_trace(now, size);
  if (options_.rate_bits_per_second == 0) return now;
  const Instant sent = std::max(idle_at_, now) + time_of(size, options_.rate_bits_per_second);
  const bool full = options_.queue_time_max > Duration::zero()
                        ? sent - now > options_.queue_time_max
                        : queued_bytes(now) + size > options_.queue_bytes_max;
  if (full) return std::nullopt;
  return idle_at_ = sent;
}

Duration Link::propagation(Instant now) {
  if (options_.walk_width > Duration::zero()) {
    int steps = 0;
    while (walked_at_ + options_.walk_interval <= now && steps++ < kWalkStepsMax) {
      walked_at_ += options_.walk_interval;
      const auto width = static_cast<uint64_t>(2 * options_.walk_step.count() + 1);
      walked_ += Duration(static_cast<int64_t>(random_.walk.below(width))) - options_.walk_step;
      walked_ = std::clamp(walked_, Duration::zero(), options_.walk_width);
    }
    if (steps >= kWalkStepsMax) walked_at_ = now;
  }
  Duration out = options_.delay + walked_;
  if (options_.jitter > Duration::zero()) {
    out += Duration(static_cast<int64_t>(
        random_.jitter.below(static_cast<uint64_t>(options_.jitter.count()) + 1)));
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

  if (policed(now, size)) {
    ++counters_.policed;
    return {};
  }
  const std::optional<Instant> sent = transmit(now, size);
  if (!sent) {
    ++counters_.queue_dropped;
    return {};
  }
  counters_.wait_max = std::max(counters_.wait_max, *sent - now);
  Instant at = *sent + propagation(now);
  if (options_.order == LinkOptions::Order::Kept) {
    at = std::max(at, last_delivery_);
  } else if (at < last_delivery_) {
    ++counters_.reordered;
  }
  last_delivery_ = std::max(last_delivery_, at);

  size_t count = 0;
  deliveries_[count++] = {.at = at};
  if (chance(random_.content, options_.duplicate_ppm)) {
    ++counters_.duplicated;
    deliveries_[count++] = {.at = at + options_.duplicate_delay};
  }
  for (size_t i = 0; i < count; ++i) {
    if (!chance(random_.content, options_.corrupt_ppm)) continue;
    ++counters_.corrupted;
    deliveries_[i].content = Delivery::Content::Corrupted;
  }
  counters_.delivered += count;
  return std::span(deliveries_).first(count);
}

}  // namespace masque
