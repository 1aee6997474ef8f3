// SPDX-License-Identifier: Apache-2.0
// Where the emulator's packets come from and go to: two interfaces (bridge.h) or two sides of a UDP
// relay (relay.h). Packets travel in slots of the pool.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "linkemu/packet_pool.h"

namespace masque::linkemu {

// Up: from the first interface to the second, from clients to the relay's target.
enum class Direction : uint8_t { Up, Down };

struct Arrival {
  Direction direction = Direction::Up;
  Instant at;
  Slot slot = 0;
  size_t ip_size = 0;  // from the IP header on
};

class PacketSink {
 public:
  virtual ~PacketSink() = default;
  virtual void on_packet(const Arrival& arrival) = 0;  // takes the slot over
};

class PacketIo {
 public:
  struct Counters {
    uint64_t control = 0;          // passed around the link: ARP, neighbour discovery and the like
    uint64_t super_packets = 0;    // of senders with segmentation offload, split
    uint64_t checksums = 0;        // that the sender had left to its device, completed
    uint64_t unreadable = 0;       // lost: no room in a slot, or of a kind that cannot be split
    uint64_t receive_dropped = 0;  // by the kernel, before we read them
    uint64_t send_failed = 0;
    uint64_t flows = 0, flows_refused = 0;  // relay
  };
  enum class More : uint8_t { No, Maybe };

  virtual ~PacketIo() = default;
  // Adds the descriptors, each with a tag in its event's data.
  virtual Result<void, SysError> watch(int epoll) = 0;
  // Reads one batch from the descriptor of the tag.
  virtual More receive(uint64_t tag, PacketSink& sink) = 0;
  // Sends all of them, or counts why not. The slots stay the caller's.
  virtual void send(Direction direction, std::span<const Slot> slots) = 0;
  // The part of a packet that corruption may hit.
  virtual MutableBytes payload(Slot slot) = 0;
  virtual const Counters& counters() = 0;
};

}  // namespace masque::linkemu
