// SPDX-License-Identifier: Apache-2.0
// The decoder against a slow one: all erasures of small codes, random streams, ESIs that wrap.
#include "core/fec/erasure_decoder.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <bit>

#include "core/fec/erasure_encoder.h"
#include "core/fec/erasure_test_support.h"

namespace masque {
namespace {

using test::random_symbol;
using test::ReferenceDecoder;
using test::Symbol;
using test::Symbols;
using test::without_padding;

void drain(ErasureDecoder& decoder, Symbols& into) {
  while (const auto r = decoder.poll_recovered()) {
    EXPECT_FALSE(into.contains(r->esi));
    into[r->esi] = Symbol(r->symbol.begin(), r->symbol.end());
  }
}

// What one code makes of `sources` symbols from ESI 0 on.
struct Code {
  const char* name;
  size_t sources;
  size_t repairs;
  RepairId (*id)(size_t sources, size_t repair);
};
RepairId block_id(size_t sources, size_t repair) {
  return ErasureEncoder::reed_solomon(0, sources, kBlockSizes[*block_size_index(sources)], repair);
}
RepairId window_id(size_t sources, size_t repair) {
  return {.code = ErasureCode::SlidingWindow,
          .first = 0,
          .count = static_cast<uint8_t>(sources),
          .key = static_cast<uint16_t>(repair + 1)};
}
RepairId parity_id(size_t sources, size_t) { return ErasureEncoder::xor_parity(0, sources); }

class EveryErasure : public testing::TestWithParam<Code> {};

INSTANTIATE_TEST_SUITE_P(
    Codes, EveryErasure,
    testing::Values(Code{"xor_1", 1, 1, parity_id}, Code{"xor_10", 10, 1, parity_id},
                    Code{"rs_4_8", 4, 4, block_id}, Code{"rs_8_12", 8, 4, block_id},
                    Code{"rs_8_of_3_5", 3, 2, block_id}, Code{"rs_16_of_10_14", 10, 4, block_id},
                    Code{"rlc_4_8", 4, 4, window_id}, Code{"rlc_8_12", 8, 4, window_id},
                    Code{"rlc_10_14", 10, 4, window_id}, Code{"rlc_6_12", 6, 6, window_id}),
    [](const auto& test_case) { return test_case.param.name; });

// Faults G5. `lost` has one bit for each source and each repair; whatever arrives does so once with
// the sources first, once with the repairs first. ESIs wrap in the middle of the block.
TEST_P(EveryErasure, comes_back_when_enough_repairs_are_left) {
  const Code& code = GetParam();
  const uint32_t base = 0u - static_cast<uint32_t>(code.sources / 2);
  SeededRng rng(code.sources * 100 + code.repairs);
  ErasureEncoder encoder(24, 16);
  std::vector<Symbol> sources;
  for (size_t i = 0; i < code.sources; ++i) {
    sources.push_back(random_symbol(rng, 1 + rng.below(24)));
    sources.back().back() = 1;  // no padding to tell apart
    encoder.add(sources.back(), {});
  }
  std::vector<std::pair<RepairId, Symbol>> repairs;
  for (size_t i = 0; i < code.repairs; ++i) {
    RepairId id = code.id(code.sources, i);
    Symbol symbol(24);
    symbol.resize(encoder.make_repair(id, symbol));
    ASSERT_FALSE(symbol.empty());
    id.first += base;
    repairs.emplace_back(id, std::move(symbol));
  }
  // Random coefficients make a square system singular once in 255 times; the others never are.
  size_t singular = 0;
  for (uint32_t lost = 0; lost < 1u << (code.sources + code.repairs); ++lost) {
    const auto missing = static_cast<size_t>(std::popcount(lost & ((1u << code.sources) - 1)));
    const auto arrived = code.repairs - static_cast<size_t>(std::popcount(lost >> code.sources));
    for (const bool repairs_first : {false, true}) {
      ErasureDecoder decoder(24, 255, 16);
      ReferenceDecoder reference;
      Symbols recovered;
      const auto add_repairs = [&] {
        for (size_t i = 0; i < code.repairs; ++i) {
          if ((lost >> (code.sources + i) & 1) != 0) continue;
          decoder.add_repair(repairs[i].first, repairs[i].second);
          reference.add_repair(repairs[i].first, repairs[i].second);
          drain(decoder, recovered);
        }
      };
      if (repairs_first) add_repairs();
      for (uint32_t i = 0; i < code.sources; ++i) {
        if ((lost >> i & 1) != 0) continue;
        decoder.add_source(base + i, sources[i], {});
        reference.add_source(base + i, sources[i]);
        drain(decoder, recovered);
      }
      if (!repairs_first) add_repairs();
      for (uint32_t i = 0; i < code.sources; ++i) {
        const bool was_lost = (lost >> i & 1) != 0;
        if (was_lost && arrived >= missing && !decoder.has(base + i)) {
          ASSERT_EQ(code.id, &window_id) << lost;
          ASSERT_TRUE(!reference.solve().contains(base + i)) << lost;
          ++singular;
        }
        ASSERT_TRUE(decoder.has(base + i) <= (!was_lost || arrived >= missing)) << lost;
        if (!recovered.contains(base + i)) continue;
        ASSERT_EQ(without_padding(recovered[base + i]), sources[i]) << lost;
      }
    }
  }
  EXPECT_LE(singular, size_t{2} << (code.sources + code.repairs) >> 5);
}

// A stream with losses, disorder and all codes at once; its ESIs wrap.
struct Stream {
  explicit Stream(uint64_t seed) : rng(seed) {
    encoder_window = 2 + rng.below(80);
    loss_percent = static_cast<uint32_t>(rng.below(45));
    disorder = rng.below(3) == 0 ? 0 : rng.below(60);
    every = 1 + rng.below(8);
    for (uint32_t i = 0; i < kSources; ++i) send();
    std::ranges::stable_sort(packets, {}, &Packet::at);
  }
  struct Packet {
    size_t at = 0;
    bool repair = false;
    uint32_t esi = 0;
    RepairId id{};
    Symbol symbol{};
  };
  static constexpr size_t kSources = 300;
  static constexpr size_t kSize = 20;

  void send() {
    Symbol symbol = random_symbol(rng, 1 + rng.below(kSize));
    const uint32_t esi = encoder.add(symbol, {}) + kBase;
    sent[esi] = symbol;
    transmit({.at = 0, .repair = false, .esi = esi, .id = {}, .symbol = symbol});
    if (rng.below(every) != 0) return;
    RepairId id = choose();
    Symbol repair(kSize);
    repair.resize(encoder.make_repair(id, repair));
    id.first += kBase;
    if (!repair.empty())
      transmit({.at = 0, .repair = true, .esi = 0, .id = id, .symbol = std::move(repair)});
  }
  void transmit(Packet packet) {
    if (rng.below(100) < loss_percent) return;
    packet.at = ++clock + (disorder == 0 ? 0 : rng.below(disorder));
    packets.push_back(std::move(packet));
  }
  RepairId choose() {
    const size_t count = 1 + rng.below(std::min(encoder.kept(), encoder_window));
    const uint32_t first = encoder.next_source() - static_cast<uint32_t>(count);
    const uint64_t kind = rng.below(8);
    const auto k = block_size_index(count);
    if (kind == 0) return ErasureEncoder::xor_parity(first, count);
    if (kind == 1 && k) {
      return ErasureEncoder::reed_solomon(first, count, kBlockSizes[*k],
                                          rng.below(kBlockRepairsMax));
    }
    return encoder.sliding(kind < 4 ? count : encoder_window);
  }

  static constexpr uint32_t kBase = 0u - 150;
  SeededRng rng;
  size_t encoder_window = 0;
  uint32_t loss_percent = 0;
  size_t disorder = 0;
  size_t every = 1;
  size_t clock = 0;
  ErasureEncoder encoder{kSize, 255};
  Symbols sent;
  std::vector<Packet> packets;
};

// Faults G5: bit exact, and what a matrix of everything would give, but for the coincidences that
// the decoder does not look for: fewer equations than unknowns that still give one of them away
// (parities over windows within windows).
TEST(ErasureDecoder, recovers_what_the_reference_recovers) {
  size_t recovered_in_all = 0;
  size_t missed = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    Stream stream(seed);
    ErasureDecoder decoder(Stream::kSize, 512, 256);
    ReferenceDecoder reference;
    Symbols recovered;
    for (const Stream::Packet& packet : stream.packets) {
      if (packet.repair) {
        decoder.add_repair(packet.id, packet.symbol);
        reference.add_repair(packet.id, packet.symbol);
      } else {
        decoder.add_source(packet.esi, packet.symbol, {});
        reference.add_source(packet.esi, packet.symbol);
      }
      while (const auto r = decoder.poll_recovered())
        recovered[r->esi] = Symbol(r->symbol.begin(), r->symbol.end());
      if (seed % 2 == 0 || packet.repair) continue;
      decoder.expect_from(packet.esi - static_cast<uint32_t>(stream.disorder));
      while (const auto r = decoder.poll_recovered())
        recovered[r->esi] = Symbol(r->symbol.begin(), r->symbol.end());
    }
    decoder.expect_from(Stream::kBase + uint32_t{Stream::kSources});
    while (const auto r = decoder.poll_recovered())
      recovered[r->esi] = Symbol(r->symbol.begin(), r->symbol.end());
    for (const auto& [esi, symbol] : recovered)
      ASSERT_EQ(without_padding(symbol), without_padding(stream.sent.at(esi))) << seed;
    for (const auto& [esi, symbol] : reference.solve())
      missed += static_cast<size_t>(!decoder.has(esi));
    recovered_in_all += recovered.size();
  }
  EXPECT_GT(recovered_in_all, 2000u);
  EXPECT_LT(missed * 200, recovered_in_all);
}

TEST(ErasureDecoder, recovered_symbols_are_exact_with_small_limits) {
  const bool ok = rc::check("stream", [] {
    Stream stream(*rc::gen::arbitrary<uint32_t>());
    ErasureDecoder decoder(Stream::kSize, 255, *rc::gen::inRange<size_t>(1, 9));
    for (const Stream::Packet& packet : stream.packets) {
      if (packet.repair) {
        decoder.add_repair(packet.id, packet.symbol);
      } else {
        decoder.add_source(packet.esi, packet.symbol, {});
      }
      while (const auto r = decoder.poll_recovered()) {
        const Symbol symbol(r->symbol.begin(), r->symbol.end());
        RC_ASSERT(without_padding(symbol) == without_padding(stream.sent.at(r->esi)));
      }
    }
  });
  EXPECT_TRUE(ok);
}

// A recovered symbol is padded to the length of the shortest repair that covers it, no further.
TEST(ErasureDecoder, length_of_recovered_symbols) {
  ErasureEncoder encoder(100, 8);
  encoder.add(Symbol(10, 1), Symbol(1, 2));
  encoder.add(Symbol(90, 3), {});
  Symbol both(100), first(100);
  both.resize(encoder.make_repair(ErasureEncoder::xor_parity(0, 2), both));
  first.resize(encoder.make_repair(ErasureEncoder::xor_parity(0, 1), first));
  EXPECT_EQ(first.size(), 11u);
  {
    ErasureDecoder decoder(100, 255, 8);
    decoder.add_source(1, Symbol(90, 3), {});
    decoder.add_repair(ErasureEncoder::xor_parity(0, 2), both);
    const auto r = decoder.poll_recovered();
    ASSERT_TRUE(r);
    EXPECT_EQ(r->symbol.size(), 90u);
    EXPECT_EQ(to_hex(r->symbol.first(12)), "010101010101010101010200");
  }
  ErasureDecoder decoder(100, 255, 8);
  decoder.add_repair(ErasureEncoder::xor_parity(0, 2), both);
  decoder.add_repair(ErasureEncoder::xor_parity(0, 1), first);
  const auto a = decoder.poll_recovered();
  const auto b = decoder.poll_recovered();
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->esi, 0u);
  EXPECT_EQ(a->symbol.size(), 11u);
  EXPECT_EQ(b->symbol.size(), 90u);
  EXPECT_TRUE(std::ranges::equal(b->symbol, Symbol(90, 3)));
  EXPECT_FALSE(decoder.poll_recovered());
}

}  // namespace
}  // namespace masque
