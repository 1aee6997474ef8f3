// SPDX-License-Identifier: Apache-2.0
// What `masque-vpn watch` reads of an answer to `status`, and what happened between two of them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "core/path/traffic_class.h"

namespace masque {

// One class in one direction: counters in a sample, their growth in a point. A packet that is given
// up and comes after all is taken back, so that the growth may be below zero.
struct WatchFlow {
  double packets = 0;  // that were to come through
  double settled = 0;  // whose fate on the wire is known, repair packets too
  double lost = 0;     // of these
  double recovered = 0;
  double gone = 0;  // of `packets`: not there behind the tunnel

  // nullopt: there was nothing to lose.
  std::optional<double> loss_before() const;
  std::optional<double> loss_after() const;
  WatchFlow& operator+=(const WatchFlow& other);
  friend WatchFlow operator-(const WatchFlow& a, const WatchFlow& b);
};

struct WatchClass {
  WatchFlow in;   // as we see it
  WatchFlow out;  // as the other end reports it
  double jitter_before_ms = 0;
  double jitter_after_ms = 0;
};

// A session as it stands.
struct WatchSample {
  std::string user;  // empty: of a client
  std::string peer;
  std::string path_layer;  // "auto, sliding-window"; empty: there is none
  double connected_s = 0;
  double rtt_ms = 0;
  double bytes_sent = 0;  // inner packets
  double bytes_received = 0;
  double path_bytes = 0;  // sent through the path layer
  double repair_bytes = 0;
  std::array<WatchClass, kTrafficClasses> classes;
};

struct WatchStatus {
  std::string role;
  std::string state;
  double pid = 0;
  std::vector<WatchSample> sessions;  // none: not connected
};
// nullopt: it is not a status.
std::optional<WatchStatus> read_watch_status(std::string_view status_json);

// What happened to a session in one interval.
struct WatchPoint {
  double seconds = 0;
  double up_bytes = 0;
  double down_bytes = 0;
  double rtt_ms = 0;
  double path_bytes = 0;
  double repair_bytes = 0;
  std::array<WatchClass, kTrafficClasses> classes;

  double up_bit_s() const { return seconds > 0 ? up_bytes * 8 / seconds : 0; }
  double down_bit_s() const { return seconds > 0 ? down_bytes * 8 / seconds : 0; }
  std::optional<double> overhead() const;
  WatchFlow in() const;  // both classes
  WatchFlow out() const;
  // Of real time where some came, else of bulk.
  std::optional<double> jitter_before_ms() const;
  std::optional<double> jitter_after_ms() const;
  // A longer interval: counters add up, the rest is that of `later`.
  void extend(const WatchPoint& later);

 private:
  const WatchClass* class_with_jitter() const;
};
// nullopt: the counters began anew in between.
std::optional<WatchPoint> watch_point(const WatchSample& before, const WatchSample& after,
                                      Duration span);

}  // namespace masque
