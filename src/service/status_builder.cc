// SPDX-License-Identifier: Apache-2.0
#include "service/status_builder.h"

namespace masque {

TrafficCounters traffic_of(const TunnelCounters& counters) {
  TrafficCounters out{.packets_sent = counters.packets_sent,
                      .bytes_sent = counters.bytes_sent,
                      .packets_received = counters.packets_received,
                      .bytes_received = counters.bytes_received,
                      .ipv6_probes_unanswered = counters.ipv6_probes_unanswered,
                      .drops = {}};
  for (size_t i = 0; i < kDropReasons; ++i) {
    if (counters.drops[i] == 0) continue;
    out.drops.push_back({.reason = std::string(to_string(static_cast<DropReason>(i))),
                         .packets = counters.drops[i]});
  }
  return out;
}

ClassesStatus classes_of(const SessionFigures& figures) {
  const ClassFigures& realtime = figures.of(TrafficClass::RealTime);
  const ClassFigures& bulk = figures.of(TrafficClass::Bulk);
  const EgressCounters& queue = figures.queue;
  return {.realtime = {.packets = realtime.classified,
                       .waiting_bytes = realtime.waiting_bytes,
                       .dropped = queue.realtime_dropped},
          .bulk = {.packets = bulk.classified,
                   .waiting_bytes = bulk.waiting_bytes,
                   .dropped = queue.dropped() - queue.realtime_dropped},
          .by_dscp = figures.classifier.by_dscp,
          .by_port = figures.classifier.by_port,
          .by_pace = figures.classifier.by_pace,
          .too_fast = figures.classifier.too_fast,
          .waiting_packets = figures.waiting_packets,
          .marked = queue.codel_marked,
          .codel_dropped = queue.codel_dropped,
          .expired = queue.expired,
          .overflow = queue.overflow};
}

namespace {

ResilienceStatus::Class class_of(const PathClassFigures& its, const ClassFigures& session) {
  return {.sent = its.sources_sent,
          .repairs_sent = its.repairs_sent,
          .resent = its.resent,
          .bytes_sent = its.bytes_sent,
          .repair_bytes_sent = its.repair_bytes_sent,
          .loss_sent = its.loss_sent,
          .received = its.settled,
          .lost = its.lost,
          .recovered = its.recovered,
          .abandoned = its.abandoned,
          .delivered = its.delivered,
          .late = its.late,
          .at_peer = {.received = its.at_peer.settled,
                      .lost = its.at_peer.lost,
                      .recovered = its.at_peer.recovered,
                      .abandoned = its.at_peer.abandoned},
          .jitter_before = session.jitter_before,
          .jitter_after = session.jitter_after};
}

ResilienceStatus resilience_of(const PathFigures& figures, const SessionFigures& session) {
  const auto of = [&](TrafficClass c) {
    return class_of(figures.classes[static_cast<size_t>(c)], session.of(c));
  };
  const ReleaseFigures& release = session.release;
  return {.mode = std::string(to_string(figures.mode)),
          .code = std::string(to_string(figures.code)),
          .realtime = of(TrafficClass::RealTime),
          .bulk = of(TrafficClass::Bulk),
          .release = {.target = release.target,
                      .added_mean = release.added_mean,
                      .packets = release.packets,
                      .late = release.late,
                      .early = release.early,
                      .waiting = session.release_waiting},
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

PathStatus path_of(HttpConnection* connection, const SessionFigures& session, Instant now) {
  auto* http3 = dynamic_cast<Http3Connection*>(connection);
  if (http3 == nullptr) return {};
  QuicConnection& quic = http3->quic();
  // Before, there are only the library's assumptions.
  if (!quic.handshake_completed()) return {};
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
          .resilience = figures ? std::optional(resilience_of(*figures, session)) : std::nullopt};
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
