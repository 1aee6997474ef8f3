// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_layer.h"

#include <algorithm>
#include <cstring>

#include "base/mutant.h"

namespace masque {

namespace {

constexpr double kSparseRate = 120;  // real-time packets a second, up to which each gets its own
constexpr Duration kRealtimeReach = 40ms;  // repairs later than this would come too late
constexpr Duration kBulkReach = 60ms;
constexpr Duration kAdaptEvery = 100ms;
constexpr double kBursty = 1.4;

}  // namespace

PathLayer::PathLayer(const PathSettings& settings, Keys keys, Duration rtt)
    : settings_(settings),
      keys_(std::move(keys)),
      receiver_(settings, *keys_.receive),
      sender_(settings, *keys_.send),
      controller_(settings.queue_target),
      rtt_(rtt) {
  receiver_.set_rtt(rtt);
}

void PathLayer::use_code(ErasureCode code) {
  settings_.code = code;
  sender_.use_code(code);
}

PathId PathLayer::add_connection_id(Bytes connection_id) {
  OwnId own;
  std::ranges::copy(connection_id.first(kPathIdLength), own.quic.begin());
  own.path = path_id_of(*keys_.receive, connection_id);
  own_ids_.push_back(own);
  return own.path;
}

std::optional<PathId> PathLayer::remove_connection_id(Bytes connection_id) {
  for (size_t i = 0; i < own_ids_.size(); ++i) {
    if (!std::ranges::equal(own_ids_[i].quic, connection_id)) continue;
    const PathId path = own_ids_[i].path;
    own_ids_.erase(own_ids_.begin() + static_cast<ptrdiff_t>(i));
    return path;
  }
  return std::nullopt;
}

// A few at most: the peer has as many of our connection IDs as QUIC lets it.
const PathLayer::OwnId* PathLayer::find(Bytes datagram) const {
  if (datagram.size() <= kPathPrefixSize || (datagram[0] & 0x80) != 0) return nullptr;
  const Bytes id = datagram.subspan(1, kPathIdLength);
  for (const OwnId& own : own_ids_) {
    if (std::memcmp(own.path.data(), id.data(), kPathIdLength) == 0) return &own;
  }
  return nullptr;
}

bool PathLayer::knows(Bytes datagram) const {
  return datagram.size() > kPathPrefixSize && std::ranges::any_of(own_ids_, [&](const OwnId& own) {
           return std::ranges::equal(own.quic, datagram.subspan(1, kPathIdLength));
         });
}

bool PathLayer::on_packet(Instant now, const PathArrival& arrival, MutableBytes packet,
                          QuicPacketSink& sink) {
  const OwnId* own = find(packet);
  if (own == nullptr) return false;
  const PathId connection_id = own->quic;  // what QUIC reads may retire it
  const auto message = receiver_.on_packet(now, arrival, packet, connection_id, sink);
  if (!message) return true;
  if (const auto* report = std::get_if<PathReport>(&*message)) {
    on_report(now, *report);
  } else {
    on_request(std::get<PathRequest>(*message));
  }
  return true;
}

void PathLayer::wrap(Instant now, TrafficClass traffic_class, MutableBytes room, size_t length) {
  adapt(now);  // the first packet, too, is coded
  sender_.wrap(now, traffic_class, room, length);
  controller_.on_sent(now, length + kPathHeaderSize);
  ++paces_[static_cast<size_t>(traffic_class)].sources;
}

bool PathLayer::may_send(Instant now, TrafficClass traffic_class) {
  if (traffic_class == TrafficClass::RealTime || settings_.shaper == PathSettings::Shaper::Off)
    return true;
  if (controller_.may_send(now)) return true;
  controller_.on_refused();
  refused_ = true;
  return false;
}

size_t PathLayer::poll_transmit(Instant now, MutableBytes room) {
  while (to_resend_) {
    const uint64_t sequence = to_resend_->sequences[resent_++];
    if (resent_ >= to_resend_->count) to_resend_.reset();
    if (const size_t size = sender_.resend(now, sequence, room); size > 0) {
      controller_.on_sent(now, size);
      return size;
    }
  }
  if (const size_t size = sender_.poll_repair(now, room); size > 0) {
    controller_.on_sent(now, size);
    return size;
  }
  std::optional<PathMessage> message;
  if (receiver_.report_due(now)) {
    message = receiver_.make_report(now);
  } else if (const auto request = receiver_.make_request(now)) {
    message = *request;
  }
  if (!message) return 0;
  std::array<uint8_t, kPathMessageMax> plain;
  const size_t size = write_path_message(*message, plain);
  noise_ = static_cast<uint8_t>(noise_ * 5 + 0x2d);
  return sender_.write_control(now, Bytes(plain).first(size), room, noise_);
}

std::optional<Instant> PathLayer::next_timeout(Instant now, Sending sending) {
  auto out = receiver_.next_timeout(now);
  if (sending == Sending::Allowed) {
    out = earlier(out, earlier(sender_.next_timeout(), receiver_.next_request(now)));
  }
  if (refused_) out = earlier(out, controller_.next_send(now));
  return out;
}

void PathLayer::on_timeout(Instant now, QuicPacketSink& sink) {
  refused_ = false;
  receiver_.on_timeout(now, sink);
}

void PathLayer::on_report(Instant now, const PathReport& report) {
  if (last_report_ && report.number <= last_report_->number && !mutant("path.report.replay.remove"))
    return;  // overtaken
  const uint32_t since_echo = (PathStamp::of(now) - report.echo_stamp) & (PathStamp::kModulus - 1);
  const Duration round_trip =
      std::max(PathStamp::kUnit * since_echo -
                   Duration(1us) *
                       static_cast<int64_t>(std::min(report.echo_delay_us, uint64_t{30'000'000})),
               PathStamp::kUnit);
  rtt_ = rtt_ == Duration::zero() ? round_trip : (rtt_ * 7 + round_trip) / 8;
  receiver_.set_rtt(rtt_);

  PathReport::PerClass all;
  for (size_t i = 0; i < kTrafficClasses; ++i) {
    loss_[i].on_figures(now, report.classes[i]);
    all.settled += report.classes[i].settled;
    all.lost += report.classes[i].lost;
    all.loss_events += report.classes[i].loss_events;
  }
  loss_of_all_.on_figures(now, all);
  bulk_worth_.on_figures(now, report.classes[static_cast<size_t>(TrafficClass::Bulk)]);
  const Duration delay_min = report_delay_.unwrap(report.delay_min);
  if (last_report_ && report.clock_us > last_report_->clock_us &&
      report.received_bytes >= last_report_->received_bytes) {
    const bool limited = controller_.take_refused();
    controller_.on_sample(
        now,
        {.rtt = rtt_,
         .delay_min = delay_min,
         .delivered = report.received_bytes - last_report_->received_bytes,
         .span = Duration(1us) * static_cast<int64_t>(report.clock_us - last_report_->clock_us),
         .limited = limited,
         .backlogged = std::exchange(blocked_, false) || limited,
         .overloaded = loss_of_all_.overloaded(),
         .realtime = paces_[static_cast<size_t>(TrafficClass::RealTime)].per_second > 1});
  }
  last_report_ = report;
  adapt(now);
}

void PathLayer::on_request(const PathRequest& request) {
  if (request.count == 0) return;
  if (!requests_.accept(request.number) && !mutant("path.request.replay.remove")) return;
  to_resend_ = request;
  resent_ = 0;
}

// The closed loop: what the link does to packets decides how much code each class gets.
void PathLayer::adapt(Instant now) {
  if (now - adapted_at_ < kAdaptEvery) return;
  for (Pace& pace : paces_) {
    if (pace.since != Instant{}) {
      const double span = static_cast<double>((now - pace.since).count()) * 1e-9;
      const double rate = static_cast<double>(pace.sources) / std::max(span, 1e-3);
      pace.per_second = rate > pace.per_second ? rate : (pace.per_second * 3 + rate) / 4;
    }
    pace.since = now;
    pace.sources = 0;
  }
  adapted_at_ = now;

  const double loss = loss_of_all_.expected();
  const double burst = loss_of_all_.mean_burst();
  const auto packets_within = [](const Pace& pace, Duration time) {
    return pace.per_second * static_cast<double>(time.count()) * 1e-9;
  };
  PathSender::Shares shares;
  const bool code_bulk =
      settings_.mode == ResilienceMode::Auto || settings_.mode == ResilienceMode::Bulk;
  const Pace& bulk = paces_[static_cast<size_t>(TrafficClass::Bulk)];
  if (code_bulk && !bulk_worth_.paused(now)) {
    const double window = std::clamp(packets_within(bulk, kBulkReach), 4.0, 200.0);
    shares.bulk = bulk_repair_share(loss, burst, window);
    shares.bulk_window = static_cast<size_t>(std::clamp(window * 1.25, 4.0, 255.0));
  }
  const bool code_realtime =
      settings_.mode == ResilienceMode::Auto || settings_.mode == ResilienceMode::Calls;
  if (code_realtime) {
    const Pace& calls = paces_[static_cast<size_t>(TrafficClass::RealTime)];
    const double window = std::clamp(packets_within(calls, kRealtimeReach), 1.0, 64.0);
    if (loss > 0) {
      if (calls.per_second <= kSparseRate) {
        shares.realtime = 1;
        shares.realtime_pattern = PathSender::Shares::Pattern::Spread;
        shares.spread_repairs = loss > 0.005 || burst > kBursty ? 2 : 1;
        shares.realtime_window = 4;
      } else {
        shares.realtime = bulk_repair_share(loss, burst, window);
        shares.realtime_pattern = PathSender::Shares::Pattern::Share;
        shares.realtime_window = static_cast<size_t>(std::clamp(window * 1.5, 4.0, 128.0));
      }
    }
  }
  sender_.set_shares(shares);
}

PathFigures PathLayer::figures(Instant now) {
  PathFigures out;
  for (size_t i = 0; i < kTrafficClasses; ++i) {
    const PathSenderCounters& sent = sender_.counters(static_cast<TrafficClass>(i));
    const PathReport::PerClass& seen = receiver_.figures().classes[i];
    const PathReceiverCounters::PerClass& counted = receiver_.counters().classes[i];
    out.classes[i] = {.sources_sent = sent.sources,
                      .repairs_sent = sent.repairs,
                      .resent = sent.resent,
                      .bytes_sent = sent.source_bytes,
                      .repair_bytes_sent = sent.repair_bytes,
                      .loss_sent = loss_[i].share(),
                      .settled = seen.settled,
                      .lost = seen.lost,
                      .recovered = seen.recovered,
                      .abandoned = seen.abandoned,
                      .delivered = counted.delivered,
                      .late = counted.late,
                      .at_peer = last_report_ ? last_report_->classes[i] : PathReport::PerClass{}};
  }
  out.mode = settings_.mode;
  out.code = settings_.code;
  out.received = receiver_.counters();
  out.mean_burst = loss_of_all_.mean_burst();
  out.rtt = rtt_;
  out.queue = controller_.queue();
  out.rate = controller_.rate();
  out.hold = receiver_.hold_limit(now);
  out.delay_spread = receiver_.delay_spread(now);
  return out;
}

}  // namespace masque
