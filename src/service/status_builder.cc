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

PathStatus path_of(HttpConnection* connection) {
  auto* http3 = dynamic_cast<Http3Connection*>(connection);
  if (http3 == nullptr) return {};
  QuicConnection& quic = http3->quic();
  const QuicStats stats = quic.stats();
  const std::string cipher = quic.cipher();
  const size_t space = cipher.find(' ');
  return {.transport = "h3",
          .peer = quic.path().remote.to_string(),
          .rtt = stats.smoothed_rtt,
          .udp_sent = stats.packets_sent,
          .udp_received = stats.packets_received,
          .udp_lost = stats.packets_lost,
          .congestion_window_bytes = stats.congestion_window,
          .cipher = cipher.substr(0, space),
          .key_exchange = space == std::string::npos ? "" : cipher.substr(space + 1)};
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
