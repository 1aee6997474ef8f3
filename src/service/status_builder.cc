// SPDX-License-Identifier: Apache-2.0
#include "service/status_builder.h"

namespace masque {

TrafficCounters traffic_of(const TunnelCounters& counters) {
  TrafficCounters out{.packets_sent = counters.packets_sent,
                      .bytes_sent = counters.bytes_sent,
                      .packets_received = counters.packets_received,
                      .bytes_received = counters.bytes_received,
                      .drops = {}};
  for (size_t i = 0; i < kDropReasons; ++i) {
    if (counters.drops[i] == 0) continue;
    out.drops.push_back({.reason = std::string(to_string(static_cast<DropReason>(i))),
                         .packets = counters.drops[i]});
  }
  return out;
}

namespace {

ResilienceStatus resilience_of(const PathFigures& figures) {
  const auto of = [&](TrafficClass c) {
    const PathClassFigures& its = figures.classes[static_cast<size_t>(c)];
    return ResilienceStatus::Class{.sent = its.sources_sent,
                                   .repairs_sent = its.repairs_sent,
                                   .resent = its.resent,
                                   .bytes_sent = its.bytes_sent,
                                   .repair_bytes_sent = its.repair_bytes_sent,
                                   .loss_sent = its.loss_sent,
                                   .received = its.settled,
                                   .lost = its.lost,
                                   .recovered = its.recovered,
                                   .abandoned = its.abandoned};
  };
  return {.realtime = of(TrafficClass::RealTime),
          .bulk = of(TrafficClass::Bulk),
          .late = figures.received.late,
          .duplicates = figures.received.duplicates,
          .damaged = figures.received.damaged,
          .forged = figures.received.forged,
          .mean_burst = figures.mean_burst,
          .rtt = figures.rtt,
          .queue = figures.queue,
          .hold = figures.hold,
          .delay_spread = figures.delay_spread,
          .rate = figures.rate};
}

}  // namespace

PathStatus path_of(HttpConnection* connection, Instant now) {
  auto* http3 = dynamic_cast<Http3Connection*>(connection);
  if (http3 == nullptr) return {};
  QuicConnection& quic = http3->quic();
  const QuicStats stats = quic.stats();
  const std::string cipher = quic.cipher();
  const size_t space = cipher.find(' ');
  const auto figures = connection->path_figures(now);
  return {.transport = "h3",
          .peer = quic.path().remote.to_string(),
          .rtt = stats.smoothed_rtt,
          .udp_sent = stats.packets_sent,
          .udp_received = stats.packets_received,
          .udp_lost = stats.packets_lost,
          .congestion_window_bytes = stats.congestion_window,
          .cipher = cipher.substr(0, space),
          .key_exchange = space == std::string::npos ? "" : cipher.substr(space + 1),
          .resilience = figures ? std::optional(resilience_of(*figures)) : std::nullopt};
}

CongestionControl congestion_control_of(CongestionChoice choice) {
  switch (choice) {
    case CongestionChoice::Cubic:
      return CongestionControl::Cubic;
    case CongestionChoice::Bbr:
      return CongestionControl::Bbr;
    case CongestionChoice::Reno:
      return CongestionControl::Reno;
  }
  std::unreachable();
}

std::string program_version() { return MASQUE_VERSION; }

}  // namespace masque
