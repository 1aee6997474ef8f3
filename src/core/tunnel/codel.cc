// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/codel.h"

#include <cmath>

namespace masque {
namespace {

// RFC 8289 4.4: what is left is one packet at most, no queue that stands.
constexpr size_t kOnePacket = 1514;

}  // namespace

bool Codel::is_standing(Instant now, Duration sojourn, size_t bytes_behind,
                        const CodelOptions& options) {
  if (sojourn < options.target || bytes_behind <= kOnePacket) {
    above_until_ = Instant{};
    return false;
  }
  if (above_until_ == Instant{}) {
    above_until_ = now + options.interval;
    return false;
  }
  return now >= above_until_;
}

bool Codel::wants_signal(Instant now, Duration sojourn, size_t bytes_behind,
                         const CodelOptions& options) {
  const bool standing = is_standing(now, sojourn, bytes_behind, options);
  if (signalling_ && !standing) signalling_ = false;
  if (!standing) return false;
  entered_ = !signalling_;
  return entered_ || now >= signal_at_;
}

void Codel::on_signal(Instant now, const CodelOptions& options) {
  if (!entered_) {
    ++count_;
    signal_at_ = next_after(signal_at_, options);
    return;
  }
  // RFC 8289 5.4: an episode soon after the last goes on about where that was.
  signalling_ = true;
  entered_ = false;
  const uint32_t grown = count_ - last_count_;
  count_ = grown > 1 && now - signal_at_ < 16 * options.interval ? grown : 1;
  last_count_ = count_;
  signal_at_ = next_after(now, options);
}

Instant Codel::next_after(Instant t, const CodelOptions& options) const {
  const double step = static_cast<double>(options.interval.count()) / std::sqrt(count_);
  return t + Duration(static_cast<int64_t>(step));
}

}  // namespace masque
