// SPDX-License-Identifier: Apache-2.0
// The world of a simulation: one virtual clock, one queue of events, one generator that draws all
// randomness, and the trace that proves that a run repeats. Nothing happens between two events.
//
// The trace is a 64-bit hash over (time, what, three numbers, bytes) of all that was noted. Same
// seed, same hash: else something outside the seed has a say (a pointer's order, a clock, a real
// generator).
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "base/time.h"

namespace masque {

enum class TraceKind : uint8_t {
  Sent = 1,
  Delivered,
  InnerSent,
  InnerDelivered,
  Turn,
  State,
  Note
};

class World {
 public:
  explicit World(uint64_t seed);

  Instant now() const { return now_; }
  Rng& rng() { return rng_; }
  uint64_t below(uint64_t bound) { return rng_.below(bound); }

  // Events of one instant happen in the order in which they were planned.
  void at(Instant when, std::move_only_function<void()> what);
  void after(Duration delay, std::move_only_function<void()> what) {
    at(now_ + delay, std::move(what));
  }
  void every(Duration interval, std::function<bool()> what);  // until it returns false

  void run_for(Duration duration);
  // True as soon as the condition holds, which is asked after every event; false after `limit`.
  bool run_until(const std::function<bool()>& condition, Duration limit);

  void trace(TraceKind kind, uint64_t a, uint64_t b = 0, uint64_t c = 0, Bytes content = {});
  uint64_t trace_hash() const { return hash_; }
  uint64_t trace_length() const { return traced_; }

  // A broken invariant. The first ones are kept, all are counted.
  void violation(std::string text);
  const std::vector<std::string>& violations() const { return violations_; }
  uint64_t violation_count() const { return violation_count_; }

  // I-10: more events than this in one virtual second are a livelock.
  void set_events_per_second_max(uint64_t limit) { events_per_second_max_ = limit; }
  uint64_t events() const { return events_; }

 private:
  struct Event {
    Instant when;
    uint64_t order;
    mutable std::move_only_function<void()> what;
    bool operator<(const Event& other) const {  // the queue's top is the greatest
      return when != other.when ? when > other.when : order > other.order;
    }
  };
  bool step(Instant limit);

  Instant now_{1s};
  SeededRng rng_;
  std::priority_queue<Event> queue_;
  uint64_t planned_ = 0;
  uint64_t events_ = 0;
  uint64_t events_per_second_max_ = 500'000;
  int64_t current_second_ = 0;
  uint64_t events_in_second_ = 0;
  uint64_t hash_ = 0xcbf29ce484222325;
  uint64_t traced_ = 0;
  bool print_trace_ = false;
  std::vector<std::string> violations_;
  uint64_t violation_count_ = 0;
};

}  // namespace masque
