// SPDX-License-Identifier: Apache-2.0
#include "core/path/rate_controller.h"

#include <algorithm>
#include <cmath>

namespace masque {

namespace {

// What is sent above or below the bandwidth, as shares of it.
constexpr double kProbeExcessMin = 0.03;
constexpr double kProbeExcessMax = 0.25;
constexpr double kDrainExcessMin = 0.1;
constexpr double kDrainExcessMax = 0.3;
constexpr double kCruiseGain = 0.98;
constexpr double kOpenGain = 1.5;
constexpr double kOpenRateMin = 250'000;  // bytes per second
constexpr double kRateMin = 10'000;       // the same: a path so slow still gets its reports
constexpr double kGrowth = 1.1;           // from round to round: nothing is full yet
// Shares of what was sent a round trip before that arrive.
constexpr double kComesFromQueue = 1.05;  // it had been waiting
constexpr double kArrivesAll = 0.95;
constexpr double kArrivesWhole = 0.9;
constexpr double kArrivesPartly = 0.85;  // jitter moves so much from one round to the next
constexpr double kArrivesHalf = 0.6;     // or so
constexpr double kUsed = 0.9;            // of the rate: QUIC's controller lets us send so much
constexpr double kPacketSize = 1200;
constexpr int kDrainRounds = 2;
constexpr int kDrainRoundsMax = 8;
constexpr uint32_t kRoundsSure = 8;    // that a delay is a queue, although all arrives as fast
constexpr int64_t kNoiseRounds = 200;  // noise is forgotten within as many
constexpr int64_t kTargetGrowth = 32;  // by one part of so many with each probe that fits
constexpr Duration kOpenAfter = 10s;
constexpr double kBurstTime = 0.002;
constexpr double kBurstMin = 12'000;

// Of what was made at a higher rate no more is to be paid back.
double debt_max(double rate) { return std::max(kBurstMin, rate * 0.05); }

double ratio(Duration a, Duration b) {
  return static_cast<double>(a.count()) / static_cast<double>(b.count());
}

Duration share_of(Duration whole, double share) {
  return Duration(static_cast<int64_t>(static_cast<double>(whole.count()) * share));
}

}  // namespace

std::optional<double> RateController::rate() const {
  switch (state_) {
    case State::Open:
      return open_limit_;
    case State::Drain:
      return std::max(kRateMin, bandwidth_ * (1 - drain_excess_));
    case State::Cruise:
      return std::max(kRateMin, bandwidth_ * kCruiseGain);
    case State::Probe:
      return std::max(kRateMin, bandwidth_ * (1 + probe_excess_));
  }
  std::unreachable();
}

void RateController::enter(Instant now, State state) {
  if (state == State::Drain && state_ != State::Drain) drained_from_ = state_;
  state_ = state;
  state_since_ = now;
  round_bytes_ = 0;
  round_span_ = {};
  limited_in_round_ = false;
  backlogged_in_round_ = true;
  rounds_over_ = 0;
  if (state == State::Probe) queue_at_probe_ = queue_;
  if (state == State::Drain) {
    queue_at_drain_ = queue_;
    drain_excess_ = std::clamp(ratio(queue_ - noise_, round()), kDrainExcessMin, kDrainExcessMax);
    evidence_ = Evidence::Delay;
    queue_came_out_ = false;
  }
}

void RateController::on_sample(Instant now, const Sample& sample) {
  base_.add(now, sample.delay_min);
  queue_ = sample.delay_min - base_.low(now).value_or(sample.delay_min);
  rtt_ = sample.rtt;
  round_bytes_ += sample.delivered;
  round_span_ += sample.span;
  limited_in_round_ |= sample.limited;
  backlogged_in_round_ &= sample.backlogged;
  if (sample.limited) limited_at_ = now;
  queues_.add(now, queue_);
  if (sample.overloaded && state_ != State::Drain) {
    target_ =
        std::clamp(queues_.high(now).value_or(queue_) * 3 / 5, queue_target_ / 5, queue_target_);
    bandwidth_ = arrivals_.high(now).value_or(bandwidth_);
    enter(now, State::Drain);
    evidence_ = Evidence::Overflow;
    proven_ = bandwidth_;
    return;
  }
  sent_.mark(now);
  if (round_span_ < round() * 3 / 4) return;

  // What arrived within this part of a round.
  const double seconds = static_cast<double>(round_span_.count()) * 1e-9;
  arrived_ = static_cast<double>(round_bytes_) / seconds;
  offered_bytes_ = sent_.between(now - rtt_ - round_span_, now - rtt_);
  offered_ = offered_bytes_ / seconds;
  grows_ = arrived_ > arrivals_.high(now).value_or(0) * kGrowth;
  arrivals_.add(now, arrived_);
  carried_.add(now, arrived_);
  open_limit_.reset();
  if (sample.realtime) open_limit_ = std::max(kOpenRateMin, *carried_.high(now) * kOpenGain);
  const bool limited = limited_in_round_;
  const bool backlogged = backlogged_in_round_;
  round_bytes_ = 0;
  round_span_ = {};
  limited_in_round_ = false;
  backlogged_in_round_ = true;
  rounds_over_ = queue_ > threshold() ? rounds_over_ + 1 : 0;
  rounds_far_less_ = arrived_ < offered_ * kArrivesHalf ? rounds_far_less_ + 1 : 0;
  noise_ -= std::max(noise_ / kNoiseRounds, (noise_ - queue_) / 4);
  on_round(now, limited, backlogged);
}

// The share that chance and jitter move from one round to the next: of few packets much.
double RateController::by_chance() const {
  return 1 / std::sqrt(std::max(1.0, offered_bytes_ / kPacketSize));
}

bool RateController::arrives_less() const {
  return arrived_ < offered_ * (kArrivesWhole - by_chance());
}

// A queue of ours grows by as much as we send too much, in slow start half of the time and more;
// the path's own delay walks far slower.
bool RateController::rises(Instant now) {
  return queue_ - queues_.low(now).value_or(queue_) > target_ * 3 / 2;
}

// Half of what the drain was to take by now, at least.
bool RateController::falls_as_drained(Instant now) const {
  const Duration drained = share_of(now - state_since_, drain_excess_);
  return queue_at_drain_ - queue_ >= std::min(queue_at_drain_ - noise_, drained) / 2;
}

// What a probe makes of a full path in its round and a half is a queue as long as its excess; the
// path's own delay may move by some of that.
bool RateController::built_up() const {
  constexpr double kShare = 0.4;
  return queue_ - queue_at_probe_ >
         std::max(target_ / 2, share_of(round() * 3 / 2, kShare * probe_excess_));
}

// With as little above the known rate as makes a queue of the target's length until it is seen.
void RateController::begin_probe(Instant now) {
  probe_excess_ = std::clamp(ratio(target_, round() * 3 / 2), kProbeExcessMin, kProbeExcessMax);
  enter(now, State::Probe);
}

bool RateController::comes_from_queue() const {
  return arrived_ > offered_ * (kComesFromQueue + by_chance() / 2);
}

// A delay out of which nothing came was the path's own, and what was taken for the path's rate is
// only what we had sent.
bool RateController::take_false_alarm(Instant now) {
  if (evidence_ == Evidence::Overflow || queue_came_out_) return false;
  if (proven_ > 0 && proven_ < bandwidth_ * 1.1) return false;
  if (proven_ > 0) {
    bandwidth_ = proven_;
    enter(now, State::Cruise);
  } else {
    enter(now, State::Open);
  }
  return true;
}

// As long as it was to take, and the queue is still there.
void RateController::on_drained(Instant now) {
  const bool overflowed = evidence_ == Evidence::Overflow;
  const bool falls = queue_ <= queue_at_drain_ - target_ / 3;
  if (!overflowed && falls && arrives_less()) {
    // It falls, and not far enough: others use the path too, or it has become slower.
    bandwidth_ = std::min(bandwidth_, std::max(arrived_, bandwidth_ * 0.5));
    enter(now, State::Drain);
    return;
  }
  // What is left is the path's own. Where it does not fall it was no queue of ours: the rate was
  // not found yet, or may be too low now, which is found out at once.
  if (!arrives_less()) noise_ = queue_;
  if (take_false_alarm(now)) return;
  if (overflowed || falls) {
    enter(now, State::Cruise);
  } else if (drained_from_ == State::Open) {
    enter(now, State::Open);
  } else {
    begin_probe(now);
  }
}

void RateController::on_round(Instant now, bool limited, bool backlogged) {
  if (state_ != State::Open && rounds_far_less_ >= 2 && queue_ > target_) {
    // The path has become much slower, and what counts as its rate is from before.
    bandwidth_ = arrived_;
    rounds_far_less_ = 0;
    enter(now, State::Drain);
    return;
  }
  switch (state_) {
    case State::Open:
      bandwidth_ = std::max(arrived_, bandwidth_ * 0.9);
      if (!backlogged) rounds_over_ = 0;
      if (!grows_ && (rounds_over_ >= kRoundsSure || (rounds_over_ >= 2 && rises(now)))) {
        // Jitter makes arrivals come in lumps: one round may show too little.
        bandwidth_ = arrivals_.high(now).value_or(arrived_);
        enter(now, State::Drain);
      }
      break;
    case State::Drain:
      if (comes_from_queue() && falls_as_drained(now)) {
        queue_came_out_ = true;
        proven_ = arrived_;
      }
      if (queue_ <= noise_ + target_ / 3) {
        if (!take_false_alarm(now)) enter(now, State::Cruise);
      } else if (now - state_since_ > kDrainRoundsMax * round() ||
                 (now - state_since_ > kDrainRounds * round() &&
                  arrived_ < offered_ * kComesFromQueue)) {
        on_drained(now);
      }
      break;
    case State::Cruise:
      if (rounds_over_ >= 2 && limited) {
        // The path has become slower, or others use it too.
        if (arrives_less()) bandwidth_ = std::min(bandwidth_, std::max(arrived_, bandwidth_ * 0.3));
        enter(now, State::Drain);
      } else if (now - limited_at_ > kOpenAfter) {
        enter(now, State::Open);
      } else if (limited && now - state_since_ > std::max(probe_every_, 3 * round())) {
        begin_probe(now);
      }
      break;
    case State::Probe: {
      if (now - state_since_ < round() + round() / 2) break;
      const bool full = built_up();
      if (full) {
        if (limited && arrived_ > bandwidth_ * 0.5) {
          bandwidth_ = std::max(arrived_, bandwidth_ * 0.9);
        }
      } else if (limited && offered_ > bandwidth_ * kUsed && arrived_ > offered_ * kArrivesPartly) {
        bandwidth_ *= 1 + probe_excess_ / 2;
        target_ = std::min(target_ + target_ / kTargetGrowth, queue_target_);
        if (arrived_ > std::min(bandwidth_, offered_ * kArrivesAll)) {
          probe_excess_ = std::min(2 * probe_excess_, 1.0);
          probe_every_ = kProbeEveryMin;
          enter(now, State::Probe);
          break;
        }
      }
      probe_every_ = std::min(probe_every_ * 3 / 2, kProbeEveryMax);
      enter(now, full ? State::Drain : State::Cruise);
      break;
    }
  }
}

void RateController::refill(Instant now) {
  const auto limit = rate();
  if (!limit) return;
  const double burst = std::max(kBurstMin, *limit * kBurstTime);
  const double passed = static_cast<double>((now - filled_at_).count()) * 1e-9;
  bucket_ = std::min(burst, std::max(bucket_, -debt_max(*limit)) + passed * *limit);
  filled_at_ = now;
}

bool RateController::may_send(Instant now) {
  if (!rate()) return true;
  refill(now);
  return bucket_ > 0;
}

void RateController::on_sent(Instant now, size_t bytes) {
  sent_.on_sent(bytes);
  if (!rate()) return;
  refill(now);
  bucket_ -= static_cast<double>(bytes);
  // What is not to be refused (repairs, real time, acknowledgements) goes into debt, within limits.
  bucket_ = std::max(bucket_, -debt_max(*rate()));
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
