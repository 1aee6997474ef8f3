// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/release_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <format>
#include <vector>

#include "base/rng.h"

namespace masque {
namespace {

Instant at(Duration since_start) { return instant_from_ns(1'000'000'000) + since_start; }

struct Sink final : ReleaseSink {
  void on_release(Bytes packet) override { released.emplace_back(packet.begin(), packet.end()); }
  std::vector<std::vector<uint8_t>> released;
};

// --- a call through a network, in virtual time ---

struct Profile {
  const char* name;
  Duration base_min = 25ms;
  Duration base_max = 75ms;
  Duration walk_step = 1ms;  // every 10 ms, at most
  Duration jitter = 30ms;
  enum class Order : uint8_t { Kept, Free } order = Order::Kept;
  Duration step = 0ms;  // added in the middle of the call
  double loss = 0.02;
  Duration repair_delay = 0ms;  // lost packets come that much later; zero: never
  Duration allowance = 100ms;
};

struct CallResult {
  double late_percent = 0;
  Duration jitter_max{};  // RFC 3550, of what was delivered, after the first two seconds
  Duration jitter_mean{};
  Duration delay_p99{};
  Duration delay_max{};
  bool in_order = true;
  uint64_t released = 0;
  uint64_t arrived = 0;
};

class Call {
 public:
  Call(const Profile& profile, uint64_t seed)
      : profile_(profile), rng_(seed), queue_({.allowance = profile.allowance}) {}

  CallResult run(Duration length) {
    make_arrivals(length);
    for (const Arrival& packet : arrivals_) {
      run_until(packet.at);
      const auto index = static_cast<uint64_t>((packet.sent - at(0s)) / 20ms);
      std::vector<uint8_t> bytes(200, 0);
      store_be32(bytes.data(), static_cast<uint32_t>(index));
      CallSink sink(*this, packet.at);
      queue_.push(packet.at, packet.at - packet.sent + kClockOffset, bytes, sink);
    }
    run_until(at(length + 10s));
    return result();
  }

 private:
  static constexpr Duration kClockOffset = -3h;
  struct Arrival {
    Instant at;
    Instant sent;
  };
  struct CallSink final : ReleaseSink {
    CallSink(Call& call_in, Instant now_in) : call(call_in), now(now_in) {}
    void on_release(Bytes packet) override { call.on_release(now, load_be32(packet.data())); }
    Call& call;
    Instant now;
  };

  Duration uniform(Duration max) {
    return Duration(static_cast<int64_t>(rng_.below(static_cast<uint64_t>(max.count()) + 1)));
  }
  void make_arrivals(Duration length) {
    Duration base = (profile_.base_min + profile_.base_max) / 2;
    Instant last{};
    for (Duration t = 0s; t < length; t += 10ms) {
      base += uniform(2 * profile_.walk_step) - profile_.walk_step;
      base = std::clamp(base, profile_.base_min, profile_.base_max);
      if (t % 20ms != 0s) continue;
      Duration delay = base + uniform(profile_.jitter);
      if (t > length / 2) delay += profile_.step;
      Instant arrival = at(t) + delay;
      if (rng_.below(1'000'000) < static_cast<uint64_t>(profile_.loss * 1e6)) {
        if (profile_.repair_delay == 0ms) continue;
        arrival += profile_.repair_delay;
      } else if (profile_.order == Profile::Order::Kept) {
        arrival = std::max(arrival, last);
        last = arrival;
      }
      arrivals_.push_back({.at = arrival, .sent = at(t)});
    }
    std::ranges::stable_sort(arrivals_, {}, &Arrival::at);
  }
  void run_until(Instant now) {
    while (const auto next = queue_.next_timeout()) {
      if (*next > now) return;
      CallSink sink(*this, *next);
      queue_.on_timeout(*next, sink);
    }
  }
  void on_release(Instant now, uint64_t index) {
    const Duration delay = now - (at(0s) + static_cast<int64_t>(index) * 20ms);
    meter_.on_packet(delay);
    if (now > at(2s)) {
      jitter_max_ = std::max(jitter_max_, meter_.jitter());
      jitter_sum_ += meter_.jitter();
      ++jitter_count_;
    }
    delays_.push_back(delay);
    if (index < last_index_) in_order_ = false;
    last_index_ = index;
  }
  CallResult result() {
    std::ranges::sort(delays_);
    const ReleaseFigures figures = queue_.figures();
    return {.late_percent =
                100.0 * static_cast<double>(figures.late) / static_cast<double>(figures.packets),
            .jitter_max = jitter_max_,
            .jitter_mean = jitter_sum_ / std::max<int64_t>(jitter_count_, 1),
            .delay_p99 = delays_[delays_.size() * 99 / 100],
            .delay_max = delays_.back(),
            .in_order = in_order_,
            .released = delays_.size(),
            .arrived = arrivals_.size()};
  }

  Profile profile_;
  SeededRng rng_;
  ReleaseQueue queue_;
  std::vector<Arrival> arrivals_;
  std::vector<Duration> delays_;
  JitterMeter meter_;
  Duration jitter_max_{};
  Duration jitter_sum_{};
  int64_t jitter_count_ = 0;
  uint64_t last_index_ = 0;
  bool in_order_ = true;
};

struct Limits {
  Duration jitter_max;
  Duration delay_p99;
  double late_percent = 0.1;
};

void expect(const Profile& profile, const Limits& limits) {
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    const CallResult r = Call(profile, seed).run(180s);
    SCOPED_TRACE(std::format("{}, seed {}: late {:.3f} %, jitter at most {}, on average {}, p99 {}",
                             profile.name, seed, r.late_percent, r.jitter_max / 1us * 1us,
                             r.jitter_mean / 1us * 1us, r.delay_p99 / 1us * 1us));
    EXPECT_LE(r.late_percent, limits.late_percent);
    EXPECT_LE(r.jitter_mean, 100us);
    EXPECT_LE(r.jitter_max, limits.jitter_max);
    EXPECT_LE(r.delay_p99, limits.delay_p99);
    EXPECT_TRUE(r.in_order);
    EXPECT_EQ(r.released, r.arrived);
  }
}

// Path maximum: base + jitter; it may cost 15 ms more.
TEST(ReleaseSimulation, a_call_over_a_mobile_network_arrives_evenly) {
  const Limits limits{.jitter_max = 1ms, .delay_p99 = 105ms + 15ms};
  expect({.name = "mobile"}, limits);
  expect({.name = "reordered", .order = Profile::Order::Free}, limits);
}

// A repaired packet comes later than any other, so that the first ones lift the target at once.
TEST(ReleaseSimulation, repaired_packets_are_waited_for) {
  expect({.name = "repaired", .order = Profile::Order::Free, .repair_delay = 15ms},
         {.jitter_max = 2ms, .delay_p99 = 105ms + 15ms + 15ms, .late_percent = 0.12});
}

TEST(ReleaseSimulation, a_short_path_stays_short) {
  expect({.name = "rtt 5", .base_min = 2ms, .base_max = 3ms, .walk_step = 50us, .jitter = 1ms},
         {.jitter_max = 1ms, .delay_p99 = 4ms + 5ms});
}

TEST(ReleaseSimulation, a_long_path_is_no_different) {
  expect({.name = "rtt 600",
          .base_min = 290ms,
          .base_max = 310ms,
          .walk_step = 300us,
          .jitter = 20ms,
          .order = Profile::Order::Free},
         {.jitter_max = 1ms, .delay_p99 = 330ms + 15ms});
}

TEST(ReleaseSimulation, a_step_of_the_delay_is_followed) {
  // 40 ms at once are 2.5 ms of RFC 3550 jitter (40/16) for anybody who follows, and a few packets
  // are late: one of them could have been a mere stall.
  expect({.name = "step up", .step = 40ms},
         {.jitter_max = 4ms, .delay_p99 = 145ms + 15ms, .late_percent = 0.2});
  expect({.name = "step down", .base_min = 65ms, .base_max = 115ms, .step = -40ms},
         {.jitter_max = 1ms, .delay_p99 = 145ms + 15ms});
}

// --- the queue itself ---

std::vector<uint8_t> packet(uint8_t id, size_t size = 100) {
  return std::vector<uint8_t>(size, id);
}

TEST(ReleaseQueue, holds_a_packet_until_its_stamp_and_the_target) {
  ReleaseQueue queue({});
  Sink sink;
  EXPECT_EQ(queue.next_timeout(), std::nullopt);
  queue.push(at(0ms), 50ms, packet(1), sink);
  EXPECT_TRUE(sink.released.empty());
  const Instant due = at(0ms) + ReleaseTarget::kStartMargin;
  EXPECT_EQ(queue.next_timeout(), due);
  queue.on_timeout(due - 1ns, sink);
  EXPECT_TRUE(sink.released.empty());
  queue.on_timeout(due, sink);
  ASSERT_EQ(sink.released.size(), 1u);
  EXPECT_EQ(sink.released[0], packet(1));
  EXPECT_EQ(queue.next_timeout(), std::nullopt);
}

TEST(ReleaseQueue, restores_the_order_of_the_stamps) {
  ReleaseQueue queue({});
  Sink sink;
  queue.push(at(0ms), 0ms, packet(1), sink);  // sent at 0
  queue.push(at(5ms), 1ms, packet(3), sink);  // at 4
  queue.push(at(6ms), 4ms, packet(2), sink);  // at 2
  queue.push(at(7ms), 3ms, packet(4), sink);  // at 4 as well: after 3
  queue.on_timeout(at(1s), sink);
  EXPECT_EQ(sink.released, (std::vector{packet(1), packet(2), packet(3), packet(4)}));
}

TEST(ReleaseQueue, a_late_packet_leaves_at_once_after_those_before_it) {
  ReleaseQueue queue({});
  Sink sink;
  queue.push(at(0ms), 0ms, packet(1), sink);    // target: 20 ms
  queue.push(at(50ms), 45ms, packet(2), sink);  // sent at 5
  EXPECT_EQ(sink.released, (std::vector{packet(1), packet(2)}));
  EXPECT_EQ(queue.figures().late, 1u);
  EXPECT_EQ(queue.figures().packets, 2u);
}

TEST(ReleaseQueue, never_holds_longer_than_the_allowance) {
  EXPECT_TRUE(rc::check([](const std::vector<std::pair<uint16_t, int32_t>>& packets) {
    const Duration allowance = 30ms;
    ReleaseQueue queue({.allowance = allowance});
    Sink sink;
    Instant now = at(0s);
    size_t pushed = 0;
    for (const auto& [gap_us, delay_us] : packets) {
      // Of a peer that stamps as it likes.
      now += gap_us * 1us;
      while (const auto due = queue.next_timeout()) {
        if (*due > now) break;
        queue.on_timeout(*due, sink);
      }
      queue.push(now, delay_us * 1us, packet(1), sink);
      ++pushed;
      RC_ASSERT(queue.next_timeout().value_or(now) <= now + allowance);
    }
    queue.on_timeout(now + allowance, sink);
    RC_ASSERT(sink.released.size() == pushed);
  }));
}

TEST(ReleaseQueue, beyond_its_bounds_the_oldest_leave_early_and_in_order) {
  for (const size_t limit : {size_t{3}, size_t{4}}) {
    ReleaseQueue queue({.packets_max = 3});
    Sink sink;
    for (size_t i = 0; i < limit; ++i) {
      queue.push(at(i * 1ms), 0ms, packet(static_cast<uint8_t>(i)), sink);
    }
    EXPECT_EQ(queue.count(), 3u);
    EXPECT_EQ(queue.figures().early, limit - 3);
    EXPECT_EQ(sink.released.size(), limit - 3);
    if (limit > 3) {
      EXPECT_EQ(sink.released[0], packet(0));
    }
  }
  ReleaseQueue queue({.bytes_max = 6 * 256});
  Sink sink;
  queue.push(at(0ms), 0ms, packet(1, 1000), sink);
  queue.push(at(1ms), 0ms, packet(2, 600), sink);
  ASSERT_EQ(sink.released.size(), 1u);
  EXPECT_EQ(sink.released[0], packet(1, 1000));
  queue.push(at(2ms), 0ms, packet(3, 6 * 256 + 1), sink);  // never fits: in its turn, at once
  EXPECT_EQ(sink.released.size(), 3u);
  EXPECT_TRUE(queue.empty());
}

TEST(ReleaseTarget, a_single_stall_lifts_it_by_little) {
  ReleaseTarget target({});
  Instant now = at(0s);
  for (int i = 0; i < 500; ++i, now += 20ms) target.on_packet(now, 10ms);
  EXPECT_LE(target.value(), 12ms);
  target.on_packet(now, 90ms);
  EXPECT_LE(target.value(), 10ms + ReleaseTarget::kOutlierMax + 5ms);
  now += 1s;
  target.on_packet(now, 90ms);  // again: that is how this network is
  EXPECT_GE(target.value(), 90ms);
}

TEST(ReleaseTarget, falls_slowly) {
  ReleaseTarget target({});
  Instant now = at(0s);
  for (int i = 0; i < 500; ++i, now += 20ms) target.on_packet(now, i < 250 ? 60ms : 10ms);
  Duration before = target.value();
  EXPECT_GE(before, 55ms);
  for (int i = 0; i < 1500; ++i, now += 20ms) {
    target.on_packet(now, 10ms);
    EXPECT_LE(before - target.value(), ReleaseTarget::kFallMax / 50 + 1us);
    before = target.value();
  }
  EXPECT_LE(target.value(), 12ms);
}

TEST(ReleaseTarget, begins_anew_after_a_long_silence) {
  ReleaseTarget target({});
  target.on_packet(at(0s), 500ms);
  EXPECT_TRUE(target.known(at(1s)));
  EXPECT_FALSE(target.known(at(11s)));
  target.on_packet(at(11s), -5s);
  EXPECT_EQ(target.value(), -5s + ReleaseTarget::kStartMargin);
}

}  // namespace
}  // namespace masque
