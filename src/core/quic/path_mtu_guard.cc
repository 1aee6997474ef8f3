// SPDX-License-Identifier: Apache-2.0
#include "core/quic/path_mtu_guard.h"

#include <algorithm>

namespace masque {

size_t PathMtuGuard::class_of(size_t size) {
  return static_cast<size_t>(std::ranges::lower_bound(kSizes, size) - kSizes.begin());
}

void PathMtuGuard::on_path_limit(size_t limit) {
  if (limit < path_limit_) {
    // Another path: what was learned of the old one is void, the library searches anew.
    state_ = State::Trusting;
    evidence_ = {};
    suspicion_.reset();
    retry_after_ = kRetryFirst;
  }
  path_limit_ = limit;
}

void PathMtuGuard::on_acknowledged(size_t size) {
  // A larger packet came through: so do smaller ones.
  const size_t reached = class_of(size);
  for (size_t i = 0; i <= reached; ++i) evidence_[i].losses = 0;
  if (suspicion_ && size >= suspicion_->size) suspicion_.reset();
  if (state_ == State::Trusting || size <= confirmed_) return;
  confirmed_ = size;
  probe_sent_.reset();
  tries_ = 0;
  if (confirmed_ >= path_limit_) {
    state_ = State::Trusting;
    retry_after_ = kRetryFirst;
  } else if (state_ == State::Settled) {
    state_ = State::Searching;
  }
}

void PathMtuGuard::on_lost(Instant now, size_t size, Duration pto) {
  if (size <= kBase || size > limit()) return;  // a probe is expected to be lost
  Evidence& seen = evidence_[class_of(size)];
  if (seen.losses++ == 0) seen.since = now;
  if (state_ == State::Trusting && !suspicion_) {
    suspicion_ = {.size = size, .since = now};
    probe_sent_.reset();
    tries_ = 0;
  }
  // A loss is declared when something later came through, so the path is not dead; and two rounds
  // of it must have failed, because an outage that ends looks the same for one round.
  if (seen.losses >= kLossesMax && now - seen.since >= pto) begin_search();
}

void PathMtuGuard::begin_search() {
  ++black_holes_;
  evidence_ = {};
  suspicion_.reset();
  state_ = State::Searching;
  confirmed_ = kBase;
  probe_sent_.reset();
  tries_ = 0;
}

size_t PathMtuGuard::next_size() const {
  const auto above = std::ranges::upper_bound(kSizes, confirmed_);
  return above == kSizes.end() ? path_limit_ : std::min<size_t>(*above, path_limit_);
}

void PathMtuGuard::settle(Instant now) {
  state_ = State::Settled;
  tries_ = 0;
  retry_at_ = now + retry_after_;
  retry_after_ = std::min(2 * retry_after_, kRetryMax);
}

std::optional<size_t> PathMtuGuard::probe(Instant now, Duration pto, Instant heard) {
  if (state_ == State::Trusting && (!suspicion_ || now - suspicion_->since < pto))
    return std::nullopt;
  if (state_ == State::Settled) {
    if (now < retry_at_) return std::nullopt;
    state_ = State::Searching;
  }
  if (probe_sent_ && (now - *probe_sent_ < 2 * pto || heard <= *probe_sent_)) return std::nullopt;
  if (tries_ < kTriesMax) return state_ == State::Trusting ? suspicion_->size : next_size();
  if (state_ == State::Searching) {
    probe_sent_.reset();
    settle(now);
    return std::nullopt;
  }
  begin_search();
  return next_size();
}

std::optional<Instant> PathMtuGuard::next_timeout(Duration pto, Instant heard) const {
  if (state_ == State::Settled) return std::nullopt;  // the next packet will do
  if (state_ == State::Trusting && !suspicion_) return std::nullopt;
  if (probe_sent_ && heard <= *probe_sent_) return std::nullopt;  // what comes will ask
  if (probe_sent_) return *probe_sent_ + 2 * pto;
  return state_ == State::Trusting ? suspicion_->since + pto : Instant{};
}

void PathMtuGuard::on_probe_sent(Instant now) {
  probe_sent_ = now;
  ++tries_;
}

}  // namespace masque
