// SPDX-License-Identifier: Apache-2.0
// The emulator's loop: one thread, no allocation a packet, memory bounded by `held_max` packets.
//
// A turn: (1) packets that are due leave, in the order of their times, at most `precision` early
// (2) wait for packets, the next release, a signal or the next report (3) read what is there; each
// packet's fate is decided by its direction's PlannedLink at the time at which the kernel got it.
// Where the link's delay allows it, the loop sleeps a moment without looking after it has read
// something, so that a fast sender costs a wake-up for many packets and not for each.
//
// Timers: release of the first packet held; the report's interval; the end of the run.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "host/unique_fd.h"
#include "linkemu/delay_error.h"
#include "linkemu/packet_io.h"
#include "linkemu/release_queue.h"
#include "sim/link_plan.h"

namespace masque::linkemu {

class Emulator final : private PacketSink {
 public:
  struct Options {
    size_t held_max = 0;
    Duration precision{};
    Duration interval{};  // of reports; zero: none
    Duration run_for{};   // zero: until a signal
    std::array<LinkPlan, 2> plans;
    uint64_t seed = 1;
  };
  struct Counters {
    uint64_t held_max = 0;      // most packets held at once
    uint64_t held_dropped = 0;  // no memory left for them
    std::array<uint64_t, 2> sent_packets{}, sent_bytes{};
  };

  Emulator(const Options& options, PacketIo& io, PacketPool& pool, Instant start);

  // Until SIGINT, SIGTERM or the end of the run. `report` is called each interval.
  Result<void, SysError> run(const std::function<void(Instant)>& report);

  const PlannedLink& link(Direction direction) const {
    return direction == Direction::Up ? up_ : down_;
  }
  const Counters& counters() const { return counters_; }
  const DelayError& delay_error() const { return delay_error_; }
  size_t held() const { return queue_.size(); }
  Instant start() const { return start_; }

 private:
  static constexpr size_t kSendMax = 64;

  void on_packet(const Arrival& arrival) override;
  void hold(Instant at, Direction direction, Slot slot, Link::Delivery::Content content);
  void release(Instant now);
  void send(Direction direction);
  void on_wake(Instant wanted, Instant now);
  Result<bool, SysError> read(Duration wait);  // whether anything came

  const Options& options_;
  PacketIo& io_;
  PacketPool& pool_;
  Instant start_;
  PlannedLink up_, down_;
  std::array<Instant, 2> last_arrival_{};
  ReleaseQueue queue_;
  struct Outgoing {
    std::array<Slot, kSendMax> slots{};
    std::array<Instant, kSendMax> due{};
    size_t count = 0;
  };
  std::array<Outgoing, 2> outgoing_;
  // A wake-up comes so much too late on average; the loop asks for it that much earlier.
  Duration wake_latency_{};
  Duration blind_{};  // how long the loop may sleep without looking
  bool stopped_ = false;
  bool more_ = false;
  UniqueFd epoll_, signals_;
  Counters counters_;
  DelayError delay_error_;
};

}  // namespace masque::linkemu
