// SPDX-License-Identifier: Apache-2.0
#include "core/client/reconnector.h"

#include <algorithm>

namespace masque {

void Reconnector::settle(Instant now) {
  if (connected_at_ && now - *connected_at_ >= options_.stable) delay_ = options_.first;
  connected_at_.reset();
}

void Reconnector::on_lost(Instant now) {
  settle(now);
  dial_at_ = now + jittered(delay_);
  delay_ = std::min(delay_ * 2, options_.max);
}

void Reconnector::on_refused(Instant now) {
  settle(now);
  dial_at_ = now + jittered(options_.refused);
}

void Reconnector::on_network_changed(Instant now) {
  if (!dial_at_) return;
  delay_ = options_.first;
  const Instant earliest = hurried_at_ ? *hurried_at_ + kHurryInterval : now;
  const Instant when = std::max(now, earliest);
  if (when >= *dial_at_) return;
  dial_at_ = when;
  hurried_at_ = when;
}

void Reconnector::cancel() {
  dial_at_.reset();
  connected_at_.reset();
  delay_ = options_.first;
}

std::optional<Reconnector::Action> Reconnector::on_timeout(Instant now) {
  if (!dial_at_ || now < *dial_at_) return std::nullopt;
  dial_at_.reset();
  return Action::Dial;
}

Duration Reconnector::jittered(Duration delay) {
  const auto half = delay / 2;
  return half + Duration(static_cast<int64_t>(rng_.below(static_cast<uint64_t>(half.count()) + 1)));
}

}  // namespace masque
