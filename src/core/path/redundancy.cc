// SPDX-License-Identifier: Apache-2.0
#include "core/path/redundancy.h"

#include <algorithm>
#include <cmath>

namespace masque {

void LossEstimate::turn(Instant now) {
  if (turned_at_ == Instant{}) turned_at_ = now;
  size_t steps = 0;
  while (now - turned_at_ >= kStep) {
    turned_at_ += kStep;
    at_ = (at_ + 1) % kSteps;
    steps_[at_] = {};
    if (++steps >= kSteps) turned_at_ = now;
  }
}

void LossEstimate::on_figures(Instant now, const PathReport::PerClass& total) {
  turn(now);
  if (total.settled < seen_.settled || total.lost < seen_.lost) {
    seen_ = total;  // a late repair was taken back
    return;
  }
  Step& step = steps_[at_];
  step.settled += total.settled - seen_.settled;
  step.lost += total.lost - seen_.lost;
  step.events += total.loss_events - std::min(seen_.loss_events, total.loss_events);
  seen_ = total;
  const Step sum = recent();
  constexpr uint64_t kEventsEnough = 8;
  if (sum.events >= kEventsEnough) {
    burst_ = std::max(1.0, static_cast<double>(sum.lost) / static_cast<double>(sum.events));
  }
}

LossEstimate::Step LossEstimate::recent() const {
  Step sum;
  for (size_t i = 0; i < kSteps; ++i) {
    if (i >= kStepsShort && sum.settled >= kSamplesEnough) break;
    const Step& step = steps_[(at_ + kSteps - i) % kSteps];
    sum.settled += step.settled;
    sum.lost += step.lost;
    sum.events += step.events;
  }
  return sum;
}

uint64_t LossEstimate::samples() const { return recent().settled; }

double LossEstimate::share(Instant now) const {
  static_cast<void>(now);
  const Step sum = recent();
  if (sum.settled == 0) return 0;
  return static_cast<double>(sum.lost) / static_cast<double>(sum.settled);
}

double bulk_repair_share(double loss, double mean_burst, double window) {
  constexpr double kNegligible = 0.0001;
  constexpr double kDeviations = 3.3;
  constexpr double kShareMax = 1.0;
  if (loss < kNegligible) return 0;
  const double p = std::min(loss, 0.5);
  const double spread = std::sqrt(p * (2 * mean_burst - 1) / std::max(window, 1.0));
  return std::min((p + kDeviations * spread) / (1 - p), kShareMax);
}

}  // namespace masque
