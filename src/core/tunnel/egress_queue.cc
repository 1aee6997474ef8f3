// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/egress_queue.h"

#include <algorithm>
#include <utility>

#include "core/ip/packet.h"
#include "core/tunnel/packet_mark.h"

namespace masque {

EgressQueue::EgressQueue(const EgressQueueOptions& options)
    : options_(options),
      arena_(options.bytes_max),
      meta_(std::make_unique_for_overwrite<Meta[]>(arena_.handle_count())) {}

void EgressQueue::set_pace(const SendingPace& pace) {
  constexpr CodelOptions kLeast;
  constexpr Duration kIntervalMax = 500ms;
  const Duration interval = std::clamp(pace.round_trip * 3 / 2, kLeast.interval, kIntervalMax);
  options_.codel = {.target = std::max(kLeast.target, pace.round_trip / 6), .interval = interval};
  if (pace.searching) options_.codel.target = Duration::max();
}

// --- lists ---

void EgressQueue::append(Fifo& fifo, Handle packet) {
  meta_[packet].next = kNone;
  if (fifo.head == kNone) {
    fifo.head = packet;
  } else {
    meta_[fifo.tail].next = packet;
  }
  fifo.tail = packet;
}

EgressQueue::Handle EgressQueue::take_head(Fifo& fifo) {
  const Handle packet = fifo.head;
  fifo.head = meta_[packet].next;
  return packet;
}

void EgressQueue::append(FlowList& list, FlowIndex flow) {
  flows_[flow].next = kNoFlow;
  if (list.head == kNoFlow) {
    list.head = flow;
  } else {
    flows_[list.tail].next = flow;
  }
  list.tail = flow;
}

EgressQueue::FlowIndex EgressQueue::take_head(FlowList& list) {
  const FlowIndex flow = list.head;
  list.head = flows_[flow].next;
  return flow;
}

// --- in ---

void EgressQueue::push(Instant now, TrafficClass traffic_class, uint64_t flow,
                       const PacketSlices& packet) {
  front_ = Front::None;
  const size_t cost = PacketArena::cost(packet.size());
  const bool is_realtime = traffic_class == TrafficClass::RealTime;
  const size_t limit = is_realtime ? bytes_max() / kRealTimeShare : bytes_max();
  if (cost > limit || packet.size() > kPacketSizeMax) {
    ++counters_.overflow;
    if (is_realtime) ++counters_.realtime_dropped;
    return;
  }
  while (is_realtime && realtime_bytes_ + cost > limit) {
    const Handle oldest = take_head(realtime_);
    realtime_bytes_ -= PacketArena::cost(arena_.size_of(oldest));
    ++counters_.realtime_dropped;
    discard(oldest, counters_.overflow);
  }
  Handle stored = arena_.store(packet);
  while (stored == kNone) {
    make_room();
    stored = arena_.store(packet);
  }
  meta_[stored].since = now;
  ++count_;
  if (is_realtime) {
    realtime_bytes_ += cost;
    append(realtime_, stored);
  } else {
    push_bulk(flow, stored);
  }
}

// A flow keeps its place while it has packets; a new one takes a free place of its set, or joins
// the shortest flow of it.
EgressQueue::FlowIndex EgressQueue::find_flow(uint64_t flow) {
  if (!flows_) flows_ = std::make_unique_for_overwrite<Flow[]>(kFlows);
  const size_t first = flow % kSets * kWays;
  const uint32_t tag = static_cast<uint32_t>(flow >> 32) | 1;
  size_t best = first;
  for (size_t i = first; i < first + kWays; ++i) {
    // Also an idle one: its CoDel remembers.
    if (tags_[i] == tag) return static_cast<FlowIndex>(i);
    const bool idle = turns_[i] == Turn::Idle;
    const bool best_idle = turns_[best] == Turn::Idle;
    if (idle != best_idle ? idle : flow_bytes_[i] < flow_bytes_[best]) best = i;
  }
  if (turns_[best] == Turn::Idle) {
    flows_[best] = Flow{};
    tags_[best] = tag;
  }
  return static_cast<FlowIndex>(best);
}

void EgressQueue::push_bulk(uint64_t number, Handle packet) {
  const FlowIndex index = find_flow(number);
  Flow& flow = flows_[index];
  append(flow.packets, packet);
  flow_bytes_[index] += static_cast<uint32_t>(arena_.size_of(packet));
  if (turns_[index] != Turn::Idle) return;
  turns_[index] = Turn::New;
  flow.deficit = kQuantum;
  append(new_flows_, index);
}

// The head of the longest flow goes; of real time only when nothing else is left.
void EgressQueue::make_room() {
  const auto longest = std::ranges::max_element(flow_bytes_);
  if (*longest > 0) {
    const auto index = static_cast<size_t>(longest - flow_bytes_.begin());
    const Handle packet = take_head(flows_[index].packets);
    *longest -= static_cast<uint32_t>(arena_.size_of(packet));
    return discard(packet, counters_.overflow);
  }
  if (held_ != kNone) {
    const Handle packet = std::exchange(held_, kNone);
    return discard(packet, counters_.overflow);
  }
  MASQUE_ASSERT(realtime_.head != kNone);
  const Handle packet = take_head(realtime_);
  realtime_bytes_ -= PacketArena::cost(arena_.size_of(packet));
  ++counters_.realtime_dropped;
  discard(packet, counters_.overflow);
}

void EgressQueue::discard(Handle packet, uint64_t& reason) {
  arena_.release(packet);
  --count_;
  ++reason;
}

// --- out ---

std::optional<EgressQueue::Waiting> EgressQueue::front(Instant now) {
  expire_realtime(now);
  if (realtime_.head != kNone) {
    front_ = Front::RealTime;
    return Waiting{.packet = arena_.bytes(realtime_.head), .traffic_class = TrafficClass::RealTime};
  }
  if (held_ != kNone && now - meta_[held_].since > options_.bulk_delay_max) {
    discard(std::exchange(held_, kNone), counters_.expired);
  }
  if (held_ == kNone) held_ = next_bulk(now);
  if (held_ == kNone) {
    front_ = Front::None;
    return std::nullopt;
  }
  front_ = Front::Bulk;
  return Waiting{.packet = arena_.bytes(held_), .traffic_class = TrafficClass::Bulk};
}

void EgressQueue::pop() {
  MASQUE_ASSERT(front_ != Front::None);
  Handle packet = held_;
  if (front_ == Front::RealTime) {
    packet = take_head(realtime_);
    realtime_bytes_ -= PacketArena::cost(arena_.size_of(packet));
  } else {
    held_ = kNone;
  }
  front_ = Front::None;
  arena_.release(packet);
  --count_;
}

void EgressQueue::expire_realtime(Instant now) {
  while (realtime_.head != kNone &&
         now - meta_[realtime_.head].since > options_.realtime_delay_max) {
    const Handle packet = take_head(realtime_);
    realtime_bytes_ -= PacketArena::cost(arena_.size_of(packet));
    ++counters_.realtime_dropped;
    discard(packet, counters_.expired);
  }
}

// RFC 8290 4.1.2. A flow that runs empty while new goes once through the old ones, or else it could
// come back as new for ever and starve them.
EgressQueue::Handle EgressQueue::next_bulk(Instant now) {
  for (;;) {
    const bool from_new = new_flows_.head != kNoFlow;
    FlowList& list = from_new ? new_flows_ : old_flows_;
    if (list.head == kNoFlow) return kNone;
    const FlowIndex index = list.head;
    Flow& flow = flows_[index];
    if (flow.deficit <= 0) {
      flow.deficit += kQuantum;
      turns_[index] = Turn::Old;
      append(old_flows_, take_head(list));
      continue;
    }
    const Handle packet = next_of(now, index);
    if (packet != kNone) {
      flow.deficit -= static_cast<int32_t>(arena_.size_of(packet));
      return packet;
    }
    take_head(list);
    if (from_new && old_flows_.head != kNoFlow) {
      turns_[index] = Turn::Old;
      append(old_flows_, index);
    } else {
      turns_[index] = Turn::Idle;
    }
  }
}

// The first packet of a flow that may go, after those that its AQM takes.
EgressQueue::Handle EgressQueue::next_of(Instant now, FlowIndex index) {
  Flow& flow = flows_[index];
  while (flow.packets.head != kNone) {
    const Handle packet = take_head(flow.packets);
    flow_bytes_[index] -= static_cast<uint32_t>(arena_.size_of(packet));
    const Duration sojourn = now - meta_[packet].since;
    sojourn_ = sojourn;
    if (sojourn > options_.bulk_delay_max) {
      discard(packet, counters_.expired);
      continue;
    }
    if (!flow.codel.wants_signal(now, sojourn, flow_bytes_[index], options_.codel)) return packet;
    switch (congestion_signal(arena_.head(packet), arena_.size_of(packet))) {
      case CongestionSignal::Spare:
        return packet;
      case CongestionSignal::Marked:
        flow.codel.on_signal(now, options_.codel);
        ++counters_.codel_marked;
        return packet;
      case CongestionSignal::Drop:
        flow.codel.on_signal(now, options_.codel);
        discard(packet, counters_.codel_dropped);
        break;
    }
  }
  flow.codel.on_empty();
  return kNone;
}

}  // namespace masque
