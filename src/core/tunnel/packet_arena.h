// SPDX-License-Identifier: Apache-2.0
// Memory for packets that wait, in no particular order: one block that is allocated once and
// committed by the kernel as it is first used. No allocation and no copy afterwards but the one in.
//
// Units of 256 bytes, six to a page. A packet of up to 1,536 bytes lies in one run of units of a
// page, so that it is read in place; a larger one, or one for which no run is free, in a chain of
// runs, which bytes() joins in a buffer. A packet fits whenever enough units are free: there is no
// fragmentation.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "core/ip/packet_slices.h"

namespace masque {

class PacketArena {
 public:
  using Handle = uint32_t;  // below handle_count()
  static constexpr Handle kNone = UINT32_MAX;
  static constexpr size_t kUnit = 256;

  // Rounded down to whole pages, one at least.
  explicit PacketArena(size_t bytes_max);

  // kNone when it does not fit now.
  Handle store(const PacketSlices& packet);
  void release(Handle packet);
  size_t size_of(Handle packet) const { return runs_[packet].size; }
  // The whole packet; valid until the next call of bytes() or release().
  Bytes bytes(Handle packet);
  // Its first bytes, kUnit at least if it has as many: all that a change of the header needs.
  MutableBytes head(Handle packet);

  // What a packet of that size takes.
  static constexpr size_t cost(size_t size) {
    return (size == 0 ? 1 : (size + kUnit - 1) / kUnit) * kUnit;
  }
  size_t used() const { return used_units_ * kUnit; }
  size_t capacity() const { return handle_count() * kUnit; }
  size_t handle_count() const { return size_t{page_count_} * kPageUnits; }

 private:
  static constexpr uint32_t kPageUnits = 6;
  static constexpr uint8_t kFull = (1u << kPageUnits) - 1;
  // By the run's first unit.
  struct Run {
    Handle next;    // of the same packet
    uint32_t size;  // bytes; in the first run those of the whole packet
    uint32_t units;
  };
  struct Page {
    uint32_t previous;  // in the list of pages in part used
    uint32_t next;
    uint8_t used;  // a bit for each unit
  };

  Handle take_run(uint32_t units);
  Handle take_any_run(uint32_t units_max, uint32_t& units);
  Handle mark(uint32_t page, uint32_t first, uint32_t units);
  void free_run(Handle run);
  void link_partial(uint32_t page);
  void unlink_partial(uint32_t page);
  uint8_t* memory(Handle unit) { return memory_.get() + size_t{unit} * kUnit; }

  uint32_t page_count_;
  std::unique_ptr<uint8_t[]> memory_;
  std::unique_ptr<Run[]> runs_;
  std::unique_ptr<Page[]> pages_;
  std::unique_ptr<uint32_t[]> free_pages_;  // a stack: what was used last is used next
  uint32_t free_page_count_ = 0;
  uint32_t fresh_page_ = 0;  // from here on never used
  uint32_t partial_ = kNone;
  size_t used_units_ = 0;
  std::vector<uint8_t> joined_;  // sized when a chain is first read
};

}  // namespace masque
