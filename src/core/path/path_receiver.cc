// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_receiver.h"

#include <cstring>

#include "base/mutant.h"
#include "core/path/source_symbol.h"

namespace masque {

namespace {

constexpr size_t kDecoderWindow = 512;
constexpr size_t kEquationsMax = 64;
constexpr size_t kSymbolMax = kSymbolHeadSize + PathReceiver::kPacketMax;
// A place so far beyond the newest is more likely damage than a gap.
constexpr uint64_t kJumpMax = PathReceiver::kOrderWindow / 2;
constexpr Duration kHoldMargin = 4ms;
constexpr Duration kHoldFirst = 25ms;      // before anything is known of repairs
constexpr Duration kCodedRecently = 2s;    // so long after the last repair others are expected
constexpr Duration kRequestRttMax = 80ms;  // above it asking again takes longer than repairs
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
  apply_path_mask(protection_, packet, MaskExtent::Header);
  const auto header = read_path_header(packet.subspan<kPathPrefixSize, kPathHeaderSize>());
  if (!header) {
    ++counters_.damaged;
    return std::nullopt;
  }
  report_.received_bytes += packet.size();
  if (arrival.ecn == Ecn::Ce) ++report_.congestion_marks;
  std::optional<PathMessage> message;
  switch (header->kind) {
    case PathPacketKind::BulkSource:
    case PathPacketKind::RealTimeSource:
      on_source(now, arrival, *header, packet, connection_id, sink);
      break;
    case PathPacketKind::Repair:
      on_repair(now, *header, packet);
      take_recovered(now, arrival, connection_id, sink);
      break;
    case PathPacketKind::Control:
      message = on_control(packet);
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
  const uint64_t sequence = unwrap(highest_, header.sequence, PathHeader::kSequenceBits);
  if (!plausible(sequence)) {
    ++counters_.damaged;
    return;
  }
  ++counters_.sources;
  requests_left_ = std::min(requests_left_ + kRequestShare, kRequestBurst);
  const Source source{.sequence = sequence,
                      .traffic_class = class_of(header.kind),
                      .delay = relative_delay(now, header.stamp),
                      // The QUIC packet takes the place of what was before and of the header.
                      .quic_packet = packet.subspan(kPathHeaderSize)};
  // What was asked for again tells nothing about the way.
  if (!was_requested(sequence)) {
    delays_.add(now, source.delay);
    report_delay_min_ = std::min(report_delay_min_.value_or(source.delay), source.delay);
    report_delay_max_ = std::max(report_delay_max_.value_or(source.delay), source.delay);
  }
  report_.echo_stamp = header.stamp;
  newest_at_ = now;
  heard_since_report_ = true;

  const uint8_t first_byte = packet[0];
  if (header.coded) {
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
  if (header.coded) take_recovered(now, arrival, connection_id, sink);
}

bool PathReceiver::was_requested(uint64_t sequence) {
  return sequence < highest_ && sequence + kOrderWindow > highest_ && entry(sequence).requested;
}

// Damage that slips through the check must not move the order.
bool PathReceiver::plausible(uint64_t sequence) {
  if (sequence < highest_ + kJumpMax || mutant("path.jump.remove")) return true;
  const bool agrees =
      outlier_ && sequence < *outlier_ + kJumpMax && sequence + kJumpMax > *outlier_;
  outlier_ = sequence;
  return agrees;
}

void PathReceiver::on_repair(Instant now, const PathHeader& header, MutableBytes packet) {
  constexpr size_t kOverhead =
      kPathPrefixSize + kPathHeaderSize + kRepairParametersSize + kRepairTagSize;
  if (packet.size() <= kOverhead) {
    ++counters_.forged;
    return;
  }
  apply_path_mask(protection_, packet, MaskExtent::Parameters);  // the header is in clear already
  const Bytes head = packet.subspan(kPathPrefixSize, kPathHeaderSize + kRepairParametersSize);
  const Bytes symbol = packet.subspan(kOverhead - kRepairTagSize, packet.size() - kOverhead);
  const uint8_t* tag = packet.data() + packet.size() - kRepairTagSize;
  const uint64_t claimed = uint64_t{load_be32(tag)} << 32 | load_be32(tag + 4);
  const auto parameters = read_repair_parameters(
      packet.subspan<kPathPrefixSize + kPathHeaderSize, kRepairParametersSize>());
  if (!parameters ||
      (protection_.tag(head, symbol) != claimed && !mutant("path.repair.tag.remove"))) {
    ++counters_.forged;
    return;
  }
  ++counters_.repairs;
  coded_at_ = now;
  const uint64_t end = unwrap(highest_, header.sequence, PathHeader::kSequenceBits);
  if (end < highest_ + kJumpMax) hear_of(now, end);
  count_repair(*parameters);
  Code& its = code_with_decoder(parameters->traffic_class);
  const uint64_t first = unwrap(its.expected_symbol, header.symbol, PathHeader::kSymbolBits);
  its.decoder->add_repair({.code = parameters->code,
                           .first = static_cast<uint32_t>(first),
                           .count = parameters->count,
                           .key = parameters->key},
                          symbol);
}

// Keys of the sliding window run on by one: a gap is a lost repair, and as good a sample of the
// link as a lost source.
void PathReceiver::count_repair(const RepairParameters& parameters) {
  if (parameters.code != ErasureCode::SlidingWindow) return;
  Code& its = code(parameters.traffic_class);
  constexpr uint16_t kGapMax = 64;  // bits of keys_seen; beyond it, counting begins anew
  const auto step = static_cast<uint16_t>(parameters.key - its.last_key);
  const auto back = static_cast<uint16_t>(-step);
  PathReport::PerClass& figures = figures_of(parameters.traffic_class);
  if (back < kGapMax && its.keys_seen != 0) {
    const uint64_t bit = uint64_t{1} << back;
    if ((its.keys_seen & bit) == 0 && figures.lost > 0) --figures.lost;  // it was only late
    its.keys_seen |= bit;
    return;
  }
  const bool near = step < kGapMax && its.keys_seen != 0;
  if (near) {
    figures.settled += step;
    figures.lost += static_cast<uint64_t>(step) - 1;
    figures.loss_events += step > 1 ? 1 : 0;
  }
  its.keys_seen = near ? its.keys_seen << step | 1 : ~uint64_t{0};
  its.last_key = parameters.key;
}

std::optional<PathMessage> PathReceiver::on_control(MutableBytes packet) {
  const Bytes associated = packet.first(kPathPrefixSize + kPathHeaderSize);
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
              .delay = relative_delay(now, symbol->stamp),
              .quic_packet = MutableBytes(packet).first(size)},
             sink);
    }
  }
}

// The order advances to `end`: what lies between was sent and is missing.
void PathReceiver::hear_of(Instant now, uint64_t end) {
  while (highest_ < end) {
    if (highest_ >= settled_ + kOrderWindow) settle(now);
    if (highest_ >= settled_ + kOrderWindow) ++settled_;  // more at once than the window holds
    if (next_ + kOrderWindow <= highest_) pass_over();
    entry(highest_) = Entry{.known_at = now};
    ++highest_;
  }
}

void PathReceiver::accept(Instant now, const PathArrival& arrival, const Source& source,
                          QuicPacketSink& sink) {
  if (source.sequence + kOrderWindow <= highest_) {
    ++counters_.late;
    if (source.way != Source::Way::Arrived) return;
    ++counts_of(source.traffic_class).late;
    deliver(now, arrival, source, sink);
    return;
  }
  // A sender that begins far from zero, or a gap as long as the window: go on from here.
  if (source.sequence > highest_ + kJumpMax) {
    while (next_ < highest_) {
      pass_over();
      drain(now, sink);
    }
    next_ = highest_ = settled_ = asked_ = source.sequence;
    // What was before has no place any more: should it come, it goes at once.
    order_.assign(kOrderWindow, Entry{.known_at = now, .state = State::PassedOver});
  }
  while (next_ < highest_ && next_ + kOrderWindow <= source.sequence) {
    pass_over();
    drain(now, sink);
  }
  hear_of(now, source.sequence + 1);
  Entry& its = entry(source.sequence);
  its.traffic_class = source.traffic_class;
  const bool had = its.state == State::Held || its.state == State::Delivered;
  if (source.way == Source::Way::Arrived) {
    if (its.arrived) ++counters_.duplicates;
    its.arrived |= !its.requested;
    if (had) return;
  } else {
    if (had) return;
    recovery_times_.add(now, now - its.known_at);
    if (its.state == State::Missing) {
      ++counters_.recovered;
      ++figures_of(source.traffic_class).recovered;
    }
  }
  // What is held goes without the hole.
  if (held_ == kHeldMax && source.sequence != next_ && !mutant("path.held.limit.remove")) {
    pass_over();
    drain(now, sink);
  }
  if (its.state == State::PassedOver) {
    ++counters_.late;
    ++counts_of(source.traffic_class).late;
    its.state = State::Delivered;
    deliver(now, arrival, source, sink);
  } else if (source.sequence == next_) {
    its.state = State::Delivered;
    ++next_;
    deliver(now, arrival, source, sink);
  } else {
    hold(now, arrival, source);
  }
}

void PathReceiver::deliver(Instant now, const PathArrival& arrival, const Source& source,
                           QuicPacketSink& sink) {
  ++counts_of(source.traffic_class).delivered;
  sink.on_quic_packet(
      now, arrival,
      DatagramOrigin{.traffic_class = source.traffic_class, .relative_delay = source.delay},
      source.quic_packet);
}

void PathReceiver::hold(Instant now, const PathArrival& arrival, const Source& source) {
  if (!storage_) {
    storage_ = std::make_unique_for_overwrite<uint8_t[]>(kHeldMax * kPacketMax);
    slots_.resize(kHeldMax);
    free_slots_.reserve(kHeldMax);
    for (size_t i = kHeldMax; i > 0; --i) free_slots_.push_back(static_cast<uint16_t>(i - 1));
  }
  ++counters_.held;
  const uint16_t place = free_slots_.back();
  free_slots_.pop_back();
  std::ranges::copy(source.quic_packet, storage(place).begin());
  // Until the slowest sibling would have come, within the budget.
  constexpr Duration kNone{};
  const Duration slack = delays_.high(now).value_or(source.delay) - source.delay;
  const Duration budget =
      delays_.low(now).value_or(source.delay) + settings_.realtime_budget - source.delay;
  slots_[place] = {
      .arrival = arrival,
      .origin = {.traffic_class = source.traffic_class, .relative_delay = source.delay},
      .since = now,
      .deadline = now + std::min(std::max(slack, kNone) + kHoldMargin, std::max(budget, kNone)),
      .size = static_cast<uint16_t>(source.quic_packet.size())};
  Entry& its = entry(source.sequence);
  its.state = State::Held;
  its.slot = place;
  ++held_;
  if (source.traffic_class == TrafficClass::RealTime) ++held_realtime_;
}

void PathReceiver::release_slot(uint16_t slot) {
  free_slots_.push_back(slot);
  --held_;
  if (slots_[slot].origin.traffic_class == TrafficClass::RealTime) --held_realtime_;
}

void PathReceiver::drain(Instant now, QuicPacketSink& sink) {
  while (next_ < highest_) {
    Entry& its = entry(next_);
    if (its.state == State::Held) {
      const uint16_t place = its.slot;
      Slot& slot = slots_[place];
      its.state = State::Delivered;
      ++next_;
      ++counts_of(slot.origin.traffic_class).delivered;
      slot.origin.held = now - slot.since;
      sink.on_quic_packet(now, slot.arrival, slot.origin, storage(place).first(slot.size));
      release_slot(place);
    } else if (its.state == State::Missing) {
      if (now < hole_deadline(now)) return;
      pass_over();
    } else {
      ++next_;
    }
  }
}

// Gives up waiting for the missing packets at the head of the order.
void PathReceiver::pass_over() {
  while (next_ < highest_ && entry(next_).state == State::Missing) {
    Entry& its = entry(next_);
    its.state = State::PassedOver;
    ++counters_.abandoned;
    ++figures_of(last_class_).abandoned;
    ++next_;
  }
  if (next_ >= highest_ || next_ + kOrderWindow > highest_) return;
  // The window is full: what is held at its head has to go too, and only drain() can hand it on.
  Entry& its = entry(next_);
  if (its.state == State::Held) {
    release_slot(its.slot);
    its.state = State::PassedOver;
  }
  ++next_;
}

Duration PathReceiver::delay_spread(Instant now) {
  const auto low = delays_.low(now);
  const auto high = delays_.high(now);
  return low && high ? *high - *low : Duration::zero();
}

PathReceiver::Asking PathReceiver::asking(Instant now) const {
  const bool kept = coded_at_ && now - *coded_at_ < kCodedRecently;
  if (!kept || rtt_ == Duration::zero()) return Asking::Never;
  return rtt_ <= kRequestRttMax ? Asking::InTime : Asking::Late;
}

Duration PathReceiver::request_wait(Instant now) { return delay_spread(now) + kHoldMargin / 2; }

Duration PathReceiver::hold_limit(Instant now) {
  const bool repairs = coded_at_ && now - *coded_at_ < kCodedRecently;
  const Duration recovery =
      repairs ? recovery_times_.high(now).value_or(kHoldFirst) : Duration::zero();
  const Duration spread = delay_spread(now);
  Duration limit = std::max(spread + spread / 4, recovery + recovery / 4) + kHoldMargin;
  if (asking(now) == Asking::InTime) {
    limit = std::max(limit, request_wait(now) + rtt_ + rtt_ / 4 + kHoldMargin);
  }
  return std::min(limit, settings_.hold_max);
}

// When the hole at the head of the order is given up.
Instant PathReceiver::hole_deadline(Instant now) {
  Instant deadline = entry(next_).known_at + hold_limit(now);
  if (held_realtime_ == 0) return deadline;
  // A real-time packet goes when its slowest sibling would have come: waiting so long costs it
  // nothing, because it is released at a time of its own.
  size_t seen = 0;
  for (uint64_t s = next_ + 1; s < highest_ && seen < held_realtime_; ++s) {
    const Entry& its = entry(s);
    if (its.state != State::Held) continue;
    const Slot& slot = slots_[its.slot];
    if (slot.origin.traffic_class != TrafficClass::RealTime) continue;
    ++seen;
    deadline = std::min(deadline, slot.deadline);
  }
  return deadline;
}

std::optional<Instant> PathReceiver::next_timeout(Instant now) {
  if (next_ >= highest_) return std::nullopt;
  return hole_deadline(now);
}

// The first that is missing and was not asked for.
std::optional<uint64_t> PathReceiver::next_to_ask(Instant now) {
  const Asking when = asking(now);
  if (when == Asking::Never || requests_left_ < 1) return std::nullopt;
  const uint64_t oldest = highest_ > kOrderWindow ? highest_ - kOrderWindow : 0;
  asked_ = std::max(asked_, oldest);
  const uint64_t end = when == Asking::InTime ? highest_ : next_;
  for (; asked_ < end; ++asked_) {
    if (is_missing(asked_) && !entry(asked_).requested) return asked_;
  }
  return std::nullopt;
}

bool PathReceiver::is_missing(uint64_t sequence) {
  if (sequence + kOrderWindow <= highest_) return false;  // nobody remembers
  const State state = entry(sequence).state;
  return state == State::Missing || state == State::PassedOver;
}

// So long an answer takes, asking included.
Duration PathReceiver::answer_wait(Instant now) { return request_wait(now) + rtt_ + rtt_ / 4; }

std::optional<Instant> PathReceiver::next_request(Instant now) {
  if (asking(now) == Asking::Never || requests_left_ < 1) return std::nullopt;
  std::optional<Instant> again;
  if (!awaited_.empty()) {  // this runs for every packet
    again = awaited_.next_due(answer_wait(now), [this](uint64_t one) { return is_missing(one); });
  }
  const auto sequence = next_to_ask(now);
  if (!sequence) return again;
  return earlier(entry(*sequence).known_at + request_wait(now), again);
}

void PathReceiver::on_timeout(Instant now, QuicPacketSink& sink) {
  drain(now, sink);
  settle(now);
}

// Counts what is certain by now: missing for so long is lost, not late.
void PathReceiver::settle(Instant now) {
  while (settled_ < highest_ && entry(settled_).known_at + kSettleTime <= now) {
    const Entry& its = entry(settled_);
    if (its.state == State::Held || its.state == State::Delivered) last_class_ = its.traffic_class;
    PathReport::PerClass& figures = figures_of(last_class_);
    ++figures.settled;
    if (its.arrived) {
      last_fate_ = Fate::Arrived;
    } else {
      ++figures.lost;
      if (last_fate_ == Fate::Arrived) ++figures.loss_events;
      last_fate_ = Fate::Lost;
    }
    ++settled_;
  }
}

bool PathReceiver::report_due(Instant now) const {
  if (!heard_since_report_) return false;
  // Often enough to act within a round trip, and never more than a few percent of what comes.
  constexpr Duration kFastest = 10ms;
  constexpr Duration kSlowest = 40ms;
  constexpr Duration kRarest = 300ms;
  constexpr uint64_t kBytesPerReport = 3000;
  constexpr uint64_t kBytesAtLeast = 600;  // a keep-alive now and then needs no report
  const Duration waited = now - reported_at_;
  if (waited < std::clamp(rtt_ / 4, kFastest, kSlowest)) return false;
  const uint64_t bytes = report_.received_bytes - bytes_at_report_;
  return bytes >= kBytesPerReport || (waited >= kRarest && bytes >= kBytesAtLeast);
}

PathReport PathReceiver::make_report(Instant now) {
  settle(now);
  ++report_.number;
  report_.highest = highest_;
  report_.clock_us = to_ns(newest_at_) / 1000;
  report_.echo_delay_us = static_cast<uint64_t>((now - newest_at_) / 1us);
  const auto modulo = [](Duration delay) {
    return static_cast<uint32_t>(delay / PathStamp::kUnit) & (PathStamp::kModulus - 1);
  };
  report_.delay_min = modulo(report_delay_min_.value_or(Duration::zero()));
  report_.delay_max = modulo(report_delay_max_.value_or(Duration::zero()));
  report_delay_min_.reset();
  report_delay_max_.reset();
  heard_since_report_ = false;
  reported_at_ = now;
  bytes_at_report_ = report_.received_bytes;
  return report_;
}

std::optional<PathRequest> PathReceiver::make_request(Instant now) {
  const auto due = next_request(now);
  if (!due || *due > now) return std::nullopt;
  const Duration wait = request_wait(now);
  PathRequest request;
  uint64_t from = 0;
  while (request.count < PathRequest::kSequencesMax && requests_left_ >= 1) {
    const auto sequence = awaited_.ask_again(now, answer_wait(now), from);
    if (!sequence) break;
    requests_left_ -= 1;
    request.sequences[request.count++] = *sequence;
    from = *sequence + 1;
  }
  while (request.count < PathRequest::kSequencesMax) {
    const auto sequence = next_to_ask(now);
    if (!sequence || entry(*sequence).known_at + wait > now) break;  // later ones: known later
    entry(*sequence).requested = true;
    awaited_.on_asked(now, *sequence);
    requests_left_ -= 1;
    request.sequences[request.count++] = *sequence;
  }
  if (request.count == 0) return std::nullopt;
  return request;
}

}  // namespace masque
