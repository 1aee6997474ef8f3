// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_arena.h"

#include <algorithm>
#include <cstring>

namespace masque {
namespace {

// Copies two slices piece by piece, wherever the pieces end.
class SliceReader {
 public:
  explicit SliceReader(const PacketSlices& packet) : head_(packet.head), body_(packet.body) {}
  void copy_to(uint8_t* out, size_t count) {
    const size_t from_head = std::min(count, head_.size());
    if (from_head > 0) std::memcpy(out, head_.data(), from_head);
    head_ = head_.subspan(from_head);
    const size_t from_body = count - from_head;
    if (from_body > 0) std::memcpy(out + from_head, body_.data(), from_body);
    body_ = body_.subspan(from_body);
  }

 private:
  Bytes head_;
  Bytes body_;
};

}  // namespace

PacketArena::PacketArena(size_t bytes_max)
    : page_count_(static_cast<uint32_t>(std::max<size_t>(bytes_max / (kUnit * kPageUnits), 1))),
      memory_(std::make_unique_for_overwrite<uint8_t[]>(capacity())),
      runs_(std::make_unique_for_overwrite<Run[]>(handle_count())),
      pages_(std::make_unique_for_overwrite<Page[]>(page_count_)),
      free_pages_(std::make_unique_for_overwrite<uint32_t[]>(page_count_)) {}

PacketArena::Handle PacketArena::store(const PacketSlices& packet) {
  const size_t size = packet.size();
  const size_t needed = cost(size) / kUnit;
  if (needed > handle_count() - used_units_) return kNone;
  const auto units = static_cast<uint32_t>(needed);
  if (units <= kPageUnits) {
    const Handle run = take_run(units);
    if (run != kNone) {
      runs_[run] = {.next = kNone, .size = static_cast<uint32_t>(size), .units = units};
      SliceReader(packet).copy_to(memory(run), size);
      return run;
    }
  }
  SliceReader reader(packet);
  Handle first = kNone;
  Handle last = kNone;
  for (uint32_t left_units = units, left_bytes = static_cast<uint32_t>(size); left_units > 0;) {
    uint32_t got = 0;
    const Handle run = take_any_run(left_units, got);
    const uint32_t count = std::min<uint32_t>(left_bytes, got * kUnit);
    runs_[run] = {.next = kNone, .size = count, .units = got};
    reader.copy_to(memory(run), count);
    if (first == kNone) {
      first = run;
    } else {
      runs_[last].next = run;
    }
    last = run;
    left_units -= got;
    left_bytes -= count;
  }
  runs_[first].size = static_cast<uint32_t>(size);
  return first;
}

void PacketArena::release(Handle packet) {
  for (Handle run = packet; run != kNone;) {
    const Handle next = runs_[run].next;
    free_run(run);
    run = next;
  }
}

Bytes PacketArena::bytes(Handle packet) {
  const Run& first = runs_[packet];
  if (first.next == kNone) return {memory(packet), first.size};
  if (joined_.size() < first.size) joined_.resize(first.size);
  size_t done = 0;
  for (Handle run = packet; run != kNone; run = runs_[run].next) {
    const size_t count = std::min<size_t>(first.size - done, runs_[run].units * kUnit);
    std::memcpy(joined_.data() + done, memory(run), count);
    done += count;
  }
  return Bytes(joined_).first(first.size);
}

MutableBytes PacketArena::head(Handle packet) {
  const Run& first = runs_[packet];
  return {memory(packet), std::min<size_t>(first.size, first.units * kUnit)};
}

// `units` in a row: of the page that was opened last, else of an empty one.
PacketArena::Handle PacketArena::take_run(uint32_t units) {
  if (partial_ != kNone && units < kPageUnits) {
    const uint32_t used = pages_[partial_].used;
    const uint32_t wanted = (1u << units) - 1;
    for (uint32_t first = 0; first + units <= kPageUnits; ++first) {
      if ((used & wanted << first) == 0) return mark(partial_, first, units);
    }
  }
  uint32_t page;
  if (free_page_count_ > 0) {
    page = free_pages_[--free_page_count_];
  } else if (fresh_page_ < page_count_) {
    page = fresh_page_++;
  } else {
    return kNone;
  }
  pages_[page] = {.previous = kNone, .next = kNone, .used = 0};
  link_partial(page);
  return mark(page, 0, units);
}

// The caller knows that a unit is free.
PacketArena::Handle PacketArena::take_any_run(uint32_t units_max, uint32_t& units) {
  units = std::min(units_max, kPageUnits);
  const Handle whole = take_run(units);
  if (whole != kNone) return whole;
  MASQUE_ASSERT(partial_ != kNone);
  const uint32_t used = pages_[partial_].used;
  uint32_t first = 0;
  while ((used >> first & 1) != 0) ++first;
  uint32_t end = first;
  while (end < kPageUnits && end - first < units_max && (used >> end & 1) == 0) ++end;
  units = end - first;
  return mark(partial_, first, units);
}

PacketArena::Handle PacketArena::mark(uint32_t page, uint32_t first, uint32_t units) {
  pages_[page].used = static_cast<uint8_t>(pages_[page].used | ((1u << units) - 1) << first);
  used_units_ += units;
  if (pages_[page].used == kFull) unlink_partial(page);
  return page * kPageUnits + first;
}

void PacketArena::free_run(Handle run) {
  const uint32_t page = run / kPageUnits;
  const uint32_t units = runs_[run].units;
  const uint32_t bits = ((1u << units) - 1) << run % kPageUnits;
  const bool was_full = pages_[page].used == kFull;
  pages_[page].used = static_cast<uint8_t>(pages_[page].used & ~bits);
  used_units_ -= units;
  if (pages_[page].used == 0) {
    if (!was_full) unlink_partial(page);
    free_pages_[free_page_count_++] = page;
  } else if (was_full) {
    link_partial(page);
  }
}

void PacketArena::link_partial(uint32_t page) {
  pages_[page].previous = kNone;
  pages_[page].next = partial_;
  if (partial_ != kNone) pages_[partial_].previous = page;
  partial_ = page;
}

void PacketArena::unlink_partial(uint32_t page) {
  const auto [previous, next, used] = pages_[page];
  if (previous != kNone) {
    pages_[previous].next = next;
  } else {
    partial_ = next;
  }
  if (next != kNone) pages_[next].previous = previous;
}

}  // namespace masque
