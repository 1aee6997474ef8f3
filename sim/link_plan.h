// SPDX-License-Identifier: Apache-2.0
// What one direction of a link is and how it changes over time, and the Link that follows it. Pure
// like the Link itself: times count from a start that the caller names, changes take effect with
// the first packet at or after them, one seed decides everything.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "sim/link.h"

namespace masque {

// From `at` on, instead of all options before.
struct LinkChange {
  Duration at{};
  LinkOptions options;
};

// Everything that enters from `at` on for `length` is swallowed; again each `every`, if that is
// set.
struct LinkOutage {
  Duration at{};
  Duration length{};
  Duration every{};

  bool covers(Duration elapsed) const;
};

struct LinkPlan {
  LinkOptions options;
  std::vector<LinkChange> changes;  // by time
  std::vector<LinkOutage> outages;

  // No packet is faster than this.
  Duration delay_min() const;
};

class PlannedLink {
 public:
  PlannedLink(const LinkPlan& plan, uint64_t seed, Instant start);
  PlannedLink(const PlannedLink&) = delete;
  PlannedLink& operator=(const PlannedLink&) = delete;

  std::span<const Link::Delivery> on_packet(Instant now, size_t size);
  const Link& link() const { return link_; }
  // For the damage done to packets that the link calls corrupted.
  Rng& damage() { return damage_; }

 private:
  LinkPlan plan_;
  Instant start_;
  size_t next_change_ = 0;
  SeededRng loss_, walk_, jitter_, content_, damage_;
  Link link_;
};

// Damages a packet that a link calls corrupted: flips one to three bits.
void flip_bits(std::span<uint8_t> bytes, Rng& rng);

}  // namespace masque
