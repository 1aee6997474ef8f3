// SPDX-License-Identifier: Apache-2.0
// Many messages in one system call, straight into slots of the pool, each with the time at which
// the kernel got it: the emulator may look late without delaying anything.
//
// A message is [head][slot][spill]: `head` bytes before the packet are kept apart (the vnet
// header), and what is longer than a slot goes on in the spill area, from which whole() puts both
// together.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "linkemu/packet_pool.h"

namespace masque::linkemu {

// Both clocks at one moment: turns the kernel's wall-clock stamps into monotonic time.
struct ClockPair {
  Instant monotonic;
  int64_t wall_ns = 0;
  static ClockPair now();
  Instant to_monotonic(int64_t stamp_ns) const;
};

class ReceiveBatch {
 public:
  static constexpr size_t kMessages = 64;

  struct Layout {
    size_t head_bytes = 0;
    size_t spill_bytes = 0;
  };
  ReceiveBatch(PacketPool& pool, const Layout& layout);
  ReceiveBatch(const ReceiveBatch&) = delete;
  ReceiveBatch& operator=(const ReceiveBatch&) = delete;
  ~ReceiveBatch();

  // How many messages came; 0: none, or an error that belongs to one message (`failed`).
  size_t receive(int fd);
  bool failed() const { return failed_; }

  size_t size(size_t i) const { return messages_[i].msg_len - layout_.head_bytes; }
  bool fits(size_t i) const { return size(i) <= pool_.slot_bytes(); }
  bool truncated(size_t i) const { return (messages_[i].msg_hdr.msg_flags & MSG_TRUNC) != 0; }
  const uint8_t* head(size_t i) const { return heads_.data() + i * layout_.head_bytes; }
  MutableBytes packet(size_t i) { return pool_.room(slots_[i]).first(size(i)); }  // when it fits
  MutableBytes whole(size_t i);  // also when it does not
  const sockaddr_storage& from(size_t i) const { return names_[i]; }
  Instant at(size_t i) const;
  uint8_t traffic_class(size_t i) const;
  // The slot is the caller's, its size is noted; the next receive() fills another.
  Slot take(size_t i);

 private:
  static constexpr size_t kControlBytes = 128;

  void prepare(size_t i);

  PacketPool& pool_;
  Layout layout_;
  ClockPair clocks_;
  bool failed_ = false;
  size_t used_ = kMessages;  // messages to make ready for the next call
  std::array<mmsghdr, kMessages> messages_{};
  std::array<std::array<iovec, 3>, kMessages> vectors_{};
  std::array<sockaddr_storage, kMessages> names_{};
  struct alignas(cmsghdr) Control {
    std::array<uint8_t, kControlBytes> bytes;
  };
  std::array<Control, kMessages> controls_{};
  std::array<Slot, kMessages> slots_{};
  std::array<bool, kMessages> taken_{};
  std::vector<uint8_t> heads_;
  std::vector<uint8_t> spill_;  // for each message room for a slot, then spill_bytes
};

}  // namespace masque::linkemu
