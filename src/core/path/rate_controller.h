// SPDX-License-Identifier: Apache-2.0
// The shaper at the tunnel's entrance: finds the rate that the path carries and keeps the queue of
// its bottleneck short. QUIC's controller above sees no repaired loss and would fill any queue.
//
//   Open --queue, overload--> Drain --gone--> Cruise <--nothing seen-- Probe --more fits--> Probe
//    ^                          |   ^           |                       |
//    +-- it was no queue -------+   +-- queue --+-----------------------+
//    ^                                          |
//    +-- long not limited by us ----------------+
//
// Open: no limit, but beside a call half as much again as the path has carried lately: QUIC's slow
// start doubles in each round trip, and what it sends too much in the last one fills the queue of
// the bottleneck before any answer can tell. As long as something leaves at once the sender sends
// less than the path carries, and a delay that grows is not its doing.
// Queue: the delay above the lowest of the last seconds, measured at the fastest packet of each
// report, so that jitter does not count. Paths move that delay by tens of milliseconds too. So it
// counts when it lasts for two rounds, and in Open, where none of it may be ours, only when it also
// rises as fast as a queue of ours does, or when it lasts for eight; and what is left of it after a
// drain, when no more arrives than is sent, is the path's own (noise) from then on.
// A drain out of which nothing came, or without the delay falling with it, was a false alarm: what
// last came out of a queue is the rate then, or none is known.
// Nor is a path slower because less arrives, where as little was sent: QUIC's controller may have
// held back. While more arrives with each round nothing is full yet, whatever the delay says.
// Overload: far more is lost than the link loses, so that a queue overflows. One that has done so
// with less than the target in it is kept shorter than that from then on.
// Probe: as much above the known rate as makes a queue of the target's length in the round and a
// half until its answer comes; twice as much each time that all of it arrives and no queue builds
// up, so that a rate ten times higher is found in a second or two.
#pragma once

#include <cstdint>
#include <optional>

#include "base/time.h"
#include "core/path/path_messages.h"
#include "core/path/sent_history.h"
#include "core/path/windowed_range.h"

namespace masque {

class RateController {
 public:
  explicit RateController(Duration queue_target)
      : queue_target_(queue_target), target_(queue_target) {}

  struct Sample {
    Duration rtt;             // of this report
    Duration delay_min;       // relative one-way delay of its fastest packet
    uint64_t delivered = 0;   // bytes that arrived since the last report
    Duration span;            // over this time at the receiver
    bool limited = false;     // by us: packets were waiting for our rate
    bool backlogged = false;  // by us or by QUIC's controller
    bool overloaded = false;
    bool realtime = false;  // a call is under way
  };
  void on_sample(Instant now, const Sample& sample);

  // Bytes may go now: the bucket is not empty. A sender that may not waits until next_send().
  bool may_send(Instant now);
  void on_sent(Instant now, size_t bytes);
  Instant next_send(Instant now) const;
  // Somebody was refused since the last sample.
  void on_refused() { refused_ = true; }
  bool take_refused() { return std::exchange(refused_, false); }

  enum class State : uint8_t { Open, Drain, Cruise, Probe };
  State state() const { return state_; }
  // Bytes per second; nullopt: unlimited.
  std::optional<double> rate() const;
  Duration queue() const { return queue_; }

 private:
  void enter(Instant now, State state);
  void on_round(Instant now, bool limited, bool backlogged);
  void on_drained(Instant now);
  void begin_probe(Instant now);
  double by_chance() const;
  bool arrives_less() const;
  bool rises(Instant now);
  bool falls_as_drained(Instant now) const;
  bool built_up() const;
  bool comes_from_queue() const;
  bool take_false_alarm(Instant now);
  void refill(Instant now);
  Duration threshold() const { return target_ + noise_; }
  Duration round() const { return std::clamp(rtt_, kRoundMin, kRoundMax); }

  static constexpr Duration kRoundMin = 40ms;
  static constexpr Duration kRoundMax = 300ms;
  static constexpr Duration kProbeEveryMin = 400ms;
  static constexpr Duration kProbeEveryMax = 800ms;

  Duration queue_target_;  // as it is configured
  Duration target_;        // in force: less, where the bottleneck has overflowed with less
  State state_ = State::Open;
  State drained_from_ = State::Open;
  Instant state_since_{};
  Duration rtt_ = 100ms;
  WindowedRange<Duration> base_{4s};
  WindowedRange<Duration> queues_{400ms};
  Duration queue_{};
  Duration noise_{};  // of queue_ that was not ours
  Duration queue_at_drain_{};
  Duration queue_at_probe_{};
  double bandwidth_ = 0;     // bytes per second that the path has carried
  double probe_excess_ = 0;  // what is sent above the bandwidth, as a share of it
  double drain_excess_ = 0;  // below it
  double arrived_ = 0;       // the rate of the last round
  double offered_ = 0;       // what we had sent of it, a round trip before
  double offered_bytes_ = 0;
  SentHistory sent_;
  bool grows_ = false;  // it was higher than all of the rounds before
  WindowedRange<double> arrivals_{700ms};
  WindowedRange<double> carried_{10s};  // the same, for longer
  std::optional<double> open_limit_;
  // One round of samples.
  uint64_t round_bytes_ = 0;
  Duration round_span_{};
  uint32_t rounds_over_ = 0;
  uint32_t rounds_far_less_ = 0;  // in which next to nothing of what was sent arrived
  // A queue overflowed: that we drain is certain to be right.
  enum class Evidence : uint8_t { Delay, Overflow } evidence_ = Evidence::Delay;
  Duration probe_every_ = kProbeEveryMin;
  double bucket_ = 0;
  Instant filled_at_{};
  double proven_ = 0;            // what came out of a queue, when it last did; 0: never
  bool queue_came_out_ = false;  // of this drain
  bool refused_ = false;
  bool limited_in_round_ = false;
  bool backlogged_in_round_ = true;  // all the time
  Instant limited_at_{};
};

}  // namespace masque
