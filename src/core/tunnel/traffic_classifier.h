// SPDX-License-Identifier: Apache-2.0
// Which class an inner packet belongs to, of its headers alone: the payload is never looked at and
// the packet never changed (inner DSCP and ECN stay as they are, RFC 9484 10).
//
//   1. DSCP   real time: EF 46 and VA 44 (voice; RFC 3246, 5865), CS5 40 (signalling), CS4 32
//             (interactive video, games) and AF41-AF43 34 36 38 (conferences), RFC 4594
//             bulk: LE 1 (RFC 8622) and CS1 8
//             A marked flow that takes more than `marked_rate_max` is bulk: a mark is a wish of the
//             sender, and what goes first must not take everything.
//   2. Ports  UDP from or to one of `realtime_ports`: real time, up to the same rate.
//   3. Pace   UDP and ESP: small packets at a regular, moderate pace, as calls and games send them.
//             TCP and everything else is bulk unless its DSCP says otherwise.
// Fragments have no ports and belong to large packets: rules 2 and 3 leave them in bulk.
//
// A flow becomes real time by its pace after kPacketsToTrust packets, and bulk again only when it
// has been outside the limits for a while: a change of class costs the order of a few packets.
// Pauses (silence in a call) change nothing until kForgetAfter. The table of flows is allocated
// once, when the first packet needs it; a new flow takes the place of the one in its set that was
// idle longest, but not that of a live call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/time.h"
#include "core/ip/packet.h"
#include "core/path/traffic_class.h"
#include "core/tunnel/flow_hash.h"

namespace masque {

struct ClassifierOptions {
  struct PortRange {
    uint16_t first = 0;
    uint16_t last = 0;  // inclusive
  };
  enum class Mode : uint8_t { Automatic, AllBulk };
  Mode mode = Mode::Automatic;
  std::vector<PortRange> realtime_ports;
  // A bit for each code point: 1 << 46 is EF.
  uint64_t realtime_dscp = uint64_t{1} << 46 | uint64_t{1} << 44 | uint64_t{1} << 40 |
                           uint64_t{1} << 32 | uint64_t{1} << 34 | uint64_t{1} << 36 |
                           uint64_t{1} << 38;
  uint64_t bulk_dscp = uint64_t{1} << 1 | uint64_t{1} << 8;
  uint64_t realtime_rate_max = 1'000'000;  // bit/s, of a flow judged by its pace
  uint64_t marked_rate_max = 20'000'000;   // bit/s, of a flow marked or on a real-time port
  uint32_t size_mean_max = 400;            // bytes of the IP packet
  Duration interval_max = 100ms;
};

class TrafficClassifier {
 public:
  static constexpr uint32_t kPacketsToTrust = 12;
  static constexpr uint32_t kPacketsToDistrust = 32;
  static constexpr Duration kForgetAfter = 10s;
  static constexpr size_t kSets = 128;
  static constexpr size_t kWays = 4;
  static constexpr size_t kFlowsMax = kSets * kWays;

  struct Counters {
    uint64_t by_dscp = 0;  // packets made real time, by which rule
    uint64_t by_port = 0;
    uint64_t by_pace = 0;
    uint64_t too_fast = 0;  // marked or on a port, but above marked_rate_max
    uint64_t flows_evicted = 0;
  };

  TrafficClassifier(ClassifierOptions options, FlowHash hash);

  TrafficClass classify(Instant now, const IpPacketView& view, Bytes head);
  const Counters& counters() const { return counters_; }

 private:
  // Means are exponential, with a gain of 1/16: all integers, so that every machine agrees.
  struct Flow {
    uint64_t tag = 0;  // its hash; 0: free
    Instant last_seen{};
    int64_t interval_ns = 0;
    int64_t deviation_ns = 0;   // mean distance from interval_ns
    uint32_t size_16ths = 0;    // mean size
    uint16_t steady = 0;        // packets within the limits, in a row
    uint16_t unsteady = 0;      // outside of them, while real time
    uint64_t window_bytes = 0;  // of the rate window
    Instant window_start{};
    TrafficClass by_pace = TrafficClass::Bulk;
    bool too_fast = false;  // last window above marked_rate_max
  };

  bool is_realtime_port(const IpPacketView& view, Bytes head) const;
  static bool is_better_victim(Instant now, const Flow& flow, const Flow& other);
  Flow& find(Instant now, uint64_t hash);
  void observe(Instant now, uint32_t size, Flow& flow);
  void judge(Flow& flow);
  bool within_limits(const Flow& flow) const;

  ClassifierOptions options_;
  FlowHash hash_;
  std::unique_ptr<Flow[]> flows_;
  Counters counters_;
};

}  // namespace masque
