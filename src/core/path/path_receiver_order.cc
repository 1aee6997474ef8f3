// SPDX-License-Identifier: Apache-2.0
// The order of all sources: what is missing, what is held, when a hole is passed over.
#include <algorithm>

#include "base/mutant.h"
#include "core/path/path_receiver.h"

namespace masque {

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
    if (its.came) ++counters_.duplicates;
    its.came = true;
    if (had) {
      hand_on_copy(now, arrival, source, sink);
      return;
    }
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

// One of the two may be forged, also the first: only QUIC can tell, and it takes each once.
void PathReceiver::hand_on_copy(Instant now, const PathArrival& arrival, const Source& source,
                                QuicPacketSink& sink) {
  const Entry& its = entry(source.sequence);
  if (mutant("path.copy.remove")) return;
  if (its.state == State::Held &&
      std::ranges::equal(source.quic_packet, storage(its.slot).first(slots_[its.slot].size)))
    return;
  hand_on(now, arrival, source, sink);
}

void PathReceiver::deliver(Instant now, const PathArrival& arrival, const Source& source,
                           QuicPacketSink& sink) {
  ++counts_of(source.traffic_class).delivered;
  hand_on(now, arrival, source, sink);
}

void PathReceiver::hand_on(Instant now, const PathArrival& arrival, const Source& source,
                           QuicPacketSink& sink) {
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

// Counts what is certain by now: missing for so long is lost, not late.
void PathReceiver::settle(Instant now) {
  while (settled_ < highest_ && entry(settled_).known_at + kSettleTime <= now) {
    const Entry& its = entry(settled_);
    if (its.state == State::Held || its.state == State::Delivered) last_class_ = its.traffic_class;
    PathReport::PerClass& figures = figures_of(last_class_);
    ++figures.settled;
    if (its.came && !its.requested) {
      last_fate_ = Fate::Arrived;
    } else {
      ++figures.lost;
      if (last_fate_ == Fate::Arrived) ++figures.loss_events;
      last_fate_ = Fate::Lost;
    }
    ++settled_;
  }
}

}  // namespace masque
