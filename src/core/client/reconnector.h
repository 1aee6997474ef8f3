// SPDX-License-Identifier: Apache-2.0
// When to dial again: exponential back-off with jitter, so that a thousand clients of a restarted
// gateway do not come back at once. A connection that lived long enough makes the next attempt
// quick again.
//
// Timer: the next dial.
#pragma once

#include <optional>

#include "base/rng.h"
#include "base/time.h"

namespace masque {

class Reconnector {
 public:
  struct Options {
    Duration first = 500ms;
    Duration max = 30s;
    Duration refused = 30s;  // the gateway said no: asking again at once is of no use
    Duration stable = 10s;   // a connection that held so long counts as good
  };
  Reconnector(Options options, Rng& rng) : options_(options), rng_(rng), delay_(options.first) {}

  void on_connected(Instant now) { connected_at_ = now; }
  void on_lost(Instant now);
  void on_refused(Instant now);
  void dial_at(Instant when) { dial_at_ = when; }
  // Another network may be the way out: the planned attempt is made now, and those after it are
  // quick again. Networks come in bursts of changes: not more often than every kHurryInterval.
  static constexpr Duration kHurryInterval = 3s;
  void on_network_changed(Instant now);
  void cancel();

  std::optional<Instant> next_timeout() const { return dial_at_; }
  enum class Action : uint8_t { Dial };
  std::optional<Action> on_timeout(Instant now);

 private:
  // Between half of the delay and all of it.
  Duration jittered(Duration delay);
  void settle(Instant now);

  Options options_;
  Rng& rng_;
  Duration delay_;
  std::optional<Instant> connected_at_;
  std::optional<Instant> dial_at_;
  std::optional<Instant> hurried_at_;
};

}  // namespace masque
