// SPDX-License-Identifier: Apache-2.0
#include "core/path/rate_controller.h"

#include <gtest/gtest.h>

#include <deque>

namespace masque {
namespace {

RateController::Sample sample(Duration queue, uint64_t bytes_per_second) {
  return {.rtt = 40ms + queue,
          .delay_min = 20ms + queue,
          .delivered = bytes_per_second / 50,
          .span = 20ms};
}

// 20 ms of a sender that waits for the rate.
struct FullRound {
  RateController& controller;
  Instant& now;
  Duration rtt;

  void operator()(Duration queue, uint64_t sent, uint64_t arrived, bool overloaded = false) const {
    controller.on_sent(now, sent / 50);
    auto next = sample(queue, arrived);
    next.rtt = rtt;
    next.limited = next.backlogged = true;
    next.overloaded = overloaded;
    controller.on_sample(now, next);
    now += 20ms;
  }
};

TEST(RateController, a_link_without_queue_is_not_limited) {
  RateController controller(15ms);
  for (Instant now{1s}; now < Instant{6s}; now += 20ms) {
    controller.on_sample(now, sample(1ms, 5'000'000));
    EXPECT_TRUE(controller.may_send(now));
    controller.on_sent(now, 100'000);
  }
  EXPECT_EQ(controller.state(), RateController::State::Open);
  EXPECT_EQ(controller.rate(), std::nullopt);
}

// A bottleneck with a queue of 100 kB, to which somebody would send 1.5 MB/s.
struct Bottleneck {
  double bytes_per_second = 1e6;
  double waiting = 0;
  double carried = 0;
  Instant now{1s};

  // 20 ms; how long the last byte waits at the end.
  Duration step(RateController& controller) {
    const double capacity = bytes_per_second / 50;
    const double before = std::min(waiting, capacity);
    waiting -= before;
    bool refused = false;
    for (int packet = 0; packet < 60 && !refused; ++packet) {
      const Instant at = now + packet / 3 * 1ms;
      refused = !controller.may_send(at);
      if (refused) continue;
      controller.on_sent(at, 500);
      waiting = std::min(waiting + 500, 100e3);
    }
    const double more = std::min(waiting, capacity - before);
    waiting -= more;
    carried += before + more;
    const auto waits = Duration(static_cast<int64_t>(waiting / bytes_per_second * 1e9));
    controller.on_sample(now, {.rtt = 40ms + waits,
                               .delay_min = 20ms + waits,
                               .delivered = static_cast<uint64_t>(before + more),
                               .span = 20ms,
                               .limited = refused,
                               .backlogged = true});
    now += 20ms;
    return waits;
  }
};

TEST(RateController, finds_the_rate_of_the_bottleneck_and_keeps_its_queue_short) {
  RateController controller(15ms);
  Bottleneck link;
  for (int i = 0; i < 500; ++i) link.step(controller);
  link.carried = 0;
  for (int i = 0; i < 1000; ++i) EXPECT_LT(link.step(controller), 150ms) << i;
  EXPECT_TRUE(controller.rate());
  EXPECT_GT(link.carried, 0.7 * 20 * 1e6);
}

TEST(RateController, finds_a_tenth_of_the_rate_within_a_second) {
  RateController controller(15ms);
  Bottleneck link;
  for (int i = 0; i < 500; ++i) link.step(controller);
  link.bytes_per_second = 100'000;
  for (int i = 0; i < 50; ++i) link.step(controller);
  ASSERT_TRUE(controller.rate());
  EXPECT_LT(*controller.rate(), 120'000);
  for (int i = 0; i < 200; ++i) link.step(controller);
  for (int i = 0; i < 200; ++i) EXPECT_LT(link.step(controller), 200ms) << i;
}

// The path's delay walks by tens of milliseconds, and what is sent leaves at once: not our queue.
TEST(RateController, a_delay_that_grows_without_a_backlog_is_not_ours) {
  RateController controller(15ms);
  Instant now{1s};
  for (int i = 0; i < 1000; ++i, now += 20ms) {
    controller.on_sample(now, sample(Duration(1ms) * (i % 200 / 2), 4'000'000));
    ASSERT_EQ(controller.state(), RateController::State::Open) << i;
  }
}

// A queue too short for its delay to be seen overflows: what arrives is what the path carries.
TEST(RateController, overload_limits_to_what_arrived) {
  RateController controller(15ms);
  Instant now{1s};
  for (int i = 0; i < 50; ++i, now += 20ms) controller.on_sample(now, sample(2ms, 2'000'000));
  auto overflow = sample(2ms, 2'000'000);
  overflow.backlogged = overflow.overloaded = true;
  controller.on_sample(now, overflow);
  ASSERT_EQ(controller.state(), RateController::State::Drain);
  EXPECT_LT(*controller.rate(), 2'000'000);
  for (int i = 0; i < 20; ++i, now += 20ms) controller.on_sample(now, sample(1ms, 1'400'000));
  EXPECT_EQ(controller.state(), RateController::State::Cruise);
  EXPECT_NEAR(*controller.rate(), 1'960'000, 100'000);
}

// QUIC's controller held back for some round trips, while the delay of the path walked.
TEST(RateController, less_that_arrives_because_less_was_sent_is_not_a_slower_path) {
  RateController controller(15ms);
  Instant now{1s};
  std::deque<uint64_t> on_the_way(4);  // what was sent 80, 60, 40 and 20 ms ago
  const auto round = [&](Duration queue, uint64_t bytes_per_second, bool limited, bool overloaded) {
    controller.on_sent(now, bytes_per_second / 50);
    on_the_way.push_back(bytes_per_second);
    auto next = sample(queue, on_the_way.front());
    on_the_way.pop_front();
    next.rtt = 80ms;
    next.limited = next.backlogged = limited;
    next.overloaded = overloaded;
    controller.on_sample(now, next);
    now += 20ms;
  };
  for (int i = 0; i < 50; ++i) round(2ms, 2'000'000, true, false);
  round(2ms, 2'000'000, true, true);  // an overflow: the rate is known
  for (int i = 0; i < 20 && controller.state() != RateController::State::Cruise; ++i) {
    round(1ms, 2'000'000, false, false);
  }
  ASSERT_EQ(controller.state(), RateController::State::Cruise);
  const double before = *controller.rate();
  for (int i = 0; i < 12; ++i) round(40ms, 500'000, true, false);
  for (int i = 0; i < 40; ++i) round(2ms, 500'000, false, false);
  ASSERT_TRUE(controller.rate());
  EXPECT_GE(*controller.rate(), before * 0.99);
}

TEST(RateController, beside_a_call_a_flow_finds_its_rate_step_by_step) {
  RateController controller(15ms);
  Instant now{1s};
  auto next = sample(1ms, 1'000'000);
  for (int i = 0; i < 50; ++i, now += 20ms) controller.on_sample(now, next);
  EXPECT_EQ(controller.rate(), std::nullopt);
  next.realtime = true;
  for (int i = 0; i < 10; ++i, now += 20ms) controller.on_sample(now, next);
  ASSERT_EQ(controller.state(), RateController::State::Open);
  EXPECT_NEAR(*controller.rate(), 1'500'000, 10'000);
  next.realtime = false;
  for (int i = 0; i < 10; ++i, now += 20ms) controller.on_sample(now, next);
  EXPECT_EQ(controller.rate(), std::nullopt);
}

// The delay of the path walked up and down while few packets told of it.
TEST(RateController, a_drain_out_of_which_nothing_comes_was_a_false_alarm) {
  for (const bool known : {false, true}) {
    RateController controller(15ms);
    Instant now{1s};
    const FullRound round{.controller = controller, .now = now, .rtt = 40ms};
    const auto until = [&](RateController::State state, Duration queue, uint64_t bytes) {
      for (int i = 0; i < 400 && controller.state() != state; ++i) round(queue, bytes, bytes);
      return controller.state() == state;
    };
    if (known) {  // 4 MB/s, from before the flow became small
      for (int i = 0; i < 50; ++i) round(2ms, 4'000'000, 4'000'000);
      round(2ms, 4'000'000, 4'000'000, true);
      ASSERT_TRUE(until(RateController::State::Cruise, 1ms, 3'000'000));
      for (int i = 0; i < 600; ++i) {
        auto next = sample(1ms, 1'000'000);
        controller.on_sent(now, 20'000);
        controller.on_sample(now, next);
        now += 20ms;
      }
      ASSERT_EQ(controller.state(), RateController::State::Open);
    }
    for (int i = 0; i < 20; ++i) round(2ms, 1'000'000, 1'000'000);
    for (int i = 0; i < 40 && controller.state() == RateController::State::Open; ++i) {
      round(50ms, 1'000'000, i < 20 ? 700'000 : 1'000'000);
    }
    ASSERT_EQ(controller.state(), RateController::State::Drain) << known;
    for (int i = 0; i < 10 && controller.state() == RateController::State::Drain; ++i)
      round(1ms, 800'000, 800'000);
    if (known) {
      ASSERT_EQ(controller.state(), RateController::State::Cruise);
      EXPECT_GT(*controller.rate(), 3'500'000);
    } else {
      EXPECT_EQ(controller.state(), RateController::State::Open);
    }
  }
}

// It is a queue of our own as long as more comes out of it than we put in, however long that takes.
TEST(RateController, a_drain_lasts_as_long_as_more_arrives_than_is_sent) {
  RateController controller(15ms);
  Instant now{1s};
  const FullRound round{.controller = controller, .now = now, .rtt = 80ms};
  for (int i = 0; i < 50; ++i) round(2ms, 2'000'000, 2'000'000);
  round(150ms, 2'000'000, 2'000'000, true);
  for (int i = 0; i < 20; ++i) round(150ms - i * 5ms, 1'400'000, 2'000'000);
  EXPECT_EQ(controller.state(), RateController::State::Drain);
  // Nothing of ours is left, and the delay stays: the path's own.
  for (int i = 0; i < 12; ++i) round(50ms, 1'400'000, 1'400'000);
  EXPECT_EQ(controller.state(), RateController::State::Cruise);
  EXPECT_GT(*controller.rate(), 1'900'000);
}

// Before a rate was found: what we send is not limited by what proved to be no queue.
TEST(RateController, a_delay_that_does_not_fall_was_no_queue) {
  RateController controller(15ms);
  Instant now{1s};
  bool drained = false;
  for (int i = 0; i < 200; ++i, now += 20ms) {
    controller.on_sent(now, 40'000);
    auto next = sample(i < 50 ? 2ms : 60ms, 2'000'000);
    next.limited = next.backlogged = true;
    controller.on_sample(now, next);
    drained |= controller.state() == RateController::State::Drain;
  }
  EXPECT_TRUE(drained);
  EXPECT_EQ(controller.state(), RateController::State::Open);
}

}  // namespace
}  // namespace masque
