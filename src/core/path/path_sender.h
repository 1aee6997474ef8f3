// SPDX-License-Identifier: Apache-2.0
// The sending half of the path layer: numbers QUIC packets, keeps what the codes need, and writes
// repairs when they are due.
//
//   wrap(QUIC packet)  -> path packet in place, a symbol of its class when that is coded
//   poll_repair        -> bulk: one as soon as the share is earned, or kTailWait after the last
//                         source that no repair covers; real time: two a packet, 5 and 13 ms later,
//                         or by share above kSparseRate packets a second
//   resend             -> the same packet again, asked for by the peer
//
// Without loss nothing is kept and nothing added but the header.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "core/fec/erasure_encoder.h"
#include "core/path/path_packet.h"
#include "core/path/path_settings.h"

namespace masque {

struct PathSenderCounters {
  uint64_t sources = 0, source_bytes = 0;
  uint64_t repairs = 0, repair_bytes = 0;
  uint64_t resent = 0;
};

class PathSender {
 public:
  static constexpr size_t kPacketMax = 1500;
  // What a repair is larger than the largest source it covers.
  static constexpr size_t kRepairExcess = 8 + kRepairParametersSize + kRepairTagSize;
  // How much smaller than the path's limit a QUIC packet must be.
  static constexpr size_t kOverhead = kPathHeaderSize + kRepairExcess;

  PathSender(const PathSettings& settings, PathProtection& protection);

  void use_code(ErasureCode code) { settings_.code = code; }

  // The QUIC packet (short header, connection IDs of kPathIdLength) lies at
  // room[kPathHeaderSize..][..length]; the path packet then is room[0..length + kPathHeaderSize].
  void wrap(Instant now, TrafficClass traffic_class, MutableBytes room, size_t length);
  // The next repair that is due; returns its size, 0: none.
  size_t poll_repair(Instant now, MutableBytes room);
  // The source packet of that sequence once more; 0: it is not kept any more, or of no use.
  size_t resend(Instant now, uint64_t sequence, MutableBytes room);
  // A sealed message; 0 before the first source.
  size_t write_control(Instant now, Bytes message, MutableBytes room, uint8_t noise);
  std::optional<Instant> next_timeout() const;

  // Repairs for each bulk source and each real-time source; 0: the class is not coded.
  struct Shares {
    double bulk = 0;
    double realtime = 0;
    enum class Pattern : uint8_t { Spread, Share } realtime_pattern = Pattern::Spread;
    uint32_t spread_repairs = 2;
    size_t bulk_window = 128;  // symbols under one repair
    size_t realtime_window = 4;
  };
  void set_shares(const Shares& shares);
  const Shares& shares() const { return shares_; }
  uint64_t next_sequence() const { return next_sequence_; }
  const PathSenderCounters& counters(TrafficClass c) const {
    return counters_[static_cast<size_t>(c)];
  }

 private:
  static constexpr Duration kTailWait = 8ms;
  // Nothing older is sent again or covered by the sliding window: after an outage QUIC would take
  // the acknowledgement of a packet from before it for a round trip as long as the outage, and wait
  // as long for everything.
  static constexpr Duration kUsefulFor = 1500ms;
  static constexpr std::array<Duration, 2> kSpread = {5ms, 13ms};
  static constexpr size_t kDueMax = 64;
  // Symbols kept, by class: as many as may be asked for again. Bulk: a round trip of 130 ms at
  // 90 Mbit/s.
  static constexpr std::array<size_t, kTrafficClasses> kKept = {1024, 256};

  struct Class {
    std::unique_ptr<ErasureEncoder> encoder;
    double owed = 0;           // repairs
    uint32_t uncovered = 0;    // sources since the last repair
    uint32_t block_first = 0;  // block codes: ESI of the first symbol of the open block
    size_t block_repairs = 0;  // of the block just closed, still to be written
    size_t block_count = 0;    // its symbols
    size_t block_written = 0;
    std::optional<Instant> tail_at;
    struct Sent {
      uint64_t sequence = 0;
      Instant at{};
    };
    std::vector<Sent> sent;  // by ESI, ascending
  };
  Class& of(TrafficClass c) { return classes_[static_cast<size_t>(c)]; }
  double share(TrafficClass c) const {
    return c == TrafficClass::Bulk ? shares_.bulk : shares_.realtime;
  }
  uint32_t keep(Instant now, TrafficClass traffic_class, Bytes head, Bytes rest);
  // The ESI of what was sent as `sequence`.
  static std::optional<uint32_t> find(const Class& its, uint64_t sequence);
  // How many of the newest symbols were sent within kUsefulFor.
  static size_t useful(Instant now, const Class& its, size_t most);
  void earn(Instant now, TrafficClass traffic_class);
  bool due(Instant now, TrafficClass traffic_class) const;
  size_t block_size(TrafficClass traffic_class) const;
  std::optional<RepairId> next_id(Instant now, TrafficClass traffic_class);
  size_t write_repair(Instant now, TrafficClass traffic_class, const RepairId& id,
                      MutableBytes room);
  void write_prefix(uint8_t first_byte, MutableBytes room) const;

  PathSettings settings_;
  PathProtection& protection_;
  PathId quic_id_{};  // the connection ID that QUIC writes
  PathId path_id_{};  // what stands in its place
  Shares shares_;
  uint64_t next_sequence_ = 0;
  std::array<Class, kTrafficClasses> classes_;
  std::array<PathSenderCounters, kTrafficClasses> counters_{};
  // Instants at which a real-time repair shall go, a ring in order of time for each distance.
  struct DueRing {
    std::array<Instant, kDueMax> at{};
    size_t first = 0;
    size_t count = 0;
  };
  std::array<DueRing, kSpread.size()> spread_;
  uint8_t noise_ = 0x15;
};

}  // namespace masque
