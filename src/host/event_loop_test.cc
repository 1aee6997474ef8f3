// SPDX-License-Identifier: Apache-2.0
#include "host/event_loop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "host/clock.h"
#include "host/system.h"

namespace masque {
namespace {

std::unique_ptr<EventLoop> make_loop() {
  auto loop = EventLoop::create();
  EXPECT_TRUE(loop.has_value());
  return std::move(*loop);
}

void signal_event(int fd) {
  const uint64_t one = 1;
  ASSERT_TRUE(sys::write(fd, Bytes(reinterpret_cast<const uint8_t*>(&one), sizeof one)));
}

TEST(EventLoop, deadline_fires_once_and_not_early) {
  const auto loop = make_loop();
  const Instant deadline = monotonic_now() + 3ms;
  int fired = 0;
  loop->set_deadline(deadline);
  loop->set_on_deadline([&](Instant now) {
    ++fired;
    EXPECT_GE(now, deadline);
    loop->stop();
  });
  ASSERT_TRUE(loop->run());
  ASSERT_TRUE(loop->run_once(2ms));
  EXPECT_EQ(fired, 1);
}

TEST(EventLoop, a_deadline_in_the_past_does_not_wait) {
  const auto loop = make_loop();
  loop->set_deadline(monotonic_now() - 1s);
  bool fired = false;
  loop->set_on_deadline([&](Instant) { fired = true; });
  const Instant before = monotonic_now();
  ASSERT_TRUE(loop->run_once(10s));
  EXPECT_TRUE(fired);
  EXPECT_LT(monotonic_now() - before, 5s);
}

TEST(EventLoop, level_triggered_events_come_back_until_read) {
  const auto loop = make_loop();
  const UniqueFd event = std::move(*sys::event_fd());
  int calls = 0;
  ASSERT_TRUE(loop->add(event.get(), EventLoop::kReadable, [&](EventLoop::Ready ready) {
    EXPECT_TRUE(ready.readable);
    ++calls;
  }));
  signal_event(event.get());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(loop->run_once(1s));
  EXPECT_EQ(calls, 3);
  loop->remove(event.get());
  ASSERT_TRUE(loop->run_once(0s));
  EXPECT_EQ(calls, 3);
}

// A busy descriptor does not keep another, the posts or the end of the turn from their share.
TEST(EventLoop, every_source_gets_its_share_of_a_turn) {
  const auto loop = make_loop();
  const UniqueFd busy = std::move(*sys::event_fd());
  const UniqueFd other = std::move(*sys::event_fd());
  int busy_calls = 0;
  int other_calls = 0;
  int posts = 0;
  int turns = 0;
  ASSERT_TRUE(loop->add(busy.get(), EventLoop::kReadable, [&](EventLoop::Ready) { ++busy_calls; }));
  ASSERT_TRUE(
      loop->add(other.get(), EventLoop::kReadable, [&](EventLoop::Ready) { ++other_calls; }));
  loop->set_on_turn([&] { ++turns; });
  signal_event(busy.get());
  signal_event(other.get());
  for (int i = 0; i < 10; ++i) {
    loop->post([&] { ++posts; });
    ASSERT_TRUE(loop->run_once(1s));
  }
  EXPECT_EQ(busy_calls, 10);
  EXPECT_EQ(other_calls, 10);
  EXPECT_EQ(posts, 10);
  EXPECT_EQ(turns, 10);
  loop->remove(busy.get());
  loop->remove(other.get());
}

TEST(EventLoop, a_removed_descriptor_is_not_called_even_if_ready) {
  const auto loop = make_loop();
  const UniqueFd first = std::move(*sys::event_fd());
  const UniqueFd second = std::move(*sys::event_fd());
  int calls = 0;
  const auto remove_both = [&](EventLoop::Ready) {
    ++calls;
    loop->remove(first.get());
    loop->remove(second.get());
  };
  ASSERT_TRUE(loop->add(first.get(), EventLoop::kReadable, remove_both));
  ASSERT_TRUE(loop->add(second.get(), EventLoop::kReadable, remove_both));
  signal_event(first.get());
  signal_event(second.get());
  ASSERT_TRUE(loop->run_once(1s));
  ASSERT_TRUE(loop->run_once(0s));
  EXPECT_EQ(calls, 1);
}

// The number of a closed descriptor comes back at once; its new owner must not get the old event.
TEST(EventLoop, a_reused_descriptor_number_is_another_descriptor) {
  const auto loop = make_loop();
  UniqueFd first = std::move(*sys::event_fd());
  UniqueFd second = std::move(*sys::event_fd());
  int stale_calls = 0;
  bool swapped = false;
  const auto callback = [&](EventLoop::Ready) {
    if (swapped) return;
    swapped = true;
    for (UniqueFd* fd : {&first, &second}) {
      loop->remove(fd->get());
      *fd = std::move(*sys::event_fd());
      ASSERT_TRUE(
          loop->add(fd->get(), EventLoop::kReadable, [&](EventLoop::Ready) { ++stale_calls; }));
    }
  };
  ASSERT_TRUE(loop->add(first.get(), EventLoop::kReadable, callback));
  ASSERT_TRUE(loop->add(second.get(), EventLoop::kReadable, callback));
  signal_event(first.get());
  signal_event(second.get());
  ASSERT_TRUE(loop->run_once(1s));
  ASSERT_TRUE(loop->run_once(0s));
  EXPECT_TRUE(swapped);
  EXPECT_EQ(stale_calls, 0);
  loop->remove(first.get());
  loop->remove(second.get());
}

TEST(EventLoop, interest_can_change) {
  const auto loop = make_loop();
  const UniqueFd event = std::move(*sys::event_fd());
  int writable = 0;
  ASSERT_TRUE(loop->add(event.get(), EventLoop::kReadable,
                        [&](EventLoop::Ready ready) { writable += ready.writable; }));
  ASSERT_TRUE(loop->run_once(0s));
  EXPECT_EQ(writable, 0);
  ASSERT_TRUE(loop->modify(event.get(), EventLoop::kReadWrite));
  ASSERT_TRUE(loop->run_once(1s));
  EXPECT_EQ(writable, 1);
  loop->remove(event.get());
}

TEST(EventLoop, posts_of_other_threads_run_in_the_loop) {
  const auto loop = make_loop();
  const auto loop_thread = std::this_thread::get_id();
  int ran = 0;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) {
      loop->post([&] {
        EXPECT_EQ(std::this_thread::get_id(), loop_thread);
        ++ran;
      });
    }
    loop->stop();
  });
  ASSERT_TRUE(loop->run());
  other.join();
  while (ran < 100) ASSERT_TRUE(loop->run_once(1s));
  EXPECT_EQ(ran, 100);
}

TEST(EventLoop, signals_arrive_as_events) {
  const auto loop = make_loop();
  int got = 0;
  ASSERT_TRUE(loop->watch_signals({SIGUSR1}, [&](int signal) {
    got = signal;
    loop->stop();
  }));
  ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0);
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(got, SIGUSR1);
}

TEST(EventLoop, a_descriptor_that_cannot_be_watched_is_an_error) {
  const auto loop = make_loop();
  const auto file = sys::open("/proc/self/stat", 0);
  ASSERT_TRUE(file);
  EXPECT_FALSE(loop->add(999, EventLoop::kReadable, [](EventLoop::Ready) {}));
  // The failed attempt left nothing behind.
  ASSERT_TRUE(loop->run_once(0s));
}

}  // namespace
}  // namespace masque
