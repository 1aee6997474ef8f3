// SPDX-License-Identifier: Apache-2.0
// The path layer between QUIC and UDP (docs/wire.md): coding, order and measurement of whole QUIC
// packets, for one connection. It exists once both ends have agreed (path_offer.h); before and
// without it QUIC packets travel as they are, and those that do (handshakes, probes of the path,
// other paths) always may.
//
//   on_packet      path packet -> QUIC packets in order, to the sink
//   wrap           QUIC packet -> path packet, in place
//   poll_transmit  repairs, packets asked for again, reports
//   may_send       the shaper's word for bulk
//   next_timeout / on_timeout: holds, repairs, reports, the shaper
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "core/path/path_receiver.h"
#include "core/path/path_sender.h"
#include "core/path/rate_controller.h"
#include "core/path/redundancy.h"
#include "core/path/replay_window.h"

namespace masque {

// For `status`: each class as the peer reports it of what we sent, and as we see what came.
struct PathClassFigures {
  uint64_t sources_sent = 0, repairs_sent = 0, resent = 0;
  uint64_t bytes_sent = 0, repair_bytes_sent = 0;
  double loss_sent = 0;  // on the wire, recent, as the peer reports it
  uint64_t settled = 0, lost = 0, recovered = 0, abandoned = 0;  // of what we received
  uint64_t delivered = 0, late = 0;
  PathReport::PerClass at_peer;  // the same of what we sent, by its last report
};
struct PathFigures {
  ResilienceMode mode = ResilienceMode::Off;
  ErasureCode code = ErasureCode::SlidingWindow;
  std::array<PathClassFigures, kTrafficClasses> classes;
  PathReceiverCounters received;
  double mean_burst = 1;
  Duration rtt{};
  Duration queue{};            // of the bottleneck, as far as it is ours to see
  std::optional<double> rate;  // bytes per second that the shaper allows; nullopt: unlimited
  Duration hold{};
  Duration delay_spread{};
};

class PathLayer {
 public:
  struct Keys {
    std::unique_ptr<PathProtection> send;
    std::unique_ptr<PathProtection> receive;
  };

  // `rtt`: as QUIC has measured it so far; zero: not yet.
  PathLayer(const PathSettings& settings, Keys keys, Duration rtt = {});

  // Of the repairs from now on. Before the first packet.
  void use_code(ErasureCode code);

  // Our connection IDs that the peer may use; each answers with the one of its path packets.
  PathId add_connection_id(Bytes connection_id);
  std::optional<PathId> remove_connection_id(Bytes connection_id);

  // The datagram, as it is, is for one of the connection IDs added here.
  bool knows(Bytes datagram) const;
  // False: not a path packet, it is QUIC's as it is.
  bool on_packet(Instant now, const PathArrival& arrival, MutableBytes packet,
                 QuicPacketSink& sink);
  void wrap(Instant now, TrafficClass traffic_class, MutableBytes room, size_t length);
  // One packet that is due, its size; 0: nothing.
  size_t poll_transmit(Instant now, MutableBytes room);
  // False: the path is full, keep the packet. Real time is never refused.
  bool may_send(Instant now, TrafficClass traffic_class);
  // The shaper does not know the path's rate yet, and does not limit bulk by one.
  bool searching() const { return controller_.state() == RateController::State::Open; }
  // QUIC's own controller refused a packet.
  void on_blocked() { blocked_ = true; }

  // Paused: poll_transmit will not be called, so that nothing waits for it.
  enum class Sending : uint8_t { Allowed, Paused };
  std::optional<Instant> next_timeout(Instant now, Sending sending);
  void on_timeout(Instant now, QuicPacketSink& sink);

  PathFigures figures(Instant now);
  const PathSettings& settings() const { return settings_; }

 private:
  struct OwnId {
    PathId quic;
    PathId path;
  };
  const OwnId* find(Bytes datagram) const;
  void on_report(Instant now, const PathReport& report);
  void on_request(const PathRequest& request);
  void adapt(Instant now);

  PathSettings settings_;
  Keys keys_;
  std::vector<OwnId> own_ids_;
  PathReceiver receiver_;
  PathSender sender_;
  RateController controller_;
  std::array<LossEstimate, kTrafficClasses> loss_;
  LossEstimate loss_of_all_;
  RepairWorth bulk_worth_;
  std::optional<PathReport> last_report_;
  StampDifference report_delay_;
  Duration rtt_{};
  ReplayWindow requests_;
  std::optional<PathRequest> to_resend_;
  size_t resent_ = 0;
  bool refused_ = false;
  bool blocked_ = false;  // since the last report
  // How many packets of each class go a second.
  struct Pace {
    uint64_t sources = 0;
    Instant since{};
    double per_second = 0;
  };
  std::array<Pace, kTrafficClasses> paces_;
  Instant adapted_at_{};
  uint8_t noise_ = 0;
};

}  // namespace masque
