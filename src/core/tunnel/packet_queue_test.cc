// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;
using test::Packet;

size_t push(PacketQueue& queue, const Packet& packet, Instant now = at(0s)) {
  const size_t half = packet.size() / 2;
  return queue.push(now, {.head = Bytes(packet).first(half), .body = Bytes(packet).subspan(half)});
}
Packet front(const PacketQueue& queue) {
  const Bytes bytes = queue.front();
  return {bytes.begin(), bytes.end()};
}

TEST(PacketQueue, keeps_order_bytes_and_time) {
  PacketQueue queue(4096);
  push(queue, Packet(100, 1), at(1ms));
  push(queue, Packet(7, 2), at(2ms));
  EXPECT_EQ(queue.count(), 2u);
  EXPECT_EQ(front(queue), Packet(100, 1));
  EXPECT_EQ(queue.front_since(), at(1ms));
  queue.pop();
  EXPECT_EQ(front(queue), Packet(7, 2));
  EXPECT_EQ(queue.front_since(), at(2ms));
  queue.pop();
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.front().empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(PacketQueue, faults_c15_the_oldest_leaves_when_it_is_full) {
  PacketQueue queue(1024);  // four packets of 240 + 16
  for (uint8_t i = 0; i < 4; ++i) EXPECT_EQ(push(queue, Packet(240, i)), 0u);
  EXPECT_EQ(queue.bytes(), 1024u);
  EXPECT_EQ(push(queue, Packet(240, 4)), 1u);
  EXPECT_EQ(queue.count(), 4u);
  EXPECT_EQ(front(queue), Packet(240, 1));
  EXPECT_LE(queue.bytes(), queue.bytes_max());
}

TEST(PacketQueue, a_packet_larger_than_the_arena_is_the_one_dropped) {
  PacketQueue queue(1024);
  push(queue, Packet(100, 1));
  EXPECT_EQ(push(queue, Packet(1024, 2)), 1u);
  EXPECT_EQ(front(queue), Packet(100, 1));
}

TEST(PacketQueue, drops_what_has_waited_too_long) {
  PacketQueue queue(4096);
  push(queue, Packet(10, 1), at(0ms));
  push(queue, Packet(10, 2), at(5ms));
  push(queue, Packet(10, 3), at(10ms));
  EXPECT_EQ(queue.expire(at(10ms)), 2u);
  EXPECT_EQ(front(queue), Packet(10, 3));
}

TEST(PacketQueue, agrees_with_a_deque_that_drops_at_its_head) {
  EXPECT_TRUE(rc::check([](const std::vector<uint16_t>& steps) {
    PacketQueue queue(2048);
    std::deque<Packet> model;
    uint8_t next = 0;
    for (const uint16_t step : steps) {
      if (step % 3 == 0) {
        if (!model.empty()) {
          RC_ASSERT(front(queue) == model.front());
          queue.pop();
          model.pop_front();
        }
      } else {
        const Packet packet(step % 900 + 1, next++);
        const size_t dropped = push(queue, packet);
        RC_ASSERT(dropped <= model.size());
        model.erase(model.begin(), model.begin() + static_cast<ptrdiff_t>(dropped));
        model.push_back(packet);
      }
      RC_ASSERT(queue.count() == model.size());
      RC_ASSERT(queue.bytes() <= queue.bytes_max());
    }
    for (const Packet& packet : model) {
      RC_ASSERT(front(queue) == packet);
      queue.pop();
    }
    RC_ASSERT(queue.empty());
  }));
}

}  // namespace
}  // namespace masque
