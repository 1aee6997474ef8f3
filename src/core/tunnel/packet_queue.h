// SPDX-License-Identifier: Apache-2.0
// Packets that wait for a blocked channel: a ring in one arena that is allocated once, bounded in
// bytes. When it is full the oldest packets leave (they are the least useful), never the newest.
// Packets are stored as they are: inner DSCP and ECN stay untouched (RFC 9484 10).
//
// Each packet carries the time it came, so that its owner can bound the delay: expire() drops what
// has waited too long.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"
#include "core/ip/packet_slices.h"

namespace masque {

class PacketQueue {
 public:
  // Memory is reserved now and committed by the kernel when it is first used.
  explicit PacketQueue(size_t bytes_max);

  // Returns how many old packets were dropped to make room; the packet itself counts when it can
  // never fit.
  size_t push(Instant now, const PacketSlices& packet);
  // The oldest packet, empty when there is none; valid until the next call.
  Bytes front() const;
  Instant front_since() const;
  void pop();
  // Drops packets that came before `oldest`; returns how many.
  size_t expire(Instant oldest);

  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  size_t bytes() const { return used_; }
  size_t bytes_max() const { return capacity_; }

 private:
  struct Header {
    Instant since;
    uint32_t size;  // of the packet; kSkip: nothing more until the end of the arena
  };
  static constexpr uint32_t kSkip = UINT32_MAX;
  static size_t stride(size_t packet_size);
  Header header_at(size_t offset) const;
  void write_header(size_t offset, const Header& header);
  bool has_room(size_t needed);
  void skip_gap();

  size_t capacity_;
  std::unique_ptr<uint8_t[]> arena_;
  size_t head_ = 0;  // offset of the oldest
  size_t tail_ = 0;  // where the next is written
  size_t used_ = 0;  // bytes with headers and gap
  size_t count_ = 0;
};

}  // namespace masque
