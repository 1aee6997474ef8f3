// SPDX-License-Identifier: Apache-2.0
// How much code a class needs, from what its reports say of the link (loss, bursts).
//
// Bulk: of W packets that are on their way within the hold, W p are lost on average, with a
// variance of W p (2b - 1) when losses come in runs of b (a geometric burst). Repairs must cover
// the mean and z deviations:
//   share = (p + z sqrt(p (2b - 1) / W)) / (1 - p)
// Real time has few packets within its budget, so that deviations do not average out; but its
// packets are few and small: up to kSparseRate packets a second each gets two repairs over the last
// four packets, 5 and 13 ms later, above it the same formula with a smaller W.
#pragma once

#include <cstdint>

#include "base/time.h"
#include "core/path/path_messages.h"

namespace masque {

// The loss of a link as the last reports show it.
class LossEstimate {
 public:
  // Figures since the beginning, of one class or of all.
  void on_figures(Instant now, const PathReport::PerClass& total);
  // Share of packets lost. Falls to zero within two seconds on a link that has become clean,
  // provided that enough packets say so: so many that the link as it was in the last 10 s would
  // have shown kEventsExpected losses, of which none is then seen by chance once in 1,000. Where
  // many do, what stands out in time does not count: a queue that overflows loses far more than the
  // link, no code would bring it back, and the code's own packets would make it worse.
  double share() const;
  // The share that code has to reckon with: where few packets have been seen lately, what many of
  // them last showed counts for the missing ones, and at the beginning kAssumed. The first packets
  // of a connection or of a burst are those that QUIC's controller learns the path by.
  double expected() const;
  // The newest packets are lost far more often than those before.
  bool overloaded() const;
  double mean_burst() const { return burst_; }  // 1: losses are independent

 private:
  static constexpr Duration kStep = 250ms;
  static constexpr size_t kSteps = 40;      // 10 s
  static constexpr size_t kStepsShort = 7;  // what counts when it holds packets enough
  static constexpr uint64_t kSamplesEnough = 250;
  static constexpr uint64_t kEventsExpected = 7;
  static constexpr uint64_t kSamplesOfStep = 100;
  static constexpr double kAboveMedian = 1.3;
  static constexpr double kAssumed = 0.1;
  struct Step {
    uint64_t settled = 0, lost = 0, events = 0;
    double share() const { return static_cast<double>(lost) / static_cast<double>(settled); }
  };
  void turn(Instant now);
  uint64_t samples_enough() const;
  // The newest steps that hold enough samples.
  Step recent() const;

  Step steps_[kSteps]{};
  size_t at_ = 0;
  Instant turned_at_{};
  PathReport::PerClass seen_{};
  double burst_ = 1;
  double remembered_ = kAssumed;
};

// Repairs for each bulk source packet; 0: none at all. `window`: packets on their way within the
// hold.
double bulk_repair_share(double loss, double mean_burst, double window);

}  // namespace masque
