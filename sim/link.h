// SPDX-License-Identifier: Apache-2.0
// A model of one direction of a network link, without I/O: told when a packet of what size enters,
// it says when it leaves, perhaps twice, perhaps damaged, perhaps never. Packets themselves are not
// its business, so the simulator and the real link emulator share it.
//
// A packet passes, in this order:
//   blackhole? MTU? -> loss (independent, bursts) -> policer
//   -> queue with tail drop, serialised at `rate` or by the opportunities of a trace
//   -> propagation: base delay (may walk) + jitter (in order or not) -> duplication, corruption
//
// Changes over time: link_plan.h. Named sets of options: link_profiles.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/rng.h"
#include "base/time.h"
#include "sim/link_trace.h"

namespace masque {

constexpr uint32_t kPpm = 1'000'000;  // shares are counted in parts per million

struct LinkOptions {
  uint64_t rate_bits_per_second = 0;   // zero: no serialisation, no queue
  size_t queue_bytes_max = 64 * 1024;  // waiting bytes; what does not fit is dropped (tail drop)
  Duration queue_time_max{};           // instead of bytes when set: nothing waits longer
  const LinkTrace* trace = nullptr;    // instead of the rate when set; outlives the link
  Duration delay = 10ms;               // one way
  // The base delay walks: every `walk_interval` it takes a step of at most `walk_step` and stays
  // within [delay, delay + walk_width].
  Duration walk_width{};
  Duration walk_start{};  // where in the width it begins
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
  // Policer: a token bucket that drops and never delays. Zero: none.
  uint64_t police_bits_per_second = 0;
  size_t police_burst_bytes = 64 * 1024;
  uint32_t duplicate_ppm = 0;
  Duration duplicate_delay = 1ms;  // the copy comes so much later
  uint32_t corrupt_ppm = 0;
  size_t mtu = 1500;  // larger packets vanish without a word, as behind many firewalls
  enum class Path : uint8_t { Open, Blackhole };
  Path path = Path::Open;
};

// Where a link's chances come from. Streams of their own make the fate of the n-th packet
// independent of the times at which packets come.
struct LinkRandom {
  Rng& loss;
  Rng& walk;
  Rng& jitter;
  Rng& content;  // duplication and corruption
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
    uint64_t policed = 0, reordered = 0;  // reordered: left before one that entered earlier
    uint64_t duplicated = 0, corrupted = 0, delivered = 0;
    Duration wait_max{};  // the longest time in queue and transmitter
  };

  Link(const LinkOptions& options, Rng& rng)
      : Link(options, LinkRandom{.loss = rng, .walk = rng, .jitter = rng, .content = rng}) {}
  // `origin`: where the times of a trace and the steps of the walk begin.
  Link(const LinkOptions& options, const LinkRandom& random, Instant origin = {})
      : options_(options),
        random_(random),
        origin_(origin),
        walked_at_(origin),
        walked_(options.walk_start) {}

  // `size` counts from the IP header on. The answer is valid until the next call; empty: dropped.
  std::span<const Delivery> on_packet(Instant now, size_t size);

  // Takes effect for the next packet; what waits in the queue keeps its time.
  void set_options(const LinkOptions& options) { options_ = options; }
  void set_path(LinkOptions::Path path) { options_.path = path; }
  const LinkOptions& options() const { return options_; }
  size_t queued_bytes(Instant now) const;
  const Counters& counters() const { return counters_; }

 private:
  bool lost();
  bool policed(Instant now, size_t size);
  // When the packet has left the transmitter; nullopt: the queue is full.
  std::optional<Instant> transmit(Instant now, size_t size);
  std::optional<Instant> transmit_by_trace(Instant now, size_t size);
  Duration propagation(Instant now);

  LinkOptions options_;
  LinkRandom random_;
  Instant origin_;
  Instant idle_at_;  // when the last queued packet has left the transmitter
  LinkTrace::Position trace_position_;
  Instant bucket_full_at_;  // the policer's
  Instant last_delivery_;
  enum class Burst : uint8_t { Good, Bad } burst_ = Burst::Good;
  Instant walked_at_;
  Duration walked_{};
  std::array<Delivery, 2> deliveries_{};
  Counters counters_;
};

}  // namespace masque
