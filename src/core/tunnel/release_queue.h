// SPDX-License-Identifier: Apache-2.0
// Timed release of real-time packets: each is held until its stamp + ReleaseTarget, so that the
// jitter of the network ends here. Packets leave in the order of their stamps.
//
// A packet that comes after its time leaves at once and counts as late. What exceeds the bounds in
// packets or bytes makes the oldest leave before its time. Nothing is ever dropped here. Memory is
// allocated with the first packet.
//
// Timer: the release of the oldest packet. Packets go to the ReleaseSink of the call that releases
// them; it must not call back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"
#include "core/tunnel/jitter_meter.h"
#include "core/tunnel/packet_arena.h"
#include "core/tunnel/release_target.h"

namespace masque {

class ReleaseSink {
 public:
  virtual ~ReleaseSink() = default;
  virtual void on_release(Bytes packet) = 0;  // valid during the call
};

struct ReleaseOptions {
  enum class Mode : uint8_t { Timed, AtOnce };
  Mode mode = Mode::Timed;
  Duration allowance = 100ms;  // of delay above the shortest
  size_t packets_max = 1024;
  size_t bytes_max = 768 * 1024;  // 150 ms of 20 Mbit/s and room for its bursts
};

struct ReleaseFigures {
  uint64_t packets = 0;
  uint64_t late = 0;
  uint64_t early = 0;        // left before their time, because the queue was full
  Duration jitter_before{};  // RFC 3550, now
  Duration jitter_after{};
  Duration added_mean{};  // by being held, of the last packets
  Duration target{};      // above the shortest delay
};

class ReleaseQueue {
 public:
  explicit ReleaseQueue(const ReleaseOptions& options);

  // Stamps further than this from our clock are no stamps.
  static constexpr Duration kRelativeDelayMax = std::chrono::hours(24 * 365);

  // `relative_delay`: now minus the sender's stamp.
  void push(Instant now, Duration relative_delay, Bytes packet, ReleaseSink& sink);
  std::optional<Instant> next_timeout() const;
  void on_timeout(Instant now, ReleaseSink& sink);

  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  ReleaseFigures figures() const;

 private:
  struct Entry {
    Instant stamp;  // of the sender, in relative time: due at stamp + target
    Instant arrival;
    PacketArena::Handle packet;
  };

  Entry& entry(size_t index) { return entries_[(head_ + index) % options_.packets_max]; }
  const Entry& entry(size_t index) const {
    return entries_[(head_ + index) % options_.packets_max];
  }
  void make_room(Instant now, size_t size, ReleaseSink& sink);
  void insert(const Entry& added);
  void release_head(Instant now, ReleaseSink& sink);
  void release_until(Instant now, Instant stamp, ReleaseSink& sink);
  void on_released(Instant now, Instant stamp, Instant arrival);

  ReleaseOptions options_;
  ReleaseTarget target_;
  std::unique_ptr<PacketArena> arena_;
  std::unique_ptr<Entry[]> entries_;  // a ring, in the order of stamps
  size_t head_ = 0;
  size_t count_ = 0;
  JitterMeter before_;
  JitterMeter after_;
  ReleaseFigures figures_;
};

}  // namespace masque
