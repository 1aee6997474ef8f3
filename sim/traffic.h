// SPDX-License-Identifier: Apache-2.0
// Programs inside the tunnels: ping, a constant stream of datagrams, and a transfer that must
// arrive whole. Each keeps the figures that scenarios judge by.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "sim/inner.h"

namespace masque {

struct FlowFigures {
  uint64_t sent = 0;
  uint64_t arrived = 0;  // replies, for a ping
  uint64_t bytes_arrived = 0;
  std::optional<Instant> first_arrival;
  std::optional<Instant> last_arrival;
  Duration gap_max{};  // longest silence between two arrivals
  Duration delay_max{};
  std::vector<Duration> delays;

  void on_arrival(Instant now, Instant sent_at, size_t bytes);
  Duration delay_percentile(double share) const;
  double loss() const {
    return sent == 0 ? 0 : 1.0 - static_cast<double>(arrived) / static_cast<double>(sent);
  }
};

struct FlowOptions {
  Duration interval = 100ms;
  size_t packet_size = 100;
  uint16_t port = 9;  // of datagrams: another one is another flow to the tunnel
  IpVersion version = IpVersion::V4;
  // Fixed source instead of the node's own address: spoofing.
  std::optional<IpAddress> source;
  PacketLedger::Fate fate = PacketLedger::Fate::MayArrive;
};

// Sends while it exists or until stop(). The destination may be asked anew for each packet, because
// addresses change in the life of a tunnel; nullopt: this one is left out.
class Flow {
 public:
  enum class Kind : uint8_t { Ping, Datagrams };
  using Destination = std::function<std::optional<IpAddress>()>;

  Flow(World& world, PacketLedger& ledger, Kind kind, InnerNode& from, Destination to,
       FlowOptions options);
  ~Flow();
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  void stop() { *alive_ = false; }
  void set_fate(PacketLedger::Fate fate) { options_.fate = fate; }
  void set_packet_size(size_t size) { options_.packet_size = size; }
  const FlowFigures& figures() const { return figures_; }
  // Figures from here on.
  void restart_figures() {
    figures_ = {};
    counted_from_ = sequence_;
  }
  uint64_t arrived() const { return figures_.arrived; }
  uint64_t sent() const { return figures_.sent; }

 private:
  void send_one();

  World& world_;
  PacketLedger& ledger_;
  Kind kind_;
  InnerNode& from_;
  Destination to_;
  FlowOptions options_;
  uint16_t flow_ = 0;
  uint32_t sequence_ = 0;
  uint32_t counted_from_ = 0;
  std::vector<Instant> sent_at_;
  FlowFigures figures_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// A reliable transfer of `bytes`: a window with additive increase and halving, selective
// acknowledgements, path MTU by ICMP: a small likeness of TCP.
class Transfer {
 public:
  struct Options {
    uint64_t bytes = 100'000;
    IpVersion version = IpVersion::V4;
    size_t packet_size = 1400;  // first guess; Packet Too Big lowers it
    uint32_t window_max = 256;
  };

  Transfer(World& world, PacketLedger& ledger, InnerNode& from, InnerNode& to, Options options);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  bool done() const { return next_needed_ == total_; }
  uint64_t segments_done() const { return received_count_; }
  Duration stall_max() const {
    return stall_max_;
  }  // longest time without progress at the receiver
  std::optional<Instant> finished_at() const { return finished_at_; }
  uint64_t retransmissions() const { return retransmissions_; }

 private:
  struct Outstanding {
    uint32_t segment;
    uint32_t sequence;
    Instant sent_at;
  };
  void pump();
  void send_segment(uint32_t segment);
  void on_data(const IpPacketView& view, Bytes packet);
  void on_acknowledgement(Bytes packet);
  void on_tick();
  void lose(size_t index);

  World& world_;
  PacketLedger& ledger_;
  InnerNode& from_;
  InnerNode& to_;
  Options options_;
  uint16_t data_flow_ = 0, ack_flow_ = 0;
  uint32_t data_sequence_ = 0, ack_sequence_ = 0;
  uint32_t total_ = 0;
  // sender
  uint32_t next_segment_ = 0;
  std::vector<Outstanding> outstanding_;
  std::vector<uint32_t> again_;
  std::vector<bool> acknowledged_;
  double window_ = 10;
  double threshold_ = 1e9;
  Duration smoothed_{200ms};
  Instant halved_at_{};
  uint64_t retransmissions_ = 0;
  // receiver
  std::vector<bool> have_;
  uint32_t next_needed_ = 0;
  uint32_t received_count_ = 0;
  Instant progress_at_{};
  Duration stall_max_{};
  std::optional<Instant> finished_at_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace masque
