// SPDX-License-Identifier: Apache-2.0
#include "core/path/redundancy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

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
  if (sum.settled >= kSamplesEnough) remembered_ = share();
}

uint64_t LossEstimate::samples_enough() const {
  Step all;
  for (const Step& step : steps_) {
    all.settled += step.settled;
    all.events += step.events;
  }
  if (all.events == 0) return kSamplesEnough;
  return std::max(kSamplesEnough, all.settled * kEventsExpected / all.events);
}

LossEstimate::Step LossEstimate::recent() const {
  Step sum;
  const uint64_t enough = samples_enough();
  for (size_t i = 0; i < kSteps; ++i) {
    if (i >= kStepsShort && sum.settled >= enough) break;
    const Step& step = steps_[(at_ + kSteps - i) % kSteps];
    sum.settled += step.settled;
    sum.lost += step.lost;
    sum.events += step.events;
  }
  return sum;
}

double LossEstimate::expected() const {
  const Step sum = recent();
  if (sum.settled >= kSamplesEnough) {
    if (sum.events == 0 || seen_.settled >= kSamplesSure) return share();
    // Few losses say little yet: what was assumed fades.
    const double assumed = static_cast<double>(kSamplesEnough) *
                           static_cast<double>(kSamplesSure - seen_.settled) /
                           static_cast<double>(kSamplesSure);
    const auto settled = static_cast<double>(sum.settled);
    return (share() * settled + kAssumed * assumed) / (settled + assumed);
  }
  const auto missing = static_cast<double>(kSamplesEnough - sum.settled);
  return (static_cast<double>(sum.lost) + missing * remembered_) /
         static_cast<double>(kSamplesEnough);
}

double LossEstimate::share() const {
  const Step sum = recent();
  if (sum.settled == 0) return 0;
  const double mean = sum.share();
  std::array<Step, kStepsJudged> judged;
  size_t count = 0;
  for (size_t i = 0; i < kStepsJudged; ++i) {
    const Step& step = steps_[(at_ + kSteps - i) % kSteps];
    if (step.settled >= kSamplesOfStep) judged[count++] = step;
  }
  if (count < kStepsJudged - 1) return mean;
  std::ranges::sort(std::span(judged).first(count), {}, &Step::share);
  const Step& quiet = judged[1];
  const auto packets = static_cast<double>(quiet.settled);
  constexpr double kBurstMax = 4;
  const double deviation = std::sqrt(std::max(quiet.share(), 1 / packets) *
                                     (2 * std::min(burst_, kBurstMax) - 1) / packets);
  return std::min(mean, quiet.share() + deviation);
}

bool LossEstimate::overloaded() const {
  Step newest = steps_[at_];
  if (newest.settled < kSamplesOfStep) {
    const Step& before = steps_[(at_ + kSteps - 1) % kSteps];
    newest.settled += before.settled;
    newest.lost += before.lost;
  }
  if (newest.settled < kSamplesOfStep) return false;
  const double usual = share();
  constexpr double kExcess = 0.03;
  constexpr double kDeviations = 4;
  const double deviation =
      std::sqrt(std::max(usual, 0.001) * (2 * burst_ - 1) / static_cast<double>(newest.settled));
  return newest.share() > usual + std::max(kExcess, kDeviations * deviation);
}

void RepairWorth::on_figures(Instant now, const PathReport::PerClass& total) {
  if (since_ == Instant{} || total.lost < at_since_.lost || total.recovered < at_since_.recovered) {
    since_ = now;
    at_since_ = total;
    return;
  }
  if (now - since_ < kJudged) return;
  const uint64_t lost = total.lost - at_since_.lost;
  const uint64_t recovered = total.recovered - at_since_.recovered;
  since_ = now;
  at_since_ = total;
  if (paused(now)) return;
  if (lost < kLostEnough || recovered * kLostPerRecovered >= lost) {
    fruitless_ = 0;
    if (now - paused_until_ > kPauseMax) pause_ = kPauseMin;
  } else if (++fruitless_ == kFruitlessMax) {
    fruitless_ = 0;
    paused_until_ = now + pause_;
    pause_ = std::min(2 * pause_, kPauseMax);
  }
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
