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
  // many do, the quiet parts of the last second decide: a queue that overflows loses far more than
  // the link, but not all the time; no code would bring that back, and the code's own packets would
  // make it worse.
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
  static constexpr uint64_t kSamplesSure = 1500;  // from the beginning
  static constexpr uint64_t kEventsExpected = 7;
  static constexpr uint64_t kSamplesOfStep = 100;
  static constexpr size_t kStepsJudged = 5;
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

// Whether repairs are worth their bytes. On a link that loses by chance they bring nearly all back;
// where a queue overflows they are lost as well, fill it further, and keep the loss from QUIC's
// controller, which alone would end it. Where that lasts they pause, ever longer.
class RepairWorth {
 public:
  // Figures since the beginning of the class that is repaired, while repairs are sent or paused.
  void on_figures(Instant now, const PathReport::PerClass& total);
  bool paused(Instant now) const { return now < paused_until_; }

 private:
  static constexpr Duration kJudged = 500ms;
  static constexpr uint64_t kLostEnough = 20;
  static constexpr uint64_t kLostPerRecovered = 3;  // fewer brought back: not worth it
  // A controller that hears of an overflow has ended it by then, and must not find a link without
  // code behind it.
  static constexpr uint32_t kFruitlessMax = 3;
  static constexpr Duration kPauseMin = 500ms;
  static constexpr Duration kPauseMax = 4s;

  Instant since_{};
  PathReport::PerClass at_since_{};
  uint32_t fruitless_ = 0;  // spans of kJudged without a break
  Instant paused_until_{};
  Duration pause_ = kPauseMin;
};

// Repairs for each bulk source packet; 0: none at all. `window`: packets on their way within the
// hold.
double bulk_repair_share(double loss, double mean_burst, double window);

}  // namespace masque
