// SPDX-License-Identifier: Apache-2.0
// The erasure codes allocate nothing on the way of a packet, whatever the peer sends (faults.md
// G3).
#include <gtest/gtest.h>

#include "core/fec/erasure_decoder.h"
#include "core/fec/erasure_encoder.h"
#include "core/fec/erasure_test_support.h"
#include "property/allocation_counter.h"

namespace masque {
namespace {

using test::Symbol;

constexpr size_t kSize = 16;

// After the first symbols nothing is allocated, with losses and recoveries.
TEST(ErasureAllocation, none_after_the_first_symbols) {
  SeededRng rng(12);
  ErasureEncoder encoder(kSize, 64);
  ErasureDecoder decoder(kSize, 512, 64);
  Symbol symbol(kSize), repair(kSize);
  size_t before = 0;
  for (uint32_t i = 0; i < 20'000; ++i) {
    if (i == 2000) before = allocations_by_new();
    rng.fill(symbol);
    const uint32_t esi = encoder.add(symbol, {});
    if (rng.below(20) != 0)
      decoder.add_source(esi, Bytes(symbol).first(4), Bytes(symbol).subspan(4));
    while (decoder.poll_recovered()) {
    }
    if (i % 8 != 0) continue;
    const RepairId id = encoder.sliding(64);
    const size_t size = encoder.make_repair(id, repair);
    decoder.add_repair(id, Bytes(repair).first(size));
  }
  EXPECT_EQ(allocations_by_new(), before);
  EXPECT_GT(decoder.counters().recovered, 900u);
}

TEST(ErasureAllocation, none_for_windows_that_never_close) {
  ErasureDecoder decoder(kSize, 255, 8);
  const Symbol symbol(kSize, 0);
  const auto repair = [&](uint32_t first, uint16_t key) {
    decoder.add_repair(
        {.code = ErasureCode::SlidingWindow, .first = first, .count = 200, .key = key}, symbol);
  };
  decoder.add_source(0, symbol, {});
  repair(1, 1);
  const size_t before = allocations_by_new();
  for (uint32_t i = 0; i < 1'000'000; ++i) repair(1 + i % 50, static_cast<uint16_t>(2 + i / 50));
  EXPECT_EQ(allocations_by_new(), before);
  EXPECT_GT(decoder.counters().evicted, 900'000u);
}

}  // namespace
}  // namespace masque
