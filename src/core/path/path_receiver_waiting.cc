// SPDX-License-Identifier: Apache-2.0
// How long is waited for what is missing, what is asked for again, and what the peer is told.
#include <algorithm>

#include "core/path/path_receiver.h"

namespace masque {

namespace {

constexpr Duration kHoldFirst = 25ms;  // before anything is known of repairs
constexpr Duration kHoldForRepairsMax = 120ms;
constexpr Duration kCodedRecently = 2s;  // so long after the last repair others are expected
// Above it the answer is too late for the order, and all that comes after a hole would wait for it.
constexpr Duration kRequestRttMax = 250ms;

}  // namespace

Duration PathReceiver::delay_spread(Instant now) {
  const auto low = delays_.low(now);
  const auto high = delays_.high(now);
  return low && high ? *high - *low : Duration::zero();
}

PathReceiver::Asking PathReceiver::asking(Instant now) const {
  const bool kept = coded_at_ && now - *coded_at_ < kCodedRecently;
  if (!kept || rtt_ == Duration::zero()) return Asking::Never;
  return rtt_ <= kRequestRttMax ? Asking::InTime : Asking::Late;
}

Duration PathReceiver::request_wait(Instant now) { return delay_spread(now) + kHoldMargin / 2; }

Duration PathReceiver::hold_limit(Instant now) {
  const bool repairs = coded_at_ && now - *coded_at_ < kCodedRecently;
  const Duration recovery =
      repairs ? recovery_times_.high(now).value_or(kHoldFirst) : Duration::zero();
  const Duration spread = delay_spread(now);
  // Where a queue overflows both grow, and what is missing does not come.
  Duration limit = std::min(std::max(spread + spread / 4, recovery + recovery / 4) + kHoldMargin,
                            kHoldForRepairsMax);
  if (asking(now) == Asking::InTime) {
    limit = std::max(limit, request_wait(now) + rtt_ + rtt_ / 4 + kHoldMargin);
  }
  return std::min(limit, settings_.hold_max);
}

// When the hole at the head of the order is given up.
Instant PathReceiver::hole_deadline(Instant now) {
  Instant deadline = entry(next_).known_at + hold_limit(now);
  if (held_realtime_ == 0) return deadline;
  // A real-time packet goes when its slowest sibling would have come: waiting so long costs it
  // nothing, because it is released at a time of its own.
  size_t seen = 0;
  for (uint64_t s = next_ + 1; s < highest_ && seen < held_realtime_; ++s) {
    const Entry& its = entry(s);
    if (its.state != State::Held) continue;
    const Slot& slot = slots_[its.slot];
    if (slot.origin.traffic_class != TrafficClass::RealTime) continue;
    ++seen;
    deadline = std::min(deadline, slot.deadline);
  }
  return deadline;
}

std::optional<Instant> PathReceiver::next_timeout(Instant now) {
  if (next_ >= highest_) return std::nullopt;
  return hole_deadline(now);
}

// The first that is missing and was not asked for.
std::optional<uint64_t> PathReceiver::next_to_ask(Instant now) {
  const Asking when = asking(now);
  if (when == Asking::Never || requests_left_ < 1) return std::nullopt;
  const uint64_t oldest = highest_ > kOrderWindow ? highest_ - kOrderWindow : 0;
  asked_ = std::max(asked_, oldest);
  const uint64_t end = when == Asking::InTime ? highest_ : next_;
  for (; asked_ < end; ++asked_) {
    if (is_missing(asked_) && !entry(asked_).requested) return asked_;
  }
  return std::nullopt;
}

bool PathReceiver::is_missing(uint64_t sequence) {
  if (sequence + kOrderWindow <= highest_) return false;  // nobody remembers
  const State state = entry(sequence).state;
  return state == State::Missing || state == State::PassedOver;
}

// So long an answer takes, asking included.
Duration PathReceiver::answer_wait(Instant now) { return request_wait(now) + rtt_ + rtt_ / 4; }

std::optional<Instant> PathReceiver::next_request(Instant now) {
  if (asking(now) == Asking::Never || requests_left_ < 1) return std::nullopt;
  std::optional<Instant> again;
  if (!awaited_.empty()) {  // this runs for every packet
    again = awaited_.next_due(answer_wait(now), [this](uint64_t one) { return is_missing(one); });
  }
  const auto sequence = next_to_ask(now);
  if (!sequence) return again;
  return earlier(entry(*sequence).known_at + request_wait(now), again);
}

void PathReceiver::on_timeout(Instant now, QuicPacketSink& sink) {
  drain(now, sink);
  settle(now);
}

bool PathReceiver::report_due(Instant now) const {
  if (!heard_since_report_) return false;
  // Often enough to act within a round trip, and never more than a few percent of what comes.
  constexpr Duration kFastest = 10ms;
  constexpr Duration kSlowest = 40ms;
  constexpr Duration kRarest = 300ms;
  constexpr uint64_t kBytesPerReport = 3000;
  constexpr uint64_t kBytesAtLeast = 600;  // a keep-alive now and then needs no report
  const Duration waited = now - reported_at_;
  if (waited < std::clamp(rtt_ / 4, kFastest, kSlowest)) return false;
  const uint64_t bytes = report_.received_bytes - bytes_at_report_;
  return bytes >= kBytesPerReport || (waited >= kRarest && bytes >= kBytesAtLeast);
}

PathReport PathReceiver::make_report(Instant now) {
  settle(now);
  ++report_.number;
  report_.highest = highest_;
  report_.clock_us = to_ns(newest_at_) / 1000;
  report_.echo_delay_us = static_cast<uint64_t>((now - newest_at_) / 1us);
  const auto modulo = [](Duration delay) {
    return static_cast<uint32_t>(delay / PathStamp::kUnit) & (PathStamp::kModulus - 1);
  };
  report_.delay_min = modulo(report_delay_min_.value_or(Duration::zero()));
  report_.delay_max = modulo(report_delay_max_.value_or(Duration::zero()));
  report_delay_min_.reset();
  report_delay_max_.reset();
  heard_since_report_ = false;
  reported_at_ = now;
  bytes_at_report_ = report_.received_bytes;
  return report_;
}

std::optional<PathRequest> PathReceiver::make_request(Instant now) {
  const auto due = next_request(now);
  if (!due || *due > now) return std::nullopt;
  const Duration wait = request_wait(now);
  PathRequest request{.number = ++requests_made_};
  uint64_t from = 0;
  while (request.count < PathRequest::kSequencesMax && requests_left_ >= 1) {
    const auto sequence = awaited_.ask_again(now, answer_wait(now), from);
    if (!sequence) break;
    requests_left_ -= 1;
    request.sequences[request.count++] = *sequence;
    from = *sequence + 1;
  }
  while (request.count < PathRequest::kSequencesMax) {
    const auto sequence = next_to_ask(now);
    if (!sequence || entry(*sequence).known_at + wait > now) break;  // later ones: known later
    entry(*sequence).requested = true;
    awaited_.on_asked(now, *sequence);
    requests_left_ -= 1;
    request.sequences[request.count++] = *sequence;
  }
  if (request.count == 0) return std::nullopt;
  return request;
}

}  // namespace masque
