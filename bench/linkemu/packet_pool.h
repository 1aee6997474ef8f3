// SPDX-License-Identifier: Apache-2.0
// The memory of all packets that the emulator holds: slots of one size, mapped once at the start
// and touched only when used. The slot freed last is given out first, so that a short queue stays
// in the cache.
#pragma once

#include <cstdint>
#include <expected>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace masque::linkemu {

using Slot = uint32_t;

class PacketPool {
 public:
  // What is known of the packet in a slot.
  struct Info {
    uint32_t size = 0;        // bytes in the slot
    uint32_t flow = 0;        // relay: which client's
    uint32_t generation = 0;  // relay: of the flow
    uint8_t traffic_class = 0;
  };

  static Result<PacketPool, SysError> create(size_t slots, size_t slot_bytes);
  PacketPool(PacketPool&& other) noexcept;
  PacketPool& operator=(PacketPool&&) = delete;
  ~PacketPool();

  bool empty() const { return free_.empty(); }
  Slot take();  // not when empty
  void give_back(Slot slot) { free_.push_back(slot); }
  size_t slot_bytes() const { return slot_bytes_; }
  MutableBytes room(Slot slot) { return {memory_ + slot * slot_bytes_, slot_bytes_}; }
  MutableBytes packet(Slot slot) { return room(slot).first(info_[slot].size); }
  Info& info(Slot slot) { return info_[slot]; }

 private:
  PacketPool(uint8_t* memory, size_t slots, size_t slot_bytes);

  uint8_t* memory_;
  size_t slots_;
  size_t slot_bytes_;
  std::vector<Slot> free_;
  std::vector<Info> info_;
};

}  // namespace masque::linkemu
