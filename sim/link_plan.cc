// SPDX-License-Identifier: Apache-2.0
#include "sim/link_plan.h"

#include <algorithm>

namespace masque {

namespace {

constexpr uint64_t kStreams = 8;  // seeds of one link's streams; SeededRng makes them unlike

}  // namespace

bool LinkOutage::covers(Duration elapsed) const {
  if (elapsed < at) return false;
  Duration since = elapsed - at;
  if (every > Duration::zero()) since %= every;
  return since < length;
}

Duration LinkPlan::delay_min() const {
  Duration least = options.delay;
  for (const LinkChange& change : changes) least = std::min(least, change.options.delay);
  return least;
}

PlannedLink::PlannedLink(const LinkPlan& plan, uint64_t seed, Instant start)
    : plan_(plan),
      start_(start),
      loss_(seed * kStreams),
      walk_(seed * kStreams + 1),
      jitter_(seed * kStreams + 2),
      content_(seed * kStreams + 3),
      damage_(seed * kStreams + 4),
      link_(plan.options,
            LinkRandom{.loss = loss_, .walk = walk_, .jitter = jitter_, .content = content_},
            start) {}

std::span<const Link::Delivery> PlannedLink::on_packet(Instant now, size_t size) {
  const Duration elapsed = now - start_;
  while (next_change_ < plan_.changes.size() && plan_.changes[next_change_].at <= elapsed) {
    plan_.options = plan_.changes[next_change_++].options;
    link_.set_options(plan_.options);
  }
  if (!plan_.outages.empty()) {
    const bool out = std::ranges::any_of(
        plan_.outages, [&](const LinkOutage& outage) { return outage.covers(elapsed); });
    link_.set_path(out ? LinkOptions::Path::Blackhole : plan_.options.path);
  }
  return link_.on_packet(now, size);
}

void flip_bits(std::span<uint8_t> bytes, Rng& rng) {
  constexpr uint64_t kFlipsMax = 3;
  if (bytes.empty()) return;
  const uint64_t flips = 1 + rng.below(kFlipsMax);
  // Neighbours, so that no flip undoes another.
  const uint64_t first = rng.below(bytes.size() * 8);
  for (uint64_t i = 0; i < flips; ++i) {
    const uint64_t bit = (first + i) % (bytes.size() * 8);
    bytes[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  }
}

}  // namespace masque
