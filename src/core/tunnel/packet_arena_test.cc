// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_arena.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <vector>

namespace masque {
namespace {

constexpr size_t kPage = 6 * PacketArena::kUnit;

std::vector<uint8_t> pattern(size_t size, uint8_t seed) {
  std::vector<uint8_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(i * 7 + seed);
  return out;
}

PacketArena::Handle store(PacketArena& arena, const std::vector<uint8_t>& packet,
                          size_t head_size = 40) {
  const size_t head = std::min(head_size, packet.size());
  return arena.store({.head = Bytes(packet).first(head), .body = Bytes(packet).subspan(head)});
}

std::vector<uint8_t> bytes(PacketArena& arena, PacketArena::Handle packet) {
  const Bytes view = arena.bytes(packet);
  return {view.begin(), view.end()};
}

TEST(PacketArena, keeps_packets_of_every_size) {
  PacketArena arena(100 * kPage);
  for (const size_t size : {0u, 1u, 255u, 256u, 257u, 1400u, 1536u, 1537u, 9000u, 65535u}) {
    const auto packet = pattern(size, 3);
    const auto handle = store(arena, packet);
    ASSERT_NE(handle, PacketArena::kNone) << size;
    EXPECT_EQ(arena.size_of(handle), size);
    EXPECT_EQ(bytes(arena, handle), packet) << size;
    EXPECT_EQ(arena.used(), PacketArena::cost(size));
    arena.release(handle);
    EXPECT_EQ(arena.used(), 0u);
  }
}

TEST(PacketArena, is_full_at_its_last_unit_and_not_before) {
  PacketArena arena(2 * kPage);
  std::vector<PacketArena::Handle> handles;
  for (uint8_t i = 0; i < 12; ++i) handles.push_back(store(arena, pattern(256, i)));
  EXPECT_EQ(arena.used(), arena.capacity());
  EXPECT_EQ(store(arena, pattern(1, 0)), PacketArena::kNone);
  // Every other unit is free: a packet that has no run of its own takes a chain.
  for (size_t i = 0; i < 12; i += 2) arena.release(handles[i]);
  const auto packet = pattern(1500, 9);
  const auto chained = store(arena, packet);
  ASSERT_NE(chained, PacketArena::kNone);
  EXPECT_EQ(bytes(arena, chained), packet);
  EXPECT_EQ(store(arena, pattern(1, 0)), PacketArena::kNone);
  EXPECT_EQ(bytes(arena, handles[1]), pattern(256, 1));
  arena.release(chained);
  EXPECT_NE(store(arena, pattern(1, 0)), PacketArena::kNone);
}

TEST(PacketArena, agrees_with_a_list_of_copies) {
  EXPECT_TRUE(rc::check([](const std::vector<uint16_t>& steps) {
    PacketArena arena(8 * kPage);
    std::vector<std::pair<PacketArena::Handle, std::vector<uint8_t>>> model;
    uint8_t seed = 0;
    for (const uint16_t step : steps) {
      if (step % 4 == 0 && !model.empty()) {
        const size_t at = step / 4 % model.size();
        arena.release(model[at].first);
        model.erase(model.begin() + static_cast<ptrdiff_t>(at));
        continue;
      }
      const auto packet = pattern(step % 5000, ++seed);
      const bool fits = arena.used() + PacketArena::cost(packet.size()) <= arena.capacity();
      const auto handle = store(arena, packet, step % 100);
      RC_ASSERT((handle != PacketArena::kNone) == fits);
      if (fits) model.emplace_back(handle, packet);
    }
    size_t used = 0;
    for (const auto& [handle, packet] : model) {
      RC_ASSERT(bytes(arena, handle) == packet);
      used += PacketArena::cost(packet.size());
    }
    RC_ASSERT(arena.used() == used);
  }));
}

}  // namespace
}  // namespace masque
