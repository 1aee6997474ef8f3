// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/release_queue.h"

#include <utility>

namespace masque {

ReleaseQueue::ReleaseQueue(const ReleaseOptions& options)
    : options_(options), target_({.allowance = options.allowance}) {}

void ReleaseQueue::push(Instant now, Duration relative_delay, Bytes packet, ReleaseSink& sink) {
  if (!arena_) {
    arena_ = std::make_unique<PacketArena>(options_.bytes_max);
    entries_ = std::make_unique_for_overwrite<Entry[]>(options_.packets_max);
  }
  ++figures_.packets;
  before_.on_packet(relative_delay);
  const bool late = target_.known(now) && relative_delay > target_.value();
  target_.on_packet(now, relative_delay);
  const Instant stamp = now - relative_delay;
  if (late || PacketArena::cost(packet.size()) > arena_->capacity()) {
    ++(late ? figures_.late : figures_.early);
    release_until(now, stamp, sink);  // those before it are due as well
    sink.on_release(packet);
    on_released(now, stamp, now);
    return;
  }
  make_room(now, packet.size(), sink);
  const PacketArena::Handle stored = arena_->store({.head = packet, .body = {}});
  MASQUE_ASSERT(stored != PacketArena::kNone);
  insert({.stamp = stamp, .arrival = now, .packet = stored});
  on_timeout(now, sink);  // the target may have come down
}

void ReleaseQueue::make_room(Instant now, size_t size, ReleaseSink& sink) {
  while (count_ == options_.packets_max ||
         arena_->used() + PacketArena::cost(size) > arena_->capacity()) {
    ++figures_.early;
    release_head(now, sink);
  }
}

// Nearly always at the end: the network keeps order, or nearly so.
void ReleaseQueue::insert(const Entry& added) {
  size_t at = count_++;
  for (; at > 0 && entry(at - 1).stamp > added.stamp; --at) entry(at) = entry(at - 1);
  entry(at) = added;
}

std::optional<Instant> ReleaseQueue::next_timeout() const {
  if (count_ == 0) return std::nullopt;
  return entry(0).stamp + target_.value();
}

void ReleaseQueue::on_timeout(Instant now, ReleaseSink& sink) {
  release_until(now, now - target_.value(), sink);
}

void ReleaseQueue::release_until(Instant now, Instant stamp, ReleaseSink& sink) {
  while (count_ > 0 && entry(0).stamp <= stamp) release_head(now, sink);
}

void ReleaseQueue::release_head(Instant now, ReleaseSink& sink) {
  const Entry first = entry(0);
  head_ = (head_ + 1) % options_.packets_max;
  --count_;
  sink.on_release(arena_->bytes(first.packet));
  arena_->release(first.packet);
  on_released(now, first.stamp, first.arrival);
}

void ReleaseQueue::on_released(Instant now, Instant stamp, Instant arrival) {
  after_.on_packet(now - stamp);
  figures_.added_mean += ((now - arrival) - figures_.added_mean) / 16;
}

ReleaseFigures ReleaseQueue::figures() const {
  ReleaseFigures out = figures_;
  out.jitter_before = before_.jitter();
  out.jitter_after = after_.jitter();
  out.target = target_.value() - target_.shortest();
  return out;
}

}  // namespace masque
