// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/traffic_classifier.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace masque {
namespace {

constexpr int64_t kGain = 16;
constexpr Duration kRateWindow = 250ms;
// Shorter intervals are acknowledgements of a download, not media.
constexpr Duration kIntervalMin = 2ms;
// The network before us has its own jitter; a Poisson process deviates by 0.74 of its interval.
constexpr int64_t kDeviationPercent = 60;
constexpr Duration kDeviationSlack = 2ms;

bool has(uint64_t set, uint8_t dscp) { return (set >> (dscp & 63) & 1) != 0; }

bool has_pace(const IpPacketView& view) {
  return view.fragment == Fragment::Whole &&
         (view.protocol == ip_protocol::kUdp || view.protocol == ip_protocol::kEsp);
}

uint64_t bits_per_second(uint64_t bytes, Duration time) {
  const auto us = static_cast<uint64_t>(std::max<int64_t>(time.count() / 1000, 1));
  return bytes * 8 * 1'000'000 / us;
}

}  // namespace

TrafficClassifier::TrafficClassifier(ClassifierOptions options, FlowHash hash)
    : options_(std::move(options)), hash_(hash) {}

TrafficClass TrafficClassifier::classify(Instant now, const IpPacketView& view, Bytes head) {
  if (options_.mode == ClassifierOptions::Mode::AllBulk) return TrafficClass::Bulk;
  if (has(options_.bulk_dscp, view.dscp)) return TrafficClass::Bulk;
  const bool marked = has(options_.realtime_dscp, view.dscp);
  if (!marked && !has_pace(view)) return TrafficClass::Bulk;

  Flow& flow = find(now, hash_(view, head));
  observe(now, view.length, flow);
  const bool by_port = !marked && is_realtime_port(view, head);
  if (marked || by_port) {
    if (flow.too_fast) {
      ++counters_.too_fast;
      return TrafficClass::Bulk;
    }
    ++(marked ? counters_.by_dscp : counters_.by_port);
    return TrafficClass::RealTime;
  }
  judge(flow);
  if (flow.by_pace == TrafficClass::RealTime) ++counters_.by_pace;
  return flow.by_pace;
}

bool TrafficClassifier::is_realtime_port(const IpPacketView& view, Bytes head) const {
  if (options_.realtime_ports.empty() || view.protocol != ip_protocol::kUdp) return false;
  const FlowHash::Ports ports = ports_of(view, head);
  return std::ranges::any_of(options_.realtime_ports, [&](const auto& range) {
    return (ports.source >= range.first && ports.source <= range.last) ||
           (ports.destination >= range.first && ports.destination <= range.last);
  });
}

// Free ones first, then the longest idle; a live call only when the whole set is calls.
bool TrafficClassifier::is_better_victim(Instant now, const Flow& flow, const Flow& other) {
  const auto worth = [now](const Flow& f) {
    if (f.tag == 0) return 0;
    const bool is_call = f.by_pace == TrafficClass::RealTime && now - f.last_seen <= kForgetAfter;
    return is_call ? 2 : 1;
  };
  if (worth(flow) != worth(other)) return worth(flow) < worth(other);
  return flow.last_seen < other.last_seen;
}

TrafficClassifier::Flow& TrafficClassifier::find(Instant now, uint64_t hash) {
  if (!flows_) flows_ = std::make_unique<Flow[]>(kFlowsMax);
  const uint64_t tag = hash | 1;  // 0 marks a free entry
  Flow* const set = &flows_[(hash >> 32) % kSets * kWays];
  Flow* victim = set;
  for (Flow* flow = set; flow != set + kWays; ++flow) {
    if (flow->tag == tag) {
      if (now - flow->last_seen > kForgetAfter) *flow = {.tag = tag};
      return *flow;
    }
    if (is_better_victim(now, *flow, *victim)) victim = flow;
  }
  if (victim->tag != 0 && now - victim->last_seen <= kForgetAfter) ++counters_.flows_evicted;
  *victim = {.tag = tag};
  return *victim;
}

void TrafficClassifier::observe(Instant now, uint32_t size, Flow& flow) {
  if (flow.size_16ths == 0) {
    flow.size_16ths = size * 16;
    flow.window_start = now;
  } else {
    flow.size_16ths = flow.size_16ths - flow.size_16ths / 16 + size;
    const int64_t interval = (now - flow.last_seen).count();
    if (interval > options_.interval_max.count()) {
      // A pause says nothing about the pace of what was sent before and will be sent after it.
    } else if (flow.interval_ns == 0) {
      flow.interval_ns = std::max<int64_t>(interval, 1);
    } else {
      const int64_t distance = interval - flow.interval_ns;
      flow.interval_ns += distance / kGain;
      flow.deviation_ns += (std::abs(distance) - flow.deviation_ns) / kGain;
    }
  }
  flow.last_seen = now;
  if (now - flow.window_start >= kRateWindow) {
    const uint64_t rate = bits_per_second(flow.window_bytes, now - flow.window_start);
    flow.too_fast = rate > options_.marked_rate_max;
    flow.window_start = now;
    flow.window_bytes = 0;
  }
  flow.window_bytes += size;
}

bool TrafficClassifier::within_limits(const Flow& flow) const {
  const uint64_t size = flow.size_16ths / 16;
  return size <= options_.size_mean_max && flow.interval_ns >= kIntervalMin.count() &&
         bits_per_second(size, Duration(flow.interval_ns)) <= options_.realtime_rate_max &&
         flow.deviation_ns <= flow.interval_ns * kDeviationPercent / 100 + kDeviationSlack.count();
}

void TrafficClassifier::judge(Flow& flow) {
  const bool within = within_limits(flow);
  if (flow.by_pace == TrafficClass::RealTime) {
    flow.unsteady = within ? 0 : static_cast<uint16_t>(flow.unsteady + 1);
    if (flow.unsteady < kPacketsToDistrust) return;
    flow.by_pace = TrafficClass::Bulk;
    flow.steady = 0;
    return;
  }
  flow.steady = within ? static_cast<uint16_t>(flow.steady + 1) : uint16_t{0};
  if (flow.steady < kPacketsToTrust) return;
  flow.by_pace = TrafficClass::RealTime;
  flow.unsteady = 0;
}

}  // namespace masque
