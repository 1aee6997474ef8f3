// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/mtu_monitor.h"

#include <algorithm>

#include "core/ip/packet.h"

namespace masque {

MtuMonitor::Change MtuMonitor::on_limit(Instant now, size_t packet_size_max, Ipv6Use ipv6) {
  const size_t before = limit_;
  limit_ = std::min(packet_size_max, options_.packet_size_max);
  const bool too_small = limit_ > 0 && limit_ < kIpv6MinimumMtu && ipv6 == Ipv6Use::Yes;
  if (!too_small) {
    too_small_since_.reset();
  } else if (!too_small_since_) {
    too_small_since_ = now;
  }
  return limit_ == before ? Change::None : Change::Changed;
}

std::optional<Instant> MtuMonitor::next_timeout() const {
  if (!too_small_since_) return std::nullopt;
  return *too_small_since_ + options_.grace;
}

bool MtuMonitor::must_abort(Instant now) const {
  return too_small_since_ && now >= *too_small_since_ + options_.grace;
}

}  // namespace masque
