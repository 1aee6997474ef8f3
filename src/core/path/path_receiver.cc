// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_receiver.h"

#include <algorithm>

#include "base/mutant.h"
#include "core/path/source_symbol.h"

namespace masque {

namespace {

constexpr size_t kDecoderWindow = 512;
constexpr size_t kEquationsMax = 64;
constexpr size_t kSymbolMax = kSymbolHeadSize + PathReceiver::kPacketMax;
// Of what came; more is lost by congestion than by the link, and must not be sent again.
constexpr double kRequestShare = 0.03;
constexpr double kRequestBurst = 32;

}  // namespace

PathReceiver::PathReceiver(const PathSettings& settings, PathProtection& protection)
    : settings_(settings), protection_(protection), order_(kOrderWindow) {}

std::optional<PathMessage> PathReceiver::on_packet(Instant now, const PathArrival& arrival,
                                                   MutableBytes packet, Bytes connection_id,
                                                   QuicPacketSink& sink) {
  constexpr size_t kSmallest = kPathPrefixSize + kPathHeaderSize + PathProtection::kSampleSize;
  if (packet.size() < kSmallest ||
      (packet.size() > kPacketMax && !mutant("path.packet.size.remove"))) {
    ++counters_.damaged;
    return std::nullopt;
  }
  const auto header = read_path_header(protection_, packet, highest_);
  if (!header) {
    ++counters_.damaged;
    return std::nullopt;
  }
  std::optional<PathMessage> message;
  switch (header->kind) {
    case PathPacketKind::BulkSource:
    case PathPacketKind::RealTimeSource:
      on_source(now, arrival, *header, packet, connection_id, sink);
      break;
    case PathPacketKind::Repair:
      on_repair(now, arrival, *header, packet);
      take_recovered(now, arrival, connection_id, sink);
      break;
    case PathPacketKind::Control:
      message = on_control(*header, packet);
      break;
  }
  drain(now, sink);
  settle(now);
  return message;
}

PathReceiver::Code& PathReceiver::code_with_decoder(TrafficClass traffic_class) {
  Code& its = code(traffic_class);
  if (!its.decoder) {
    its.decoder = std::make_unique<ErasureDecoder>(kSymbolMax, kDecoderWindow, kEquationsMax);
  }
  return its;
}

void PathReceiver::on_source(Instant now, const PathArrival& arrival, const PathHeader& header,
                             MutableBytes packet, Bytes connection_id, QuicPacketSink& sink) {
  const uint64_t sequence = header.sequence;
  ++counters_.sources;
  const bool first = comes_first(sequence);
  const bool tells_of_the_way = first && in_time(now, sequence);
  const uint32_t since_stamp = elapsed_stamp(now, header.stamp);
  const Source source{.sequence = sequence,
                      .traffic_class = class_of(header.kind),
                      .delay = tells_of_the_way ? stamp_difference_.unwrap(since_stamp)
                                                : stamp_difference_.peek(since_stamp),
                      // The QUIC packet takes the place of what was before and of the header.
                      .quic_packet = packet.subspan(kPathHeaderSize)};
  if (first) {
    requests_left_ = std::min(requests_left_ + kRequestShare, kRequestBurst);
    count_received(arrival, packet.size());
    heard_since_report_ = true;
  }
  if (tells_of_the_way) measure(now, header.stamp, source.delay);

  const uint8_t first_byte = packet[0];
  if (header.coded && first) {
    coded_at_ = now;
    Code& its = code_with_decoder(source.traffic_class);
    const uint64_t symbol = unwrap(its.expected_symbol, header.symbol, PathHeader::kSymbolBits);
    its.expected_symbol = std::max(its.expected_symbol, symbol + 1);
    const SourceSymbol content{.first_byte = first_byte,
                               .sequence = static_cast<uint16_t>(sequence),
                               .stamp = header.stamp,
                               .rest = packet.subspan(kPathPrefixSize + kPathHeaderSize)};
    its.decoder->add_source(static_cast<uint32_t>(symbol), symbol_head(content), content.rest);
  }
  source.quic_packet[0] = first_byte;
  std::ranges::copy(connection_id, source.quic_packet.begin() + 1);
  accept(now, arrival, source, sink);
  if (header.coded && first) take_recovered(now, arrival, connection_id, sink);
}

// Copies and what is older than anybody remembers are handed on, and change nothing else.
bool PathReceiver::comes_first(uint64_t sequence) {
  if (sequence >= highest_ || mutant("path.source.replay.remove")) return true;
  return sequence + kOrderWindow > highest_ && !entry(sequence).came;
}

// What was asked for again, or counts as lost already, tells nothing about the way.
bool PathReceiver::in_time(Instant now, uint64_t sequence) {
  if (sequence >= highest_ || mutant("path.source.late.remove")) return true;
  if (sequence + kOrderWindow <= highest_) return false;
  const Entry& its = entry(sequence);
  return !its.requested && now < its.known_at + kSettleTime;
}

void PathReceiver::count_received(const PathArrival& arrival, size_t size) {
  report_.received_bytes += size;
  if (arrival.ecn == Ecn::Ce) ++report_.congestion_marks;
}

void PathReceiver::measure(Instant now, uint32_t stamp, Duration delay) {
  report_.echo_stamp = stamp;
  newest_at_ = now;
  delays_.add(now, delay);
  report_delay_min_ = std::min(report_delay_min_.value_or(delay), delay);
  report_delay_max_ = std::max(report_delay_max_.value_or(delay), delay);
}

void PathReceiver::on_repair(Instant now, const PathArrival& arrival, const PathHeader& header,
                             MutableBytes packet) {
  constexpr size_t kOverhead =
      kPathPrefixSize + kPathHeaderSize + kRepairParametersSize + kRepairTagSize;
  if (packet.size() <= kOverhead) {
    ++counters_.forged;
    return;
  }
  const Bytes symbol = packet.subspan(kOverhead - kRepairTagSize, packet.size() - kOverhead);
  const uint8_t* tag = packet.data() + packet.size() - kRepairTagSize;
  const uint64_t claimed = uint64_t{load_be32(tag)} << 32 | load_be32(tag + 4);
  const auto in = packet.subspan<kPathPrefixSize + kPathHeaderSize, kRepairParametersSize>();
  const auto parameters = read_repair_parameters(in);
  if (!parameters || (protection_.tag(bound_repair(header, in), symbol) != claimed &&
                      !mutant("path.repair.tag.remove"))) {
    ++counters_.forged;
    return;
  }
  ++counters_.repairs;
  // Of so long ago that the symbols' numbers may mean others by now, or here already.
  if (header.sequence + kOrderWindow <= highest_) return;
  const bool is_new = parameters->code == ErasureCode::SlidingWindow
                          ? count_repair(header, *parameters)
                          : first_with(claimed);
  if (!is_new && !mutant("path.repair.replay.remove")) return;
  count_received(arrival, packet.size());
  coded_at_ = now;
  if (header.sequence < highest_ + kJumpMax) hear_of(now, header.sequence);
  Code& its = code_with_decoder(parameters->traffic_class);
  const uint64_t first = unwrap(its.expected_symbol, header.symbol, PathHeader::kSymbolBits);
  its.decoder->add_repair({.code = parameters->code,
                           .first = static_cast<uint32_t>(first),
                           .count = parameters->count,
                           .key = parameters->key},
                          symbol);
}

// Keys of the sliding window run on by one: a gap is a lost repair, and as good a sample of the
// link as a lost source. False: it came before, or is too late to be of use.
bool PathReceiver::count_repair(const PathHeader& header, const RepairParameters& parameters) {
  Code& its = code(parameters.traffic_class);
  constexpr uint16_t kGapMax = 64;  // bits of keys_seen; beyond it, counting begins anew
  const auto step = static_cast<uint16_t>(parameters.key - its.last_key);
  const auto back = static_cast<uint16_t>(-step);
  PathReport::PerClass& figures = figures_of(parameters.traffic_class);
  if (back < kGapMax && its.keys_seen != 0) {
    const uint64_t bit = uint64_t{1} << back;
    if ((its.keys_seen & bit) != 0) return false;
    if (figures.lost > 0) --figures.lost;  // it was only late
    its.keys_seen |= bit;
    return true;
  }
  if (header.sequence < its.newest_repair) return false;
  its.newest_repair = header.sequence;
  const bool near = step < kGapMax && its.keys_seen != 0;
  if (near) {
    figures.settled += step;
    figures.lost += static_cast<uint64_t>(step) - 1;
    figures.loss_events += step > 1 ? 1 : 0;
  }
  its.keys_seen = near ? its.keys_seen << step | 1 : ~uint64_t{0};
  its.last_key = parameters.key;
  return true;
}

// Block codes do not count their repairs: a tag says which one it is.
bool PathReceiver::first_with(uint64_t tag) {
  if (recent_tags_.empty()) recent_tags_.resize(kRecentTags);
  uint64_t& place = recent_tags_[tag % kRecentTags];
  return std::exchange(place, tag) != tag;
}

std::optional<PathMessage> PathReceiver::on_control(const PathHeader& header, MutableBytes packet) {
  const BoundControl associated = bound_control(header, packet);
  const Bytes sealed = packet.subspan(kPathPrefixSize + kPathHeaderSize);
  std::array<uint8_t, kPathMessageMax> plain;
  if (sealed.size() < PathProtection::kSealOverhead ||
      (sealed.size() - PathProtection::kSealOverhead > plain.size() &&
       !mutant("path.message.size.remove"))) {
    ++counters_.forged;
    return std::nullopt;
  }
  const size_t size = sealed.size() - PathProtection::kSealOverhead;
  if (!protection_.open(associated, sealed, MutableBytes(plain).first(size)) &&
      !mutant("path.message.seal.remove")) {
    ++counters_.forged;
    return std::nullopt;
  }
  return read_path_message(Bytes(plain).first(size));
}

void PathReceiver::take_recovered(Instant now, const PathArrival& arrival, Bytes connection_id,
                                  QuicPacketSink& sink) {
  for (const TrafficClass traffic_class : {TrafficClass::RealTime, TrafficClass::Bulk}) {
    Code& its = code(traffic_class);
    if (!its.decoder) continue;
    while (const auto recovered = its.decoder->poll_recovered()) {
      const auto symbol = read_symbol(recovered->symbol);
      if (!symbol) {
        ++counters_.damaged;
        continue;
      }
      std::array<uint8_t, kPacketMax> packet;
      const size_t size = kPathPrefixSize + symbol->rest.size();
      if (size > packet.size()) continue;
      packet[0] = symbol->first_byte;
      std::ranges::copy(connection_id, packet.begin() + 1);
      std::ranges::copy(symbol->rest, packet.begin() + kPathPrefixSize);
      PathArrival like = arrival;
      like.rebuilt = true;
      like.ecn =
          settings_.recovered_as == PathSettings::RecoveredAs::Marked ? Ecn::Ce : arrival.ecn;
      accept(now, like,
             {.sequence = unwrap(highest_, symbol->sequence, 16),
              .traffic_class = traffic_class,
              .way = Source::Way::Recovered,
              .delay = stamp_difference_.peek(elapsed_stamp(now, symbol->stamp)),
              .quic_packet = MutableBytes(packet).first(size)},
             sink);
    }
  }
}

}  // namespace masque
