// SPDX-License-Identifier: Apache-2.0
// Packets that wait for a blocked channel, bounded in bytes and in time, in one arena that is
// allocated once.
//
//   RealTime   one queue, always first; older than `realtime_delay_max`: of no use any more
//   Bulk       FQ-CoDel (RFC 8290): flows take turns by bytes (deficit round robin), a flow that
//              has just begun or sends little comes before those that queue; each has its CoDel
//              (RFC 8289), which marks packets that know ECN (RFC 3168) and drops the others, at
//              the head. Acknowledgements without data are never its victims: they slow nobody
//              down.
// When there is no room, the packet at the head of the longest flow leaves. Inner DSCP and ECN are
// never changed but for the CE mark.
//
//   front(now)   judges and names the packet to send next; pop(), the very next call or never,
//   takes
//                it out. Asked again, front() may name another one: real time may have come.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/time.h"
#include "core/path/sending_pace.h"
#include "core/path/traffic_class.h"
#include "core/tunnel/codel.h"
#include "core/tunnel/packet_arena.h"

namespace masque {

struct EgressQueueOptions {
  size_t bytes_max = 256 * 1024;
  Duration realtime_delay_max = 100ms;
  Duration bulk_delay_max = 500ms;  // outages, and flows that heed no signal
  CodelOptions codel;
};

struct EgressCounters {
  uint64_t codel_dropped = 0;
  uint64_t codel_marked = 0;
  uint64_t overflow = 0;          // no room
  uint64_t expired = 0;           // waited too long, either class
  uint64_t realtime_dropped = 0;  // of overflow and expired

  uint64_t dropped() const { return codel_dropped + overflow + expired; }
};

class EgressQueue {
 public:
  static constexpr size_t kSets = 64;
  static constexpr size_t kWays = 32;
  static constexpr size_t kFlows = kSets * kWays;
  static constexpr int32_t kQuantum = 1514;
  static constexpr size_t kRealTimeShare = 4;  // real time gets a quarter of bytes_max at most

  explicit EgressQueue(const EgressQueueOptions& options);

  // `flow`: a number that packets of one flow share (FlowHash).
  void push(Instant now, TrafficClass traffic_class, uint64_t flow, const PacketSlices& packet);

  struct Waiting {
    Bytes packet;  // valid until the next call
    TrafficClass traffic_class = TrafficClass::Bulk;
  };
  std::optional<Waiting> front(Instant now);
  void pop();

  // CoDel's interval is to be about the round-trip time of the flows, which is the tunnel's and
  // something more, its target is a ninth of that on long paths. While the rate is not found yet it
  // says nothing: TCP that it stops in its slow start needs ten seconds and more on a long path.
  void set_pace(const SendingPace& pace);

  bool empty() const { return count_ == 0; }
  bool has_realtime() const { return realtime_.head != kNone; }
  size_t count() const { return count_; }
  size_t bytes() const { return arena_.used(); }  // with the space that rounding wastes
  size_t bytes_max() const { return arena_.capacity(); }
  size_t realtime_bytes() const { return realtime_bytes_; }
  // How long the last bulk packet that front() has judged had waited.
  Duration sojourn() const { return sojourn_; }
  const EgressCounters& counters() const { return counters_; }

 private:
  using Handle = PacketArena::Handle;
  using FlowIndex = uint16_t;
  static constexpr Handle kNone = PacketArena::kNone;
  static constexpr FlowIndex kNoFlow = UINT16_MAX;

  struct Meta {
    Instant since;
    Handle next;
  };
  struct Fifo {
    Handle head = kNone;
    Handle tail = kNone;
  };
  enum class Turn : uint8_t { Idle, New, Old };
  struct Flow {
    Fifo packets;
    int32_t deficit = 0;
    FlowIndex next = kNoFlow;
    Codel codel;
  };
  struct FlowList {
    FlowIndex head = kNoFlow;
    FlowIndex tail = kNoFlow;
  };

  void append(Fifo& fifo, Handle packet);
  Handle take_head(Fifo& fifo);
  void append(FlowList& list, FlowIndex flow);
  FlowIndex take_head(FlowList& list);

  FlowIndex find_flow(uint64_t flow);
  void push_bulk(uint64_t flow, Handle packet);
  void make_room();
  void discard(Handle packet, uint64_t& reason);
  Handle next_bulk(Instant now);
  Handle next_of(Instant now, FlowIndex flow);
  void expire_realtime(Instant now);

  EgressQueueOptions options_;
  PacketArena arena_;
  std::unique_ptr<Meta[]> meta_;   // by handle
  std::unique_ptr<Flow[]> flows_;  // those with a tag
  // What is searched lies close together.
  std::array<uint32_t, kFlows> tags_{};  // of the flow's number; 0: never used
  std::array<uint32_t, kFlows> flow_bytes_{};
  std::array<Turn, kFlows> turns_{};
  FlowList new_flows_;
  FlowList old_flows_;
  Fifo realtime_;
  size_t realtime_bytes_ = 0;
  Duration sojourn_{};
  Handle held_ = kNone;  // of bulk, judged and next to go
  enum class Front : uint8_t { None, RealTime, Bulk };
  Front front_ = Front::None;
  size_t count_ = 0;
  EgressCounters counters_;
};

}  // namespace masque
