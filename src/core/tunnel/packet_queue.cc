// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_queue.h"

#include <cstring>

namespace masque {
namespace {
constexpr size_t kAlignment = 16;
}  // namespace

PacketQueue::PacketQueue(size_t bytes_max)
    : capacity_(bytes_max / kAlignment * kAlignment),
      arena_(std::make_unique_for_overwrite<uint8_t[]>(capacity_)) {
  static_assert(sizeof(Header) == kAlignment);
}

size_t PacketQueue::stride(size_t packet_size) {
  return (sizeof(Header) + packet_size + kAlignment - 1) / kAlignment * kAlignment;
}

PacketQueue::Header PacketQueue::header_at(size_t offset) const {
  Header header;
  std::memcpy(&header, arena_.get() + offset, sizeof header);
  return header;
}

void PacketQueue::write_header(size_t offset, const Header& header) {
  std::memcpy(arena_.get() + offset, &header, sizeof header);
}

// Makes the tail point at `needed` contiguous free bytes, if there are any.
bool PacketQueue::has_room(size_t needed) {
  if (count_ == 0) {
    head_ = tail_ = used_ = 0;
    return needed <= capacity_;
  }
  if (tail_ > head_) {
    if (capacity_ - tail_ >= needed) return true;
    if (head_ < needed) return false;
    // The end is too short: leave a gap and go on at the start.
    const size_t gap = capacity_ - tail_;
    if (gap > 0) write_header(tail_, {.since = {}, .size = kSkip});
    used_ += gap;
    tail_ = 0;
    return true;
  }
  return head_ - tail_ >= needed;  // equal and not empty: full
}

size_t PacketQueue::push(Instant now, const PacketSlices& packet) {
  const size_t needed = stride(packet.size());
  if (needed > capacity_) return 1;
  size_t dropped = 0;
  while (!has_room(needed)) {
    pop();
    ++dropped;
  }
  write_header(tail_, {.since = now, .size = static_cast<uint32_t>(packet.size())});
  uint8_t* out = arena_.get() + tail_ + sizeof(Header);
  if (!packet.head.empty()) std::memcpy(out, packet.head.data(), packet.head.size());
  if (!packet.body.empty()) {
    std::memcpy(out + packet.head.size(), packet.body.data(), packet.body.size());
  }
  tail_ += needed;
  if (tail_ == capacity_) tail_ = 0;
  used_ += needed;
  ++count_;
  return dropped;
}

Bytes PacketQueue::front() const {
  if (count_ == 0) return {};
  return {arena_.get() + head_ + sizeof(Header), header_at(head_).size};
}

Instant PacketQueue::front_since() const {
  return count_ == 0 ? Instant{} : header_at(head_).since;
}

void PacketQueue::pop() {
  MASQUE_ASSERT(count_ > 0);
  const size_t size = stride(header_at(head_).size);
  head_ += size;
  used_ -= size;
  --count_;
  if (head_ == capacity_) head_ = 0;
  if (count_ > 0) skip_gap();
}

void PacketQueue::skip_gap() {
  if (head_ == 0 || header_at(head_).size != kSkip) return;
  used_ -= capacity_ - head_;
  head_ = 0;
}

size_t PacketQueue::expire(Instant oldest) {
  size_t dropped = 0;
  while (count_ > 0 && front_since() < oldest) {
    pop();
    ++dropped;
  }
  return dropped;
}

}  // namespace masque
