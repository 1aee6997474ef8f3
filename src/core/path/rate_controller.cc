// SPDX-License-Identifier: Apache-2.0
#include "core/path/rate_controller.h"

#include <algorithm>
#include <cmath>

namespace masque {

namespace {

constexpr double kProbeGain = 1.25;
constexpr double kProbeGainMore = 2.0;
constexpr double kDrainGain = 0.7;
constexpr double kCruiseGain = 0.98;
constexpr double kGrowth = 1.1;  // a probe has found more when so much more arrives
constexpr double kArrivesWhole = 0.9;
constexpr double kRateMin = 10'000;  // bytes per second: a path so slow still gets its reports
constexpr int kDrainRounds = 2;
constexpr int64_t kNoiseRounds = 200;  // noise is forgotten within as many
constexpr Duration kOpenAfter = 10s;
constexpr double kBurstTime = 0.002;
constexpr double kBurstMin = 12'000;

}  // namespace

std::optional<double> RateController::rate() const {
  switch (state_) {
    case State::Open:
      return std::nullopt;
    case State::Drain:
      return std::max(kRateMin, bandwidth_ * kDrainGain);
    case State::Cruise:
      return std::max(kRateMin, bandwidth_ * kCruiseGain);
    case State::Probe:
      return std::max(kRateMin, bandwidth_ * probe_gain_);
  }
  std::unreachable();
}

void RateController::enter(Instant now, State state) {
  state_ = state;
  state_since_ = now;
  round_bytes_ = 0;
  round_span_ = {};
  limited_in_round_ = false;
  backlogged_in_round_ = false;
  rounds_over_ = 0;
  if (state == State::Probe) queue_at_probe_ = queue_;
  if (state == State::Drain) {
    queue_at_drain_ = queue_;
    evidence_ = Evidence::Delay;
  }
}

void RateController::on_sample(Instant now, const Sample& sample) {
  base_.add(now, sample.delay_min);
  queue_ = sample.delay_min - base_.low(now).value_or(sample.delay_min);
  rtt_ = sample.rtt;
  round_bytes_ += sample.delivered;
  round_span_ += sample.span;
  limited_in_round_ |= sample.limited;
  backlogged_in_round_ |= sample.backlogged;
  if (sample.limited) limited_at_ = now;
  if (sample.overloaded && state_ != State::Drain) {
    bandwidth_ = arrivals_.high(now).value_or(bandwidth_);
    enter(now, State::Drain);
    evidence_ = Evidence::Overflow;
    return;
  }
  sent_.mark(now);
  if (round_span_ < round() * 3 / 4) return;

  // What arrived within this part of a round.
  const double seconds = static_cast<double>(round_span_.count()) * 1e-9;
  arrived_ = static_cast<double>(round_bytes_) / seconds;
  offered_ = sent_.between(now - rtt_ - round_span_, now - rtt_) / seconds;
  grows_ = arrived_ > arrivals_.high(now).value_or(0) * kGrowth;
  arrivals_.add(now, arrived_);
  const bool limited = limited_in_round_;
  const bool backlogged = backlogged_in_round_;
  round_bytes_ = 0;
  round_span_ = {};
  limited_in_round_ = false;
  backlogged_in_round_ = false;
  rounds_over_ = queue_ > threshold() ? rounds_over_ + 1 : 0;
  noise_ -= noise_ / kNoiseRounds;
  on_round(now, limited, backlogged);
}

// As long as it was to take, and the queue is still there.
void RateController::on_drained(Instant now) {
  const bool overflowed = evidence_ == Evidence::Overflow;
  const bool falls = queue_ <= queue_at_drain_ - queue_target_ / 3;
  if (!overflowed && falls && arrived_ < std::min(*rate(), offered_) * kArrivesWhole) {
    // It falls, and not far enough: others use the path too, or it has become slower.
    bandwidth_ = std::min(bandwidth_, std::max(arrived_, bandwidth_ * 0.5));
    enter(now, State::Drain);
    return;
  }
  // What is left is the path's own. Where it falls all that we send arrives as fast, so that the
  // rate was right.
  noise_ = std::max(noise_, queue_);
  enter(now, overflowed || falls ? State::Cruise : State::Open);
}

void RateController::on_round(Instant now, bool limited, bool backlogged) {
  switch (state_) {
    case State::Open:
      bandwidth_ = std::max(arrived_, bandwidth_ * 0.9);
      if (rounds_over_ >= 2 && backlogged && !grows_) {
        // Jitter makes arrivals come in lumps: one round may show too little.
        bandwidth_ = arrivals_.high(now).value_or(arrived_);
        enter(now, State::Drain);
      }
      break;
    case State::Drain:
      if (queue_ <= noise_ + queue_target_ / 3) {
        enter(now, State::Cruise);
      } else if (now - state_since_ > kDrainRounds * round()) {
        on_drained(now);
      }
      break;
    case State::Cruise:
      if (rounds_over_ >= 2 && limited) {
        // The path has become slower, or others use it too.
        if (arrived_ < offered_ * kArrivesWhole)
          bandwidth_ = std::min(bandwidth_, std::max(arrived_, bandwidth_ * 0.3));
        enter(now, State::Drain);
      } else if (now - limited_at_ > kOpenAfter) {
        enter(now, State::Open);
      } else if (limited && now - state_since_ > std::max(probe_every_, 3 * round())) {
        probe_gain_ = kProbeGain;
        enter(now, State::Probe);
      }
      break;
    case State::Probe: {
      if (now - state_since_ < round() + round() / 2) break;
      const bool built_up = queue_ > queue_at_probe_ + queue_target_ / 2;
      const bool more = arrived_ > bandwidth_ * kGrowth;
      if (more && !built_up) {
        bandwidth_ = arrived_;
        probe_gain_ = kProbeGainMore;
        probe_every_ = kProbeEveryMin;
        enter(now, State::Probe);
      } else {
        if (limited && arrived_ > bandwidth_ * 0.5) {
          bandwidth_ =
              built_up ? std::max(arrived_, bandwidth_ * 0.8) : std::max(bandwidth_, arrived_);
        }
        probe_every_ = std::min(probe_every_ * 3 / 2, kProbeEveryMax);
        enter(now, built_up ? State::Drain : State::Cruise);
      }
      break;
    }
  }
}

void RateController::refill(Instant now) {
  const auto limit = rate();
  if (!limit) return;
  const double burst = std::max(kBurstMin, *limit * kBurstTime);
  const double passed = static_cast<double>((now - filled_at_).count()) * 1e-9;
  bucket_ = std::min(burst, bucket_ + passed * *limit);
  filled_at_ = now;
}

bool RateController::may_send(Instant now) {
  if (state_ == State::Open) return true;
  refill(now);
  return bucket_ > 0;
}

void RateController::on_sent(Instant now, size_t bytes) {
  sent_.on_sent(bytes);
  if (state_ == State::Open) return;
  refill(now);
  bucket_ -= static_cast<double>(bytes);
  // What is not to be refused (repairs, real time, acknowledgements) goes into debt, within limits.
  const double debt = -std::max(kBurstMin, *rate() * 0.05);
  bucket_ = std::max(bucket_, debt);
}

Instant RateController::next_send(Instant now) const {
  const auto limit = rate();
  if (!limit || bucket_ > 0) return now;
  // Until half a burst is there: a wake-up for each packet would cost more than the packet.
  const double wanted = std::max(kBurstMin, *limit * kBurstTime) / 2 - bucket_;
  const auto wait = Duration(static_cast<int64_t>(wanted / *limit * 1e9));
  return std::max(now, filled_at_ + std::max<Duration>(wait, 50us));
}

}  // namespace masque
