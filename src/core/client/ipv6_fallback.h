// SPDX-License-Identifier: Apache-2.0
// What to ask for on a path that is too narrow for IPv6, which needs 1280 bytes (RFC 9484 7.2):
// IPv4 alone, for a while that doubles each time, or until a tenth of the first while after QUIC
// found the path wide enough that it had found too narrow: where echoes through the tunnel told,
// its word says nothing. Another network is another path: both again.
//
//   Both --on_too_narrow--> Ipv4Only --time over, on_network_changed--> Both
//
// Timer: when to ask for both again.
#pragma once

#include <algorithm>
#include <optional>

#include "base/time.h"

namespace masque {

class Ipv6Fallback {
 public:
  struct Options {
    Duration first = 10min;
    Duration max = 24h;
  };
  explicit Ipv6Fallback(Options options) : options_(options), length_(options.first) {}

  bool ipv4_only() const { return again_at_.has_value(); }
  enum class ToldBy : uint8_t { Quic, Echo };
  void on_too_narrow(Instant now, ToldBy told_by) {
    told_by_ = told_by;
    again_at_ = now + length_;
    wide_since_.reset();
    length_ = std::min(2 * length_, options_.max);
  }
  void on_wide_enough(Instant now) {
    if (wide_since_ || !again_at_ || told_by_ == ToldBy::Echo) return;
    wide_since_ = now;
    again_at_ = std::min(*again_at_, now + options_.first / 10);
  }
  void on_network_changed() {
    again_at_.reset();
    length_ = options_.first;
  }

  std::optional<Instant> next_timeout() const { return again_at_; }
  enum class Action : uint8_t { AskForBoth };
  std::optional<Action> on_timeout(Instant now) {
    if (!again_at_ || now < *again_at_) return std::nullopt;
    again_at_.reset();
    return Action::AskForBoth;
  }

 private:
  Options options_;
  Duration length_;
  ToldBy told_by_ = ToldBy::Quic;
  std::optional<Instant> again_at_;
  std::optional<Instant> wide_since_;
};

}  // namespace masque
