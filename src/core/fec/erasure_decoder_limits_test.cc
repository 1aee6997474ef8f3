// SPDX-License-Identifier: Apache-2.0
// The decoder's limits, one by one, and a peer that means harm (faults G1-G4, G7).
#include <gtest/gtest.h>

#include "core/fec/erasure_decoder.h"
#include "core/fec/erasure_encoder.h"
#include "core/fec/erasure_test_support.h"

namespace masque {
namespace {

using test::random_symbol;
using test::Symbol;

constexpr size_t kSize = 16;

RepairId sliding(uint32_t first, size_t count, uint16_t key) {
  return {.code = ErasureCode::SlidingWindow,
          .first = first,
          .count = static_cast<uint8_t>(count),
          .key = key};
}
Symbol zeros() { return Symbol(kSize, 0); }

TEST(ErasureDecoderLimits, sizes) {
  ErasureDecoder decoder(kSize, 255, 4);
  decoder.add_source(0, Symbol(kSize), Symbol(1));
  EXPECT_FALSE(decoder.has(0));
  decoder.add_source(0, Symbol(kSize - 1), Symbol(1));
  EXPECT_TRUE(decoder.has(0));
  decoder.add_repair(sliding(0, 2, 1), Symbol(kSize + 1));
  decoder.add_repair(sliding(0, 2, 1), {});
  EXPECT_EQ(decoder.counters().bad_size, 3u);
  EXPECT_EQ(decoder.equations(), 0u);
  decoder.add_repair(sliding(0, 2, 1), Symbol(kSize));
  EXPECT_TRUE(decoder.has(1));
}

// G2: what does not belong together is refused before anything else is looked at.
TEST(ErasureDecoderLimits, faults_g2_inconsistent_ids) {
  ErasureDecoder decoder(kSize, 255, 4);
  for (const RepairId& id : {
           RepairId{.code = ErasureCode::Xor, .first = 0, .count = 0, .key = 0},
           RepairId{.code = ErasureCode::Xor, .first = 0, .count = 2, .key = 9},
           RepairId{.code = ErasureCode{0}, .first = 0, .count = 2, .key = 0},
           RepairId{.code = ErasureCode{200}, .first = 0, .count = 2, .key = 0},
           RepairId{.code = ErasureCode::ReedSolomon, .first = 0, .count = 5, .key = 0},
           RepairId{.code = ErasureCode::ReedSolomon, .first = 0, .count = 4, .key = 0x0500},
           RepairId{.code = ErasureCode::ReedSolomon, .first = 0, .count = 4, .key = 0x0020},
       }) {
    decoder.add_repair(id, zeros());
  }
  EXPECT_EQ(decoder.counters().invalid, 7u);
  EXPECT_EQ(decoder.equations(), 0u);
}

// One block under several block sizes and codes: still equations like any others.
TEST(ErasureDecoderLimits, faults_g2_mixed_block_sizes_in_one_block) {
  SeededRng rng(4);
  ErasureEncoder encoder(kSize, 8);
  std::vector<Symbol> sources;
  for (int i = 0; i < 4; ++i) encoder.add(sources.emplace_back(random_symbol(rng, kSize)), {});
  ErasureDecoder decoder(kSize, 255, 8);
  Symbol out(kSize);
  for (const RepairId& id :
       {ErasureEncoder::reed_solomon(0, 4, 4, 0), ErasureEncoder::reed_solomon(0, 4, 64, 0),
        ErasureEncoder::xor_parity(0, 4), encoder.sliding(4)}) {
    ASSERT_EQ(encoder.make_repair(id, out), kSize);
    decoder.add_repair(id, out);
  }
  for (uint32_t i = 0; i < 4; ++i) {
    const auto r = decoder.poll_recovered();
    ASSERT_TRUE(r);
    EXPECT_EQ(r->esi, i);
    EXPECT_TRUE(std::ranges::equal(r->symbol, sources[i]));
  }
}

// G3: equations that never complete: memory stays what it is, the oldest go.
TEST(ErasureDecoderLimits, faults_g3_open_windows_without_end) {
  ErasureDecoder decoder(kSize, 255, 8);
  decoder.add_source(0, zeros(), {});
  const Symbol symbol = zeros();
  decoder.add_repair(sliding(1, 200, 1), symbol);
  for (uint32_t i = 0; i < 1'000'000; ++i)
    decoder.add_repair(sliding(1 + i % 50, 200, static_cast<uint16_t>(2 + i / 50)), symbol);
  EXPECT_EQ(decoder.equations(), 8u);
  EXPECT_GT(decoder.counters().evicted, 900'000u);
  EXPECT_EQ(decoder.counters().recovered, 0u);
}

// G4: an old repair never meets the symbols of another generation.
TEST(ErasureDecoderLimits, faults_g4_replay_after_the_window_has_moved_and_after_the_wrap) {
  SeededRng rng(6);
  ErasureDecoder decoder(kSize, 256, 8);
  for (uint32_t esi = 0; esi < 8; ++esi) decoder.add_source(esi, random_symbol(rng, kSize), {});
  decoder.add_repair(sliding(4, 5, 3), random_symbol(rng, kSize));  // gives 8
  EXPECT_TRUE(decoder.has(8));
  for (uint32_t esi = 256; esi < 264; ++esi) decoder.add_source(esi, random_symbol(rng, kSize), {});
  EXPECT_FALSE(decoder.has(7));
  EXPECT_TRUE(decoder.has(8));
  decoder.add_repair(sliding(4, 5, 4), random_symbol(rng, kSize));
  EXPECT_EQ(decoder.counters().too_old, 1u);
  // Half way round, and back to the same numbers 2^32 later.
  decoder.add_source(0x7fffffff, zeros(), {});
  decoder.add_source(0xfffffff0, zeros(), {});
  decoder.add_source(100, zeros(), {});
  EXPECT_FALSE(decoder.has(8));
  EXPECT_FALSE(decoder.has(99));
  EXPECT_TRUE(decoder.has(100));
  EXPECT_TRUE(decoder.has(0xfffffff0));
}

TEST(ErasureDecoderLimits, nothing_skipped_counts_as_known) {
  ErasureDecoder decoder(kSize, 256, 8);
  for (uint32_t esi = 0; esi < 256; ++esi) decoder.add_source(esi, zeros(), {});
  decoder.add_source(300, zeros(), {});
  EXPECT_TRUE(decoder.has(45));
  EXPECT_FALSE(decoder.has(44));
  EXPECT_FALSE(decoder.has(299));
  decoder.add_source(44, zeros(), {});
  EXPECT_EQ(decoder.counters().too_old, 1u);
  decoder.add_source(45, zeros(), {});
  EXPECT_EQ(decoder.counters().duplicates, 1u);
}

TEST(ErasureDecoderLimits, repairs_too_far_ahead_are_refused_and_move_nothing) {
  ErasureDecoder decoder(kSize, 256, 8);
  decoder.add_source(1000, zeros(), {});
  decoder.add_repair(sliding(1000 + 256, 1, 1), zeros());
  EXPECT_EQ(decoder.counters().too_new, 1u);
  decoder.add_repair(sliding(1000 + 254, 2, 1), zeros());
  EXPECT_EQ(decoder.equations(), 1u);
  EXPECT_TRUE(decoder.has(1000));
  decoder.add_source(1001, zeros(), {});
  EXPECT_TRUE(decoder.has(1001));
}

// The first thing heard may be a repair; the first source still decides where the window is.
TEST(ErasureDecoderLimits, a_hostile_first_repair_does_not_place_the_window) {
  ErasureDecoder decoder(kSize, 256, 8);
  decoder.add_repair(sliding(0x40000000, 3, 1), zeros());
  decoder.add_source(0, zeros(), {});
  EXPECT_TRUE(decoder.has(0));
  EXPECT_EQ(decoder.equations(), 0u);
  EXPECT_EQ(decoder.counters().given_up, 1u);
}

TEST(ErasureDecoderLimits, equations_whose_unknowns_leave_the_window_are_given_up) {
  ErasureDecoder decoder(kSize, 256, 8);
  decoder.add_source(0, zeros(), {});
  decoder.add_repair(sliding(1, 3, 1), zeros());
  decoder.add_source(256, zeros(), {});
  EXPECT_EQ(decoder.equations(), 1u);
  decoder.add_source(257, zeros(), {});
  EXPECT_EQ(decoder.equations(), 0u);
  EXPECT_EQ(decoder.counters().given_up, 1u);
}

TEST(ErasureDecoderLimits, forget_before) {
  ErasureDecoder decoder(kSize, 256, 8);
  decoder.add_source(0, zeros(), {});
  decoder.add_repair(sliding(1, 3, 1), zeros());
  decoder.add_repair(sliding(4, 3, 2), zeros());
  decoder.forget_before(1);
  EXPECT_EQ(decoder.equations(), 2u);
  decoder.forget_before(2);
  EXPECT_EQ(decoder.equations(), 1u);
  decoder.forget_before(1);  // never back
  decoder.add_repair(sliding(1, 3, 4), zeros());
  EXPECT_EQ(decoder.equations(), 1u);
  EXPECT_EQ(decoder.counters().given_up, 2u);
  decoder.add_repair(sliding(2, 3, 4), zeros());
  EXPECT_EQ(decoder.equations(), 2u);
  // What is known may be forgotten and still serve.
  decoder.add_source(4, zeros(), {});
  decoder.add_source(5, zeros(), {});
  EXPECT_TRUE(decoder.has(6));
  decoder.forget_before(6);
  decoder.add_repair(sliding(4, 4, 5), zeros());
  EXPECT_TRUE(decoder.has(7));
}

TEST(ErasureDecoderLimits, repairs_wait_for_what_is_expected) {
  ErasureDecoder decoder(kSize, 256, 8);
  decoder.add_source(0, zeros(), {});
  decoder.expect_from(0);
  decoder.add_repair(sliding(0, 3, 1), zeros());
  decoder.add_source(1, zeros(), {});
  EXPECT_FALSE(decoder.has(2));
  decoder.expect_from(2);
  EXPECT_FALSE(decoder.has(2));
  decoder.expect_from(3);
  EXPECT_TRUE(decoder.has(2));
  ASSERT_TRUE(decoder.poll_recovered());
  decoder.add_repair(sliding(1, 3, 2), zeros());  // reaches beyond 3
  EXPECT_FALSE(decoder.has(3));
  decoder.add_source(3, zeros(), {});
  decoder.expect_from(4);
  EXPECT_EQ(decoder.equations(), 0u);
  EXPECT_EQ(decoder.counters().unneeded, 1u);
  // Back and forth, as the reordering changes; what became ready meanwhile counts at once.
  decoder.expect_from(5);
  decoder.add_repair(sliding(4, 2, 3), zeros());
  decoder.expect_from(8);
  decoder.add_repair(sliding(4, 2, 4), zeros());
  EXPECT_TRUE(decoder.has(4) && decoder.has(5));
}

TEST(ErasureDecoderLimits, unneeded_and_repeated_repairs) {
  ErasureDecoder decoder(kSize, 256, 8);
  for (uint32_t esi = 0; esi < 4; ++esi) decoder.add_source(esi, zeros(), {});
  decoder.add_repair(sliding(0, 4, 1), zeros());
  EXPECT_EQ(decoder.counters().unneeded, 1u);
  decoder.add_repair(sliding(0, 6, 2), zeros());
  decoder.add_repair(sliding(0, 6, 2), zeros());
  EXPECT_EQ(decoder.counters().useless, 1u);
  decoder.add_source(4, zeros(), {});
  EXPECT_TRUE(decoder.has(5));
  EXPECT_EQ(decoder.counters().used, 1u);
  decoder.add_source(5, zeros(), {});
  EXPECT_EQ(decoder.counters().duplicates, 1u);
}

// G7: dependent equations go one by one, each counted; what is left still solves.
TEST(ErasureDecoderLimits, faults_g7_dependent_equations) {
  ErasureDecoder decoder(kSize, 256, 8);
  decoder.add_source(10, zeros(), {});
  decoder.add_repair(ErasureEncoder::xor_parity(11, 4), zeros());
  decoder.add_repair(ErasureEncoder::xor_parity(13, 2), zeros());
  decoder.add_repair(ErasureEncoder::xor_parity(11, 2), zeros());
  EXPECT_EQ(decoder.equations(), 3u);
  decoder.add_repair(ErasureEncoder::xor_parity(12, 2), zeros());
  EXPECT_EQ(decoder.counters().useless, 1u);
  EXPECT_EQ(decoder.equations(), 3u);
  decoder.add_source(11, zeros(), {});
  for (uint32_t esi = 11; esi < 15; ++esi) EXPECT_TRUE(decoder.has(esi));
  EXPECT_EQ(decoder.equations(), 0u);
}

// G1, G3, G7 and G9 together: any ids, any symbols, near the window and anywhere.
TEST(ErasureDecoderLimits, faults_g1_g9_nonsense_costs_counters) {
  uint64_t recovered = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    SeededRng rng(seed);
    ErasureDecoder decoder(kSize, 255, 32);
    decoder.add_source(0xffffff00, zeros(), {});
    for (int i = 0; i < 20'000; ++i) {
      const bool near = rng.below(8) != 0;
      const uint32_t esi = near ? 0xffffff00 + static_cast<uint32_t>(i / 10) +
                                      static_cast<uint32_t>(rng.below(300)) - 150
                                : static_cast<uint32_t>(rng.below(uint64_t{1} << 32));
      const Symbol symbol = random_symbol(rng, rng.below(kSize + 2));
      if (near && rng.below(4) == 0) {
        decoder.add_source(esi, symbol, {});
      } else {
        const uint64_t spread = seed % 2 == 0 ? 256 : 12;
        decoder.add_repair({.code = static_cast<ErasureCode>(rng.below(5)),
                            .first = esi,
                            .count = static_cast<uint8_t>(rng.below(spread)),
                            .key = static_cast<uint16_t>(rng.below(4) == 0 ? rng.below(65536) : 0)},
                           symbol);
      }
      if (rng.below(500) == 0) decoder.forget_before(esi);
      ASSERT_LE(decoder.equations(), 32u);
      while (const auto r = decoder.poll_recovered()) ASSERT_LE(r->symbol.size(), kSize);
    }
    // Every repair that was kept has gone one way.
    const auto& c = decoder.counters();
    EXPECT_LE(c.useless + c.given_up + c.evicted + c.used + c.unneeded, c.repairs);
    EXPECT_LE(c.recovered, c.repairs);
    EXPECT_GT(c.invalid, 0u);
    recovered += c.recovered;
  }
  EXPECT_GT(recovered, 0u);  // wrong ones, of course
}

}  // namespace
}  // namespace masque
