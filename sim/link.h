// SPDX-License-Identifier: Apache-2.0
// A model of one direction of a network link, without I/O: told when a packet of what size enters,
// it says when it leaves, perhaps twice, perhaps damaged, perhaps never. Packets themselves are not
// its business, so the simulator and the real link emulator share it.
//
// A packet passes, in this order:
//   blackhole? MTU? -> loss (independent, bursts) -> queue with tail drop, serialised at `rate`
//   -> propagation: base delay (may walk) + jitter (in order or not) -> duplication, corruption
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/rng.h"
#include "base/time.h"

namespace masque {

constexpr uint32_t kPpm = 1'000'000;  // shares are counted in parts per million

struct LinkOptions {
  uint64_t rate_bits_per_second = 0;   // zero: no serialisation, no queue
  size_t queue_bytes_max = 64 * 1024;  // waiting bytes; what does not fit is dropped (tail drop)
  Duration delay = 10ms;               // one way
  // The base delay walks: every `walk_interval` it takes a step of at most `walk_step` and stays
  // within [delay, delay + walk_width].
  Duration walk_width{};
  Duration walk_step = 1ms;
  Duration walk_interval = 10ms;
  Duration jitter{};  // uniform in [0, jitter], for each packet
  enum class Order : uint8_t { Kept, Free };
  Order order = Order::Kept;  // Free: jitter reorders packets
  uint32_t loss_ppm = 0;      // independent
  // Gilbert-Elliott: in the bad state every packet is lost. The mean burst is kPpm /
  // burst_leave_ppm.
  uint32_t burst_enter_ppm = 0;         // chance of each packet to begin a burst
  uint32_t burst_leave_ppm = kPpm / 3;  // chance of each further packet to be the first good one
  uint32_t duplicate_ppm = 0;
  Duration duplicate_delay = 1ms;  // the copy comes so much later
  uint32_t corrupt_ppm = 0;
  size_t mtu = 1500;  // larger packets vanish without a word, as behind many firewalls
  enum class Path : uint8_t { Open, Blackhole };
  Path path = Path::Open;
};

class Link {
 public:
  struct Delivery {
    Instant at;
    enum class Content : uint8_t { Intact, Corrupted } content = Content::Intact;
  };
  struct Counters {
    uint64_t packets = 0, bytes = 0;  // that entered
    uint64_t lost = 0, burst_lost = 0, queue_dropped = 0, too_big = 0, swallowed = 0;
    uint64_t duplicated = 0, corrupted = 0, delivered = 0;
  };

  Link(const LinkOptions& options, Rng& rng) : options_(options), rng_(rng) {}

  // `size` counts from the IP header on. The answer is valid until the next call; empty: dropped.
  std::span<const Delivery> on_packet(Instant now, size_t size);

  // Takes effect for the next packet; what waits in the queue keeps its time.
  void set_options(const LinkOptions& options) { options_ = options; }
  const LinkOptions& options() const { return options_; }
  size_t queued_bytes(Instant now) const;
  const Counters& counters() const { return counters_; }

 private:
  bool chance(uint32_t ppm) { return ppm > 0 && rng_.below(kPpm) < ppm; }
  bool lost();
  Duration propagation(Instant now);

  LinkOptions options_;
  Rng& rng_;
  Instant idle_at_{};  // when the last queued packet has left the transmitter
  Instant last_delivery_{};
  enum class Burst : uint8_t { Good, Bad } burst_ = Burst::Good;
  Instant walked_at_{};
  Duration walked_{};
  std::array<Delivery, 2> deliveries_{};
  Counters counters_;
};

}  // namespace masque
