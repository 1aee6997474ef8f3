// SPDX-License-Identifier: Apache-2.0
#include "sim/traffic.h"

#include <algorithm>

namespace masque {

namespace {

constexpr uint16_t kDataPort = 5001;
constexpr uint16_t kAckPort = 5002;
constexpr size_t kPayloadOffset = 8 + 8;  // UDP header and id
constexpr Duration kTick = 20ms;
constexpr Duration kTimeoutMin = 300ms;

}  // namespace

void FlowFigures::on_arrival(Instant now, Instant sent_at, size_t bytes) {
  ++arrived;
  bytes_arrived += bytes;
  if (!first_arrival) first_arrival = now;
  if (last_arrival) gap_max = std::max(gap_max, now - *last_arrival);
  last_arrival = now;
  delays.push_back(now - sent_at);
  delay_max = std::max(delay_max, now - sent_at);
}

Duration FlowFigures::delay_percentile(double share) const {
  if (delays.empty()) return {};
  std::vector<Duration> sorted = delays;
  std::ranges::sort(sorted);
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

// ---- Flow -------------------------------------------------------------------------------------

Flow::Flow(World& world, PacketLedger& ledger, Kind kind, InnerNode& from, Destination to,
           FlowOptions options)
    : world_(world),
      ledger_(ledger),
      kind_(kind),
      from_(from),
      to_(std::move(to)),
      options_(std::move(options)) {
  flow_ = ledger_.new_flow([this](InnerNode& at, const IpPacketView&, Bytes packet, InnerId id) {
    // A ping counts when the reply is back.
    if (kind_ == Kind::Ping && &at != &from_) return;
    if (id.sequence < counted_from_) return;
    figures_.on_arrival(world_.now(), sent_at_[id.sequence], packet.size());
  });
  world_.every(options_.interval, [this, alive = alive_] {
    if (!*alive) return false;
    send_one();
    return true;
  });
}

Flow::~Flow() {
  stop();
  ledger_.end_flow(flow_);
}

void Flow::send_one() {
  const auto source = options_.source ? options_.source : from_.address(options_.version);
  const auto destination = to_();
  if (!source || !destination) return;
  const InnerId id{.flow = flow_, .sequence = sequence_++};
  sent_at_.push_back(world_.now());
  ++figures_.sent;
  if (kind_ == Kind::Ping) {
    from_.send(make_echo_request(*source, *destination, id, options_.packet_size), options_.fate);
  } else {
    from_.send(make_udp_packet({.source = *source,
                                .destination = *destination,
                                .port = options_.port,
                                .id = id,
                                .packet_size = options_.packet_size}),
               options_.fate);
  }
}

// ---- Transfer ---------------------------------------------------------------------------------

Transfer::Transfer(World& world, PacketLedger& ledger, InnerNode& from, InnerNode& to,
                   Options options)
    : world_(world), ledger_(ledger), from_(from), to_(to), options_(options) {
  // Segments have one size for life, so that every packet size that PTB allows carries one: 1,000
  // bytes.
  constexpr uint64_t kSegment = 1000;
  total_ = static_cast<uint32_t>((options_.bytes + kSegment - 1) / kSegment);
  acknowledged_.resize(total_);
  have_.resize(total_);
  progress_at_ = world_.now();
  data_flow_ =
      ledger_.new_flow([this](InnerNode& at, const IpPacketView& view, Bytes packet, InnerId) {
        if (&at == &to_) on_data(view, packet);
      });
  ack_flow_ = ledger_.new_flow([this](InnerNode& at, const IpPacketView&, Bytes packet, InnerId) {
    if (&at == &from_) on_acknowledgement(packet);
  });
  world_.every(kTick, [this, alive = alive_] {
    if (!*alive || done()) return false;
    on_tick();
    return true;
  });
}

Transfer::~Transfer() {
  *alive_ = false;
  ledger_.end_flow(data_flow_);
  ledger_.end_flow(ack_flow_);
}

void Transfer::pump() {
  while (outstanding_.size() < static_cast<size_t>(window_)) {
    if (!again_.empty()) {
      const uint32_t segment = again_.back();
      again_.pop_back();
      if (acknowledged_[segment]) continue;
      ++retransmissions_;
      send_segment(segment);
    } else if (next_segment_ < total_) {
      send_segment(next_segment_++);
    } else {
      return;
    }
  }
}

void Transfer::send_segment(uint32_t segment) {
  outstanding_.push_back({.segment = segment, .sequence = data_sequence_, .sent_at = world_.now()});
  const auto source = from_.address(options_.version);
  const auto destination = to_.address(options_.version);
  if (!source || !destination) return;
  ByteBuffer data;
  data.u32(segment);
  const size_t size = std::min(options_.packet_size, from_.path_mtu().value_or(SIZE_MAX));
  from_.send(make_udp_packet({.source = *source,
                              .destination = *destination,
                              .port = kDataPort,
                              .id = {.flow = data_flow_, .sequence = data_sequence_++},
                              .data = data.view(),
                              .packet_size = size}));
}

void Transfer::on_data(const IpPacketView& view, Bytes packet) {
  ByteReader in(packet.subspan(view.transport_offset + 8));
  const auto magic_and_flow = in.u32();
  const auto sequence = in.u32();
  const auto segment = in.u32();
  if (!magic_and_flow || !sequence || !segment || *segment >= total_) return;
  if (!have_[*segment]) {
    have_[*segment] = true;
    ++received_count_;
    stall_max_ = std::max(stall_max_, world_.now() - progress_at_);
    progress_at_ = world_.now();
    while (next_needed_ < total_ && have_[next_needed_]) ++next_needed_;
    if (done()) finished_at_ = world_.now();
  }
  const auto source = to_.address(options_.version);
  const auto destination = from_.address(options_.version);
  if (!source || !destination) return;
  ByteBuffer data;
  data.u32(*sequence);
  data.u32(next_needed_);
  data.u32(*segment);
  to_.send(make_udp_packet({.source = *source,
                            .destination = *destination,
                            .port = kAckPort,
                            .id = {.flow = ack_flow_, .sequence = ack_sequence_++},
                            .data = data.view()}));
}

void Transfer::on_acknowledgement(Bytes packet) {
  const auto view = parse_ip_packet(packet);
  if (!view) return;
  ByteReader in(packet.subspan(view->transport_offset + kPayloadOffset));
  const auto sequence = in.u32();
  const auto below = in.u32();
  const auto segment = in.u32();
  if (!sequence || !below || !segment || *segment >= total_) return;
  acknowledged_[*segment] = true;
  for (size_t i = 0; i < outstanding_.size();) {
    const Outstanding& one = outstanding_[i];
    const bool this_one = one.sequence == *sequence;
    if (this_one || one.segment < *below || acknowledged_[one.segment]) {
      if (this_one) smoothed_ = (smoothed_ * 7 + (world_.now() - one.sent_at)) / 8;
      window_ += window_ < threshold_ ? 1.0 : 1.0 / window_;
      window_ = std::min(window_, static_cast<double>(options_.window_max));
      outstanding_.erase(outstanding_.begin() + static_cast<ptrdiff_t>(i));
    } else if (one.sequence + 20 < *sequence) {
      lose(i);  // twenty later ones have arrived
    } else {
      ++i;
    }
  }
  pump();
}

void Transfer::lose(size_t index) {
  again_.push_back(outstanding_[index].segment);
  outstanding_.erase(outstanding_.begin() + static_cast<ptrdiff_t>(index));
  if (world_.now() - halved_at_ < smoothed_) return;
  halved_at_ = world_.now();
  threshold_ = std::max(window_ / 2, 4.0);
  window_ = threshold_;
}

void Transfer::on_tick() {
  const Duration timeout = std::max(kTimeoutMin, 3 * smoothed_);
  for (size_t i = 0; i < outstanding_.size();) {
    if (world_.now() - outstanding_[i].sent_at >= timeout) {
      lose(i);
    } else {
      ++i;
    }
  }
  pump();
}

}  // namespace masque
