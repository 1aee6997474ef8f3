// SPDX-License-Identifier: Apache-2.0
// The receiving half of the path layer: puts packets back into the order in which they were sent,
// brings back lost ones, and measures how they arrive.
//
//   source  -> in order? hand on at once, without a copy : hold it
//   repair  -> decoder -> recovered sources, as if they had come
//   a hole in the order is passed over when the hold has expired, or when a real-time packet behind
//   it has to go; what comes later still is handed on at once
//
// All classes share one order, because QUIC above sees one packet number space: what overtakes
// there looks like a loss. Each class has a code of its own. The hold follows what is measured:
// the spread of delays (reordering), the time repairs take, and a round trip
// when asking again is worth it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "core/fec/erasure_decoder.h"
#include "core/ip/socket_address.h"
#include "core/path/awaited_packets.h"
#include "core/path/path_messages.h"
#include "core/path/path_packet.h"
#include "core/path/path_settings.h"
#include "core/path/windowed_range.h"

namespace masque {

struct PathArrival {
  NetworkPath path;
  Ecn ecn = Ecn::NotEct;
  // Not received but recovered: it says nothing about where the peer is.
  bool rebuilt = false;
};

// What the layer hands to QUIC. The bytes are valid during the call.
class QuicPacketSink {
 public:
  virtual ~QuicPacketSink() = default;
  virtual void on_quic_packet(Instant now, const PathArrival& arrival, const DatagramOrigin& origin,
                              MutableBytes packet) = 0;
};

struct PathReceiverCounters {
  uint64_t sources = 0;  // that came by themselves
  uint64_t repairs = 0;
  uint64_t recovered = 0;   // brought back before they were passed over
  uint64_t late = 0;        // came or were brought back after that
  uint64_t abandoned = 0;   // passed over in the order
  uint64_t duplicates = 0;  // handed on all the same, QUIC knows its packets
  uint64_t held = 0;        // waited for an earlier one
  uint64_t damaged = 0;     // the header's check does not fit, or what was recovered is no packet
  uint64_t forged = 0;      // repairs and messages whose tag is wrong
  struct PerClass {
    uint64_t delivered = 0;  // to QUIC, late ones too
    uint64_t late = 0;       // of these: after they had been passed over
  };
  std::array<PerClass, kTrafficClasses> classes{};
};

class PathReceiver {
 public:
  static constexpr size_t kOrderWindow = 2048;  // sequences whose state is kept
  static constexpr size_t kHeldMax = 1024;      // packets held at once
  static constexpr size_t kPacketMax = 1504;
  static constexpr size_t kRecentTags = 1024;     // of repairs, to know them again
  static constexpr Duration kSettleTime = 150ms;  // after it a missing packet counts as lost

  PathReceiver(const PathSettings& settings, PathProtection& protection);

  // A packet with our path connection ID. `connection_id` is what QUIC expects in its place.
  // A message from the peer is returned.
  std::optional<PathMessage> on_packet(Instant now, const PathArrival& arrival, MutableBytes packet,
                                       Bytes connection_id, QuicPacketSink& sink);
  std::optional<Instant> next_timeout(Instant now);  // for on_timeout()
  std::optional<Instant> next_request(Instant now);  // for make_request()
  void on_timeout(Instant now, QuicPacketSink& sink);
  // The round trip decides whether asking again is worth it, and how often we report.
  void set_rtt(Duration rtt) { rtt_ = rtt; }

  // Messages to the peer that are due.
  bool report_due(Instant now) const;
  PathReport make_report(Instant now);
  std::optional<PathRequest> make_request(Instant now);

  const PathReceiverCounters& counters() const { return counters_; }
  const PathReport& figures() const { return report_; }
  Duration hold_limit(Instant now);
  Duration delay_spread(Instant now);

 private:
  enum class State : uint8_t { Missing, Held, Delivered, PassedOver };
  struct Entry {
    Instant known_at{};
    uint16_t slot = 0;
    State state = State::Missing;
    bool came = false;       // neither repaired nor missing
    bool requested = false;  // asked for again, so that it does not count as having arrived
    TrafficClass traffic_class = TrafficClass::Bulk;
  };
  struct Slot {
    PathArrival arrival;
    DatagramOrigin origin;
    Instant since;
    Instant deadline;  // real time: not to be held any longer
    uint16_t size = 0;
  };
  struct Source {
    uint64_t sequence = 0;
    TrafficClass traffic_class = TrafficClass::Bulk;
    enum class Way : uint8_t { Arrived, Recovered } way = Way::Arrived;
    Duration delay{};
    MutableBytes quic_packet;
  };
  struct Code {
    std::unique_ptr<ErasureDecoder> decoder;
    uint64_t expected_symbol = 0;
    uint16_t last_key = 0;       // of the newest repair
    uint64_t keys_seen = 0;      // bit n: the repair n before it came; 0: there was none
    uint64_t newest_repair = 0;  // its sequence
  };

  Entry& entry(uint64_t sequence) { return order_[sequence % kOrderWindow]; }
  // What a repair may say of sources beyond the newest; a source so far beyond begins a new order.
  static constexpr uint64_t kJumpMax = kOrderWindow / 2;
  static constexpr Duration kHoldMargin = 4ms;

  Code& code(TrafficClass c) { return codes_[static_cast<size_t>(c)]; }
  Code& code_with_decoder(TrafficClass c);
  PathReceiverCounters::PerClass& counts_of(TrafficClass c) {
    return counters_.classes[static_cast<size_t>(c)];
  }
  PathReport::PerClass& figures_of(TrafficClass c) {
    return report_.classes[static_cast<size_t>(c)];
  }
  void on_source(Instant now, const PathArrival& arrival, const PathHeader& header,
                 MutableBytes packet, Bytes connection_id, QuicPacketSink& sink);
  void on_repair(Instant now, const PathArrival& arrival, const PathHeader& header,
                 MutableBytes packet);
  std::optional<PathMessage> on_control(const PathHeader& header, MutableBytes packet);
  bool count_repair(const PathHeader& header, const RepairParameters& parameters);
  bool first_with(uint64_t tag);
  void accept(Instant now, const PathArrival& arrival, const Source& source, QuicPacketSink& sink);
  void take_recovered(Instant now, const PathArrival& arrival, Bytes connection_id,
                      QuicPacketSink& sink);
  bool comes_first(uint64_t sequence);
  bool in_time(Instant now, uint64_t sequence);
  void count_received(const PathArrival& arrival, size_t size);
  void measure(Instant now, uint32_t stamp, Duration delay);
  void hear_of(Instant now, uint64_t end);
  void hold(Instant now, const PathArrival& arrival, const Source& source);
  void deliver(Instant now, const PathArrival& arrival, const Source& source, QuicPacketSink& sink);
  static void hand_on(Instant now, const PathArrival& arrival, const Source& source,
                      QuicPacketSink& sink);
  void hand_on_copy(Instant now, const PathArrival& arrival, const Source& source,
                    QuicPacketSink& sink);
  void drain(Instant now, QuicPacketSink& sink);
  void release_slot(uint16_t slot);
  void pass_over();
  void settle(Instant now);
  Instant hole_deadline(Instant now);
  static uint32_t elapsed_stamp(Instant now, uint32_t stamp) {
    return (PathStamp::of(now) - stamp) & (PathStamp::kModulus - 1);
  }
  // What asking for packets again is good for.
  enum class Asking : uint8_t {
    Never,
    InTime,  // they come before the hold ends
    Late,    // too late for the order, and early enough for QUIC to take its back-off back
  };
  Asking asking(Instant now) const;
  Duration request_wait(Instant now);
  Duration answer_wait(Instant now);
  bool is_missing(uint64_t sequence);
  std::optional<uint64_t> next_to_ask(Instant now);
  MutableBytes storage(uint16_t slot) {
    return MutableBytes(storage_.get() + size_t{slot} * kPacketMax, kPacketMax);
  }

  PathSettings settings_;
  PathProtection& protection_;
  PathReceiverCounters counters_;
  std::vector<Entry> order_;
  std::vector<Slot> slots_;
  std::vector<uint16_t> free_slots_;
  std::unique_ptr<uint8_t[]> storage_;
  std::array<Code, kTrafficClasses> codes_;
  uint64_t next_ = 0;     // the first that was neither handed on nor passed over
  uint64_t highest_ = 0;  // after the last heard of
  uint64_t settled_ = 0;  // below it the fate on the wire is known
  uint64_t asked_ = 0;    // below it nothing is to be asked for again
  AwaitedPackets awaited_;
  double requests_left_ = 8;
  size_t held_ = 0;
  size_t held_realtime_ = 0;
  std::vector<uint64_t> recent_tags_;
  uint64_t requests_made_ = 0;
  enum class Fate : uint8_t { Arrived, Lost } last_fate_ = Fate::Arrived;
  TrafficClass last_class_ = TrafficClass::Bulk;

  StampDifference stamp_difference_;
  WindowedRange<Duration> delays_{1s};
  WindowedRange<Duration> recovery_times_{2s};
  std::optional<Instant> coded_at_;  // the last coded source or repair
  Duration rtt_{};

  PathReport report_;
  bool heard_since_report_ = false;
  Instant reported_at_{};
  Instant newest_at_{};
  uint64_t bytes_at_report_ = 0;
  std::optional<Duration> report_delay_min_, report_delay_max_;
};

}  // namespace masque
