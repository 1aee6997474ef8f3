// SPDX-License-Identifier: Apache-2.0
// The outside of a path packet (docs/wire.md): it looks like a QUIC packet with a short header.
//
//   first byte | path connection ID (8) | masked header (10) | content
//
// The path connection ID is the mask of the QUIC connection ID under the sender's key, so that both
// ends know it without a word, and a new one comes with each new connection ID.
//
//   source    the content is what follows the connection ID in the QUIC packet; its first byte is
//             the QUIC packet's, its connection ID is put back by the receiver
//   repair    masked parameters (4) | repair symbol | tag (8)
//   control   sealed messages: reports and requests for packets
//
// The mask comes from the last 16 bytes of the packet, which are an AEAD tag or as good as random.
// It hides; the header's keyed check protects, also from a place 2^20 packets away. Integrity of
// contents is QUIC's own (sources), a keyed tag's (repairs) or AES-SIV's (control).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"
#include "core/fec/erasure_code.h"
#include "core/path/path_protection.h"
#include "core/path/traffic_class.h"

namespace masque {

constexpr size_t kPathIdLength = 8;
constexpr size_t kPathFieldsSize = 7;
constexpr size_t kPathCheckSize = 3;
constexpr size_t kPathHeaderSize = kPathFieldsSize + kPathCheckSize;
constexpr size_t kPathPrefixSize = 1 + kPathIdLength;  // before the masked header
constexpr size_t kRepairParametersSize = 4;
constexpr size_t kRepairTagSize = 8;

enum class PathPacketKind : uint8_t { BulkSource = 0, RealTimeSource = 1, Repair = 2, Control = 3 };
constexpr PathPacketKind source_kind(TrafficClass c) {
  return c == TrafficClass::RealTime ? PathPacketKind::RealTimeSource : PathPacketKind::BulkSource;
}
constexpr TrafficClass class_of(PathPacketKind source) {
  return source == PathPacketKind::RealTimeSource ? TrafficClass::RealTime : TrafficClass::Bulk;
}

// The masked header: kind (2) | coded (1) | sequence (20) | symbol (13) | stamp (20) | check (24).
struct PathHeader {
  static constexpr unsigned kSequenceBits = 20;
  static constexpr unsigned kSymbolBits = 13;
  static constexpr unsigned kStampBits = 20;

  PathPacketKind kind = PathPacketKind::BulkSource;
  // Sources: an erasure code covers this packet as symbol `symbol` of its class.
  bool coded = false;
  // Sources: the place in the order of all sources. Repairs and control: that of the next source.
  // The whole of it: 20 bits travel, check, tag and seal cover all.
  uint64_t sequence = 0;
  uint32_t symbol = 0;  // sources: ESI; repairs: ESI of the first covered symbol
  uint32_t stamp = 0;   // when it was sent, see PathStamp
  friend bool operator==(const PathHeader&, const PathHeader&) = default;
};

// The parameters of a repair: code (2) | class (1) | 0 (5), count (8), key (16).
struct RepairParameters {
  ErasureCode code = ErasureCode::SlidingWindow;
  TrafficClass traffic_class = TrafficClass::Bulk;
  uint8_t count = 0;
  uint16_t key = 0;
  friend bool operator==(const RepairParameters&, const RepairParameters&) = default;
};

// The sender's clock in units of 32 us, modulo 2^20 (33 s).
struct PathStamp {
  static constexpr Duration kUnit = 32us;
  static constexpr uint32_t kModulus = uint32_t{1} << PathHeader::kStampBits;
  static uint32_t of(Instant now) {
    return static_cast<uint32_t>(now.time_since_epoch() / kUnit) & (kModulus - 1);
  }
};

// Differences of stamps, modulo kModulus, as durations that go on beyond the modulus: each is taken
// as the value nearest to the one before.
class StampDifference {
 public:
  Duration unwrap(uint32_t difference) {
    last_ = nearest(difference);
    return *last_ * PathStamp::kUnit;
  }
  // The same of what is not to be believed: it does not move the next one.
  Duration peek(uint32_t difference) const { return nearest(difference) * PathStamp::kUnit; }

 private:
  int64_t nearest(uint32_t difference) const {
    if (!last_) return difference;
    constexpr int64_t kModulus = PathStamp::kModulus;
    int64_t step = (static_cast<int64_t>(difference) - *last_) % kModulus;
    if (step < 0) step += kModulus;
    if (step >= kModulus / 2) step -= kModulus;
    return *last_ + step;
  }
  std::optional<int64_t> last_;
};

// The connection ID of path packets in place of `connection_id` (kPathIdLength bytes).
using PathId = std::array<uint8_t, kPathIdLength>;
PathId path_id_of(PathProtection& protection, Bytes connection_id);

// The value nearest to `expected` that agrees with `truncated` in its low bits; never below zero.
uint64_t unwrap(uint64_t expected, uint64_t truncated, unsigned bits);

// The fields as they travel, and the whole sequence behind them: what the check, a repair's tag and
// a message's seal cover of a header, so that nothing fits into another generation.
using BoundHeader = std::array<uint8_t, kPathFieldsSize + 8>;
BoundHeader bound_header(const PathHeader& header);

// What the tag of a repair covers before the symbol, and the seal of a message besides it.
using BoundRepair = std::array<uint8_t, std::tuple_size_v<BoundHeader> + kRepairParametersSize>;
BoundRepair bound_repair(const PathHeader& header,
                         std::span<const uint8_t, kRepairParametersSize> parameters);
using BoundControl = std::array<uint8_t, kPathPrefixSize + std::tuple_size_v<BoundHeader>>;
BoundControl bound_control(const PathHeader& header, Bytes packet);

// Writes the header into a packet that is whole but for it, and masks it; in repairs also the
// parameters behind it.
void write_path_header(PathProtection& protection, const PathHeader& header, MutableBytes packet);
// Takes the mask off. nullopt: the check does not fit, so the packet was damaged, is somebody
// else's, or its sequence is not within 2^19 of the expected one. The packet holds a sample.
std::optional<PathHeader> read_path_header(PathProtection& protection, MutableBytes packet,
                                           uint64_t expected_sequence);

void write_repair_parameters(const RepairParameters& parameters,
                             std::span<uint8_t, kRepairParametersSize> out);
std::optional<RepairParameters> read_repair_parameters(
    std::span<const uint8_t, kRepairParametersSize> in);

}  // namespace masque
