// SPDX-License-Identifier: Apache-2.0
#include "linkemu/packet_pool.h"

#include <sys/mman.h>

#include <utility>

#include "base/assert.h"
#include "host/system.h"

namespace masque::linkemu {

Result<PacketPool, SysError> PacketPool::create(size_t slots, size_t slot_bytes) {
  void* memory = ::mmap(nullptr, slots * slot_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return sys::failure("map the packets' memory");
  return PacketPool(static_cast<uint8_t*>(memory), slots, slot_bytes);
}

PacketPool::PacketPool(uint8_t* memory, size_t slots, size_t slot_bytes)
    : memory_(memory), slots_(slots), slot_bytes_(slot_bytes), info_(slots) {
  free_.reserve(slots);
  for (size_t i = slots; i-- > 0;) free_.push_back(static_cast<Slot>(i));
}

PacketPool::PacketPool(PacketPool&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      slots_(other.slots_),
      slot_bytes_(other.slot_bytes_),
      free_(std::move(other.free_)),
      info_(std::move(other.info_)) {}

PacketPool::~PacketPool() {
  if (memory_ != nullptr) ::munmap(memory_, slots_ * slot_bytes_);
}

Slot PacketPool::take() {
  MASQUE_ASSERT(!free_.empty());
  const Slot slot = free_.back();
  free_.pop_back();
  return slot;
}

}  // namespace masque::linkemu
