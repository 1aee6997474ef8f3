// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_sender.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/path/source_symbol.h"

namespace masque {

namespace {

constexpr size_t kSymbolMax = kSymbolHeadSize + PathSender::kPacketMax;

}  // namespace

PathSender::PathSender(const PathSettings& settings, PathProtection& protection)
    : settings_(settings), protection_(protection), path_id_(path_id_of(protection, quic_id_)) {}

void PathSender::set_shares(const Shares& shares) {
  shares_ = shares;
  for (const TrafficClass c : {TrafficClass::Bulk, TrafficClass::RealTime}) {
    if (share(c) > 0) continue;
    of(c).owed = 0;
    of(c).tail_at.reset();
    if (c == TrafficClass::RealTime) spread_ = {};
  }
}

void PathSender::write_prefix(uint8_t first_byte, MutableBytes room) const {
  room[0] = first_byte;
  std::ranges::copy(path_id_, room.begin() + 1);
}

void PathSender::wrap(Instant now, TrafficClass traffic_class, MutableBytes room, size_t length) {
  const MutableBytes packet = room.first(length + kPathHeaderSize);
  const uint8_t first_byte = packet[kPathHeaderSize];
  const Bytes quic_id = packet.subspan(kPathHeaderSize + 1, kPathIdLength);
  if (!std::ranges::equal(quic_id, quic_id_)) {
    std::ranges::copy(quic_id, quic_id_.begin());
    path_id_ = path_id_of(protection_, quic_id);
  }
  const Bytes rest = packet.subspan(kPathPrefixSize + kPathHeaderSize);
  PathHeader header{
      .kind = source_kind(traffic_class), .sequence = next_sequence_, .stamp = PathStamp::of(now)};
  if (share(traffic_class) > 0 && rest.size() >= PathProtection::kSampleSize) {
    header.coded = true;
    const auto head = symbol_head({.first_byte = first_byte,
                                   .sequence = static_cast<uint16_t>(next_sequence_),
                                   .stamp = header.stamp,
                                   .rest = rest});
    header.symbol = keep(now, traffic_class, head, rest);
    earn(now, traffic_class);
  }
  ++next_sequence_;
  PathSenderCounters& counters = counters_[static_cast<size_t>(traffic_class)];
  ++counters.sources;
  counters.source_bytes += packet.size();
  write_prefix(first_byte, packet);
  write_path_header(protection_, header, packet);
}

uint32_t PathSender::keep(Instant now, TrafficClass traffic_class, Bytes head, Bytes rest) {
  Class& its = of(traffic_class);
  if (!its.encoder) {
    const size_t kept = kKept[static_cast<size_t>(traffic_class)];
    its.encoder = std::make_unique<ErasureEncoder>(kSymbolMax, kept);
    its.sent.resize(kept);
  }
  const uint32_t symbol = its.encoder->add(head, rest);
  its.sent[symbol % its.sent.size()] = {.sequence = next_sequence_, .at = now};
  return symbol;
}

// What one more coded source adds to the repairs that are owed.
void PathSender::earn(Instant now, TrafficClass traffic_class) {
  Class& its = of(traffic_class);
  ++its.uncovered;
  if (traffic_class == TrafficClass::RealTime &&
      shares_.realtime_pattern == Shares::Pattern::Spread) {
    for (size_t i = 0; i < std::min<size_t>(shares_.spread_repairs, spread_.size()); ++i) {
      DueRing& ring = spread_[i];
      if (ring.count == kDueMax) continue;
      ring.at[(ring.first + ring.count++) % kDueMax] = now + kSpread[i];
    }
    return;
  }
  its.owed += share(traffic_class);
  its.tail_at = now + kTailWait;
}

bool PathSender::due(Instant now, TrafficClass traffic_class) const {
  const Class& its = classes_[static_cast<size_t>(traffic_class)];
  if (!its.encoder || its.encoder->kept() == 0) return false;
  if (its.block_written < its.block_repairs) return true;
  if (traffic_class == TrafficClass::RealTime) {
    for (const DueRing& ring : spread_) {
      if (ring.count > 0 && ring.at[ring.first] <= now) return true;
    }
  }
  const bool earned = settings_.code == ErasureCode::SlidingWindow
                          ? its.owed >= 1
                          : its.uncovered >= block_size(traffic_class);
  return earned || (its.tail_at && *its.tail_at <= now && its.uncovered > 0);
}

// How many sources a block waits for: XOR repairs one loss in each, Reed-Solomon is the better the
// longer the block, as far as it fits the window.
size_t PathSender::block_size(TrafficClass traffic_class) const {
  const double wanted = share(traffic_class);
  if (settings_.code == ErasureCode::Xor) {
    return static_cast<size_t>(std::clamp(1 / std::max(wanted, 0.01), 1.0, 16.0));
  }
  const size_t window =
      traffic_class == TrafficClass::Bulk ? shares_.bulk_window : shares_.realtime_window;
  return std::clamp<size_t>(window / 2, 1, 64);
}

std::optional<RepairId> PathSender::next_id(Instant now, TrafficClass traffic_class) {
  Class& its = of(traffic_class);
  const size_t window =
      traffic_class == TrafficClass::Bulk ? shares_.bulk_window : shares_.realtime_window;
  if (settings_.code == ErasureCode::SlidingWindow) {
    const size_t count = useful(now, its, std::min(window, settings_.window_max));
    if (count == 0) return std::nullopt;
    return its.encoder->sliding(count);
  }
  // Block codes: as many symbols as have come since the last block, with what the share gives.
  if (its.block_written >= its.block_repairs) {
    const uint32_t end = its.encoder->next_source();
    const size_t most = settings_.code == ErasureCode::Xor ? 16 : 64;
    const size_t count = std::min<size_t>({end - its.block_first, its.encoder->kept(), most});
    if (count == 0) return std::nullopt;
    its.block_first = end - static_cast<uint32_t>(count);
    its.block_count = count;
    its.block_written = 0;
    const auto wanted =
        static_cast<size_t>(std::ceil(share(traffic_class) * static_cast<double>(count)));
    its.block_repairs =
        settings_.code == ErasureCode::Xor ? 1 : std::clamp<size_t>(wanted, 1, kBlockRepairsMax);
  }
  const size_t index = its.block_written++;
  const RepairId id =
      settings_.code == ErasureCode::Xor
          ? ErasureEncoder::xor_parity(its.block_first, its.block_count)
          : ErasureEncoder::reed_solomon(its.block_first, its.block_count,
                                         kBlockSizes[*block_size_index(its.block_count)], index);
  if (its.block_written >= its.block_repairs) {
    its.block_first = its.encoder->next_source();
  }
  return id;
}

size_t PathSender::poll_repair(Instant now, MutableBytes room) {
  for (const TrafficClass c : {TrafficClass::RealTime, TrafficClass::Bulk}) {
    if (!due(now, c)) continue;
    Class& its = of(c);
    // One repair answers for what is due: spread ones at their time, the others by share.
    bool spread = false;
    for (DueRing& ring : spread_) {
      if (c != TrafficClass::RealTime || spread || ring.count == 0 || ring.at[ring.first] > now)
        continue;
      ring.first = (ring.first + 1) % kDueMax;
      --ring.count;
      spread = true;
    }
    if (!spread) {
      // A tail repair is an advance on what is owed.
      its.owed = std::max(its.owed - 1, -1.0);
      its.tail_at.reset();
    }
    its.uncovered = 0;
    const auto id = next_id(now, c);
    if (!id) continue;
    if (const size_t size = write_repair(now, c, *id, room); size > 0) return size;
  }
  return 0;
}

size_t PathSender::write_repair(Instant now, TrafficClass traffic_class, const RepairId& id,
                                MutableBytes room) {
  constexpr size_t kFront = kPathPrefixSize + kPathHeaderSize + kRepairParametersSize;
  if (room.size() < kFront + kRepairTagSize) return 0;
  const MutableBytes symbol = room.subspan(kFront, room.size() - kFront - kRepairTagSize);
  const size_t length = of(traffic_class).encoder->make_repair(id, symbol);
  if (length == 0) return 0;
  const MutableBytes packet = room.first(kFront + length + kRepairTagSize);
  noise_ = static_cast<uint8_t>(noise_ * 5 + 0x33);
  write_prefix(static_cast<uint8_t>(0x40 | (noise_ & 0x3f)), packet);
  const PathHeader header{.kind = PathPacketKind::Repair,
                          .sequence = next_sequence_,
                          .symbol = id.first,
                          .stamp = PathStamp::of(now)};
  const auto parameters =
      packet.subspan<kPathPrefixSize + kPathHeaderSize, kRepairParametersSize>();
  write_repair_parameters(
      {.code = id.code, .traffic_class = traffic_class, .count = id.count, .key = id.key},
      parameters);
  const uint64_t tag = protection_.tag(bound_repair(header, parameters), symbol.first(length));
  uint8_t* place = packet.data() + kFront + length;
  store_be32(place, static_cast<uint32_t>(tag >> 32));
  store_be32(place + 4, static_cast<uint32_t>(tag));
  write_path_header(protection_, header, packet);
  PathSenderCounters& counters = counters_[static_cast<size_t>(traffic_class)];
  ++counters.repairs;
  counters.repair_bytes += packet.size();
  return packet.size();
}

std::optional<uint32_t> PathSender::find(const Class& its, uint64_t sequence) {
  if (!its.encoder) return std::nullopt;
  // Sequences ascend with the ESI, which may have wrapped: search by distance from the newest.
  const uint32_t newest = its.encoder->next_source() - 1;
  const auto at = [&](size_t back) {
    return its.sent[(newest - static_cast<uint32_t>(back)) % its.sent.size()].sequence;
  };
  size_t low = 0;
  size_t high = its.encoder->kept();
  while (low < high) {  // the smallest distance whose sequence is not above
    const size_t middle = (low + high) / 2;
    if (at(middle) > sequence) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == its.encoder->kept() || at(low) != sequence) return std::nullopt;
  return newest - static_cast<uint32_t>(low);
}

size_t PathSender::useful(Instant now, const Class& its, size_t most) {
  const uint32_t newest = its.encoder->next_source() - 1;
  size_t count = std::min(its.encoder->kept(), most);
  // Old ones are there after a silence only.
  while (count > 0) {
    const uint32_t oldest = newest - static_cast<uint32_t>(count - 1);
    if (now - its.sent[oldest % its.sent.size()].at <= kUsefulFor) break;
    --count;
  }
  return count;
}

size_t PathSender::resend(Instant now, uint64_t sequence, MutableBytes room) {
  for (const TrafficClass c : {TrafficClass::RealTime, TrafficClass::Bulk}) {
    const auto esi = find(of(c), sequence);
    if (!esi) continue;
    if (now - of(c).sent[*esi % of(c).sent.size()].at > kUsefulFor) return 0;
    const auto symbol = read_symbol(of(c).encoder->symbol(*esi));
    const size_t size = symbol ? kPathPrefixSize + kPathHeaderSize + symbol->rest.size() : 0;
    if (!symbol || room.size() < size) return 0;
    const MutableBytes packet = room.first(size);
    write_prefix(symbol->first_byte, packet);
    std::ranges::copy(symbol->rest, packet.begin() + kPathPrefixSize + kPathHeaderSize);
    write_path_header(protection_,
                      {.kind = source_kind(c),
                       .coded = true,
                       .sequence = sequence,
                       .symbol = *esi,
                       .stamp = symbol->stamp},
                      packet);
    ++counters_[static_cast<size_t>(c)].resent;
    return size;
  }
  return 0;
}

size_t PathSender::write_control(Instant now, Bytes message, MutableBytes room, uint8_t noise) {
  constexpr size_t kFront = kPathPrefixSize + kPathHeaderSize;
  const size_t size = kFront + message.size() + PathProtection::kSealOverhead;
  // Before the first source the peer's connection ID is not known.
  if (room.size() < size || next_sequence_ == 0) return 0;
  const MutableBytes packet = room.first(size);
  write_prefix(static_cast<uint8_t>(0x40 | (noise & 0x3f)), packet);
  const PathHeader header{
      .kind = PathPacketKind::Control, .sequence = next_sequence_, .stamp = PathStamp::of(now)};
  if (!protection_.seal(bound_control(header, packet), message, packet.subspan(kFront))) return 0;
  write_path_header(protection_, header, packet);
  return size;
}

std::optional<Instant> PathSender::next_timeout() const {
  std::optional<Instant> out;
  for (const Class& its : classes_) {
    if (its.uncovered > 0) out = earlier(out, its.tail_at);
    const bool earned = settings_.code == ErasureCode::SlidingWindow && its.owed >= 1;
    if (earned || its.block_written < its.block_repairs) out = earlier(out, Instant{});
  }
  for (const DueRing& ring : spread_) {
    if (ring.count > 0) out = earlier(out, ring.at[ring.first]);
  }
  return out;
}

}  // namespace masque
