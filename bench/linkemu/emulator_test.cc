// SPDX-License-Identifier: Apache-2.0
// The parts of the loop that need no descriptors, and the loop over a source and sink of the test.
#include "linkemu/emulator.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include "host/clock.h"
#include "linkemu/receive_batch.h"

namespace masque::linkemu {
namespace {

TEST(ReleaseQueue, orders_by_time_and_then_by_arrival) {
  ReleaseQueue queue(8);
  const Instant at = instant_from_ns(1000);
  queue.push(at + 2ns, Direction::Up, 1);
  queue.push(at, Direction::Down, 2);
  queue.push(at, Direction::Up, 3);
  queue.push(at + 1ns, Direction::Up, 4);
  queue.push(at, Direction::Up, 5);
  std::vector<Slot> order;
  while (!queue.empty()) order.push_back(queue.pop().slot);
  EXPECT_EQ(order, (std::vector<Slot>{2, 3, 5, 4, 1}));
}

TEST(DelayError, percentiles) {
  DelayError error;
  EXPECT_EQ(error.percentile_us(0.5), 0u);
  for (int i = 1; i <= 100; ++i) error.add(std::chrono::microseconds(i % 2 == 0 ? i : -i));
  EXPECT_EQ(error.percentile_us(0.5), 51u);
  EXPECT_EQ(error.percentile_us(0.99), 100u);
  error.add(1s);
  EXPECT_EQ(error.max_us(), 1'000'000u);
  EXPECT_EQ(error.percentile_us(1.0), 1'000'000u);
}

TEST(ClockPair, turns_stamps_into_monotonic_time) {
  const ClockPair clocks{.monotonic = instant_from_ns(5'000'000'000), .wall_ns = 9'000'000'000};
  EXPECT_EQ(clocks.to_monotonic(8'999'000'000), instant_from_ns(4'999'000'000));
  EXPECT_EQ(clocks.to_monotonic(9'000'000'000), clocks.monotonic);
  // The wall clock was set meanwhile.
  EXPECT_EQ(clocks.to_monotonic(9'000'000'001), clocks.monotonic);
  EXPECT_EQ(clocks.to_monotonic(7'999'999'999), clocks.monotonic);
}

TEST(PacketPool, gives_the_last_one_first) {
  auto pool = PacketPool::create(3, 100);
  ASSERT_TRUE(pool);
  const Slot a = pool->take();
  const Slot b = pool->take();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool->room(a).size(), 100u);
  pool->give_back(a);
  EXPECT_EQ(pool->take(), a);
  pool->take();
  EXPECT_TRUE(pool->empty());
}

// Hands over packets that are "there" at the start, and notes what is sent.
class ListIo final : public PacketIo {
 public:
  ListIo(PacketPool& pool, size_t count) : pool_(pool), count_(count), event_(::eventfd(1, 0)) {}

  Result<void, SysError> watch(int epoll) override {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
    EXPECT_EQ(::epoll_ctl(epoll, EPOLL_CTL_ADD, event_.get(), &event), 0);
    return {};
  }
  More receive(uint64_t, PacketSink& sink) override {
    uint64_t value = 0;
    EXPECT_EQ(::read(event_.get(), &value, sizeof value), 8);
    const Instant now = monotonic_now();
    for (size_t i = 0; i < count_ && !pool_.empty(); ++i) {
      const Slot slot = pool_.take();
      pool_.info(slot).size = 100;
      std::memset(pool_.room(slot).data(), static_cast<int>(i), 100);
      sink.on_packet({.direction = Direction::Up, .at = now, .slot = slot, .ip_size = 100});
    }
    return More::No;
  }
  void send(Direction direction, std::span<const Slot> slots) override {
    EXPECT_EQ(direction, Direction::Up);
    for (const Slot slot : slots) {
      const Bytes bytes = pool_.packet(slot);
      sent.emplace_back(bytes.begin(), bytes.end());
    }
  }
  MutableBytes payload(Slot slot) override { return pool_.packet(slot); }
  const Counters& counters() override { return counters_; }

  std::vector<std::vector<uint8_t>> sent;

 private:
  PacketPool& pool_;
  size_t count_;
  UniqueFd event_;
  Counters counters_;
};

struct Outcome {
  std::vector<std::vector<uint8_t>> sent;
  Emulator::Counters counters;
  size_t free_slots = 0;
};

Outcome run(const LinkOptions& options, size_t count, size_t held_max) {
  auto pool = PacketPool::create(100, 100);
  ListIo io(*pool, count);
  const Emulator::Options settings{
      .held_max = held_max,
      .precision = 50us,
      .run_for = 60ms,
      .plans = {LinkPlan{.options = options, .changes = {}, .outages = {}}, LinkPlan{}}};
  Emulator emulator(settings, io, *pool, monotonic_now());
  EXPECT_TRUE(emulator.run([](Instant) {}));
  Outcome result{.sent = std::move(io.sent), .counters = emulator.counters()};
  while (!pool->empty()) {
    pool->take();
    ++result.free_slots;
  }
  return result;
}

TEST(Emulator, passes_packets_in_order_and_gives_memory_back) {
  const Outcome done = run({.delay = 5ms}, 80, 90);
  ASSERT_EQ(done.sent.size(), 80u);
  for (size_t i = 0; i < 80; ++i) EXPECT_EQ(done.sent[i][50], i);
  EXPECT_EQ(done.counters.held_max, 80u);
  EXPECT_EQ(done.counters.sent_packets[0], 80u);
  EXPECT_EQ(done.counters.sent_bytes[0], 8'000u);
  EXPECT_EQ(done.free_slots, 100u);
}

TEST(Emulator, holds_no_more_than_it_may) {
  const Outcome done = run({.delay = 5ms}, 80, 20);
  EXPECT_EQ(done.sent.size(), 20u);
  EXPECT_EQ(done.counters.held_dropped, 60u);
  EXPECT_EQ(done.free_slots, 100u);
}

TEST(Emulator, copies_before_it_damages) {
  const Outcome done = run({.delay = 1ms, .duplicate_ppm = kPpm, .corrupt_ppm = kPpm / 2}, 40, 90);
  ASSERT_EQ(done.sent.size(), 80u);
  size_t intact = 0;
  for (const auto& bytes : done.sent) {
    size_t different = 0;
    for (const uint8_t byte : bytes) different += byte == bytes[99] ? 0U : 1U;
    intact += different == 0 ? 1U : 0U;
  }
  EXPECT_GT(intact, 20u);
  EXPECT_LT(intact, 60u);
}

TEST(Emulator, lost_packets_give_their_memory_back) {
  const Outcome done = run({.delay = 1ms, .loss_ppm = kPpm}, 80, 90);
  EXPECT_TRUE(done.sent.empty());
  EXPECT_EQ(done.free_slots, 100u);
}

}  // namespace
}  // namespace masque::linkemu
