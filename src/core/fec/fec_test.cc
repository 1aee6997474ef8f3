// SPDX-License-Identifier: Apache-2.0
// The codes against the vectors of RFC 8681 / 8682, worked examples, all erasures of small codes,
// and each other.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <map>

#include "base/rng.h"
#include "core/fec/gf256.h"
#include "core/fec/random_linear_code.h"
#include "core/fec/reed_solomon.h"
#include "core/fec/source_unit.h"
#include "core/fec/tinymt32.h"

namespace masque {
namespace {

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }
std::vector<uint8_t> unit(std::string_view packet, size_t size) {
  std::vector<uint8_t> out(size);
  write_source_unit(0, as_bytes(packet), out);
  return out;
}
std::vector<uint8_t> random_bytes(SeededRng& rng, size_t size) {
  std::vector<uint8_t> out(size);
  rng.fill(out);
  return out;
}

TEST(Gf256, polynomial_0x11d) {
  EXPECT_EQ(gf256::multiply(0x02, 0x80), 0x1d);
  EXPECT_EQ(gf256::multiply(0x53, 0xca), 0x8f);
}

TEST(Gf256, tables_equal_the_definition_and_inverses_invert) {
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      ASSERT_EQ(gf256::multiply(static_cast<uint8_t>(a), static_cast<uint8_t>(b)),
                gf256::multiply_slowly(static_cast<uint8_t>(a), static_cast<uint8_t>(b)));
    }
    if (a != 0) {
      EXPECT_EQ(gf256::multiply(static_cast<uint8_t>(a), gf256::inverse(static_cast<uint8_t>(a))),
                1);
    }
  }
}

TEST(Gf256, every_kernel_equals_the_reference) {
  SeededRng rng(1);
  for (size_t length = 0; length < 200; ++length) {
    const auto source = random_bytes(rng, length);
    const auto start = random_bytes(rng, length);
    for (const unsigned factor : {0u, 1u, 2u, 0x1du, 0xffu}) {
      std::vector<uint8_t> expected = start;
      for (size_t i = 0; i < length; ++i) {
        expected[i] ^= gf256::multiply_slowly(static_cast<uint8_t>(factor), source[i]);
      }
      for (const gf256::Kernel kernel :
           {gf256::Kernel::Reference, gf256::Kernel::Ssse3, gf256::Kernel::Avx2}) {
        if (kernel > gf256::best_kernel()) continue;
        std::vector<uint8_t> target = start;
        gf256::add_scaled(target, source, static_cast<uint8_t>(factor), kernel);
        ASSERT_EQ(target, expected) << gf256::to_string(kernel) << " " << length;
      }
    }
  }
}

TEST(TinyMt32, rfc8682_vector) {
  TinyMt32 generator(1);
  for (const uint32_t expected : {2545341989u, 981918433u, 3715302833u, 2387538352u, 3591001365u,
                                  3820442102u, 2114400566u, 2196103051u, 2783359912u, 764534509u}) {
    EXPECT_EQ(generator.next(), expected);
  }
  TinyMt32 bytes(1);
  for (const int expected : {37, 225, 177, 176, 21, 246, 54, 139, 168, 237})
    EXPECT_EQ(bytes.rand256(), expected);
  TinyMt32 nibbles(1);
  for (const int expected : {5, 1, 1, 0, 5, 6, 6, 11, 8, 13}) EXPECT_EQ(nibbles.rand16(), expected);
}

TEST(Rlc, rfc8681_coefficients) {
  const std::pair<uint16_t, std::vector<uint8_t>> cases[] = {
      {0, {39, 42, 153, 208, 176, 219, 77, 72}},
      {1, {37, 225, 177, 176, 21, 246, 54, 139}},
      {2, {249, 140, 98, 88, 123, 116, 116, 112}},
      {65535, {52, 199, 76, 244, 208, 206, 112, 248}},
  };
  for (const auto& [key, expected] : cases) {
    std::vector<uint8_t> coefficients(8);
    rlc_coefficients(key, 15, coefficients);
    EXPECT_EQ(coefficients, expected);
  }
  std::vector<uint8_t> sparse(8);
  rlc_coefficients(1, 7, sparse);
  EXPECT_EQ(sparse, (std::vector<uint8_t>{225, 176, 246, 139, 0, 0, 187, 0}));
}

// Packets "hello" and "worlds!" in symbols of 8 bytes: the second takes two.
TEST(Rlc, rfc8681_repair_symbol) {
  RlcEncoder encoder(8, 16);
  for (const char* symbol : {"00000568656c6c6f", "000007776f726c64", "7321000000000000"})
    encoder.add(hex(symbol));
  std::vector<uint8_t> repair(8);
  const auto id = encoder.make_repair(repair);
  ASSERT_TRUE(id);
  std::array<uint8_t, RlcRepairId::kSize> bytes;
  ByteWriter out(bytes);
  id->write(out);
  EXPECT_EQ(to_hex(bytes), "0001f00300000000");
  EXPECT_EQ(to_hex(repair), "e9122cec853aab9f");
  ByteReader in(bytes);
  EXPECT_EQ(RlcRepairId::parse(in).value(), *id);
}

// Every pattern of up to as many losses as there are repairs, for a window of six.
TEST(Rlc, small_windows_survive_every_erasure) {
  constexpr size_t kSources = 6, kRepairs = 4, kSize = 20;
  for (unsigned lost = 0; lost < (1u << kSources); ++lost) {
    if (std::popcount(lost) > static_cast<int>(kRepairs)) continue;
    SeededRng rng(lost);
    RlcEncoder encoder(kSize, 16);
    RlcDecoder decoder(kSize, 256, 32);
    std::vector<std::vector<uint8_t>> sources;
    std::map<uint32_t, std::vector<uint8_t>> recovered;
    const auto drain = [&] {
      while (const auto r = decoder.poll_recovered())
        recovered[r->esi].assign(r->symbol.begin(), r->symbol.end());
    };
    for (uint32_t i = 0; i < kSources; ++i) {
      sources.push_back(random_bytes(rng, kSize));
      encoder.add(sources.back());
      if ((lost >> i & 1) == 0) decoder.add_source(i, sources.back());
      drain();
    }
    for (size_t i = 0; i < kRepairs; ++i) {
      std::vector<uint8_t> repair(kSize);
      const auto id = encoder.make_repair(repair);
      decoder.add_repair(*id, repair);
      drain();
    }
    for (uint32_t i = 0; i < kSources; ++i) {
      EXPECT_EQ(recovered.contains(i), (lost >> i & 1) != 0);
      if (recovered.contains(i)) {
        EXPECT_EQ(recovered[i], sources[i]);
      }
    }
  }
}

// A long stream over a lossy, reordering path whose ESIs wrap: whatever comes back is exact.
TEST(Rlc, recovered_symbols_are_exact_in_long_streams) {
  const bool ok = rc::check("stream", [] {
    SeededRng rng(*rc::gen::arbitrary<uint32_t>());
    const unsigned loss_percent = *rc::gen::inRange(0u, 40u);
    const size_t window = *rc::gen::inRange<size_t>(2, 64);
    const size_t every = *rc::gen::inRange<size_t>(1, 8);
    constexpr size_t kSize = 24;
    RlcEncoder encoder(kSize, window);
    RlcDecoder decoder(kSize, 256, 64);
    std::map<uint32_t, std::vector<uint8_t>> sent;
    for (uint32_t i = 0; i < 400; ++i) {
      auto symbol = random_bytes(rng, kSize);
      const uint32_t esi = encoder.add(symbol);
      if (rng.below(100) >= loss_percent) decoder.add_source(esi, symbol);
      sent[esi] = std::move(symbol);
      const auto check = [&] {
        while (const auto r = decoder.poll_recovered()) {
          RC_ASSERT(std::ranges::equal(r->symbol, sent.at(r->esi)));
        }
      };
      check();
      if (i % every == 0 && rng.below(100) >= loss_percent) {
        std::vector<uint8_t> repair(kSize);
        const auto id = encoder.make_repair(repair);
        decoder.add_repair(*id, repair);
        check();
      }
    }
  });
  EXPECT_TRUE(ok);
}

// Faults G1-G4: nonsense costs counters, nothing else.
TEST(Rlc, hostile_repairs_are_bounded) {
  SeededRng rng(5);
  RlcDecoder decoder(16, 256, 8);
  decoder.add_source(1000, random_bytes(rng, 16));
  for (int i = 0; i < 20'000; ++i) {
    const auto head = random_bytes(rng, 8);
    ByteReader in(head);
    RlcRepairId id = RlcRepairId::parse(in).value();
    if (i % 2 == 0) id.first_source = 1000 + static_cast<uint32_t>(i % 300) - 150;
    decoder.add_repair(id, random_bytes(rng, 16));
    while (decoder.poll_recovered()) {
    }
  }
  EXPECT_GT(decoder.counters().repairs, 0u);
  decoder.add_repair({.source_count = 0}, random_bytes(rng, 16));
  decoder.add_repair({.source_count = 4}, random_bytes(rng, 15));
}

TEST(ReedSolomon, rfc5510_generator_matrix) {
  const ReedSolomon two(2, 4);
  EXPECT_EQ(to_hex(two.column(2)), "0203");
  EXPECT_EQ(to_hex(two.column(3)), "0607");
  const ReedSolomon four(4, 6);
  EXPECT_EQ(to_hex(four.column(4)), "4078360f");
  EXPECT_EQ(to_hex(four.column(5)), "e7d25763");
}

TEST(ReedSolomon, rfc6865_repair_symbols) {
  const ReedSolomon code(4, 6);
  std::vector<std::vector<uint8_t>> units;
  for (const char* packet : {"abcde", "fgh", "ij", "k"}) units.push_back(unit(packet, 8));
  const std::vector<Bytes> sources(units.begin(), units.end());
  std::vector<uint8_t> out(8);
  code.encode(sources, 4, out);
  EXPECT_EQ(to_hex(out), "0000b6df4ed23878");
  code.encode(sources, 5, out);
  EXPECT_EQ(to_hex(out), "0000fa1e82c57592");
}

// Faults G5: all erasure patterns up to (10, 14), bit exact.
TEST(ReedSolomon, any_k_of_n_symbols_decode) {
  SeededRng rng(9);
  for (const auto& [k, n] : {std::pair<size_t, size_t>{1, 2}, {2, 4}, {4, 7}, {10, 14}}) {
    const ReedSolomon code(k, n);
    std::vector<std::vector<uint8_t>> symbols;
    for (size_t i = 0; i < k; ++i) symbols.push_back(random_bytes(rng, 9));
    const std::vector<Bytes> sources(symbols.begin(), symbols.end());
    for (size_t i = k; i < n; ++i) {
      std::vector<uint8_t> repair(9);
      code.encode(sources, i, repair);
      symbols.push_back(repair);
    }
    for (unsigned kept = 0; kept < (1u << n); ++kept) {
      if (std::popcount(kept) != static_cast<int>(k)) continue;
      std::vector<ReedSolomon::Symbol> received;
      for (size_t i = 0; i < n; ++i) {
        if ((kept >> i & 1) != 0)
          received.push_back({.esi = static_cast<uint8_t>(i), .bytes = symbols[i]});
      }
      std::vector<std::vector<uint8_t>> decoded(k, std::vector<uint8_t>(9));
      const std::vector<MutableBytes> out(decoded.begin(), decoded.end());
      ASSERT_TRUE(code.decode(received, out));
      for (size_t i = 0; i < k; ++i) ASSERT_EQ(decoded[i], symbols[i]);
    }
  }
}

TEST(ReedSolomon, nonsense_is_refused) {
  const ReedSolomon code(2, 4);
  std::vector<uint8_t> a(4), b(4);
  const std::vector<MutableBytes> out{a, b};
  using Symbol = ReedSolomon::Symbol;
  const auto fault = [&](std::vector<Symbol> symbols) { return code.decode(symbols, out).error(); };
  EXPECT_EQ(fault({Symbol{0, a}}), ReedSolomon::Fault::TooFew);
  EXPECT_EQ(fault({Symbol{0, a}, Symbol{0, b}}), ReedSolomon::Fault::Duplicate);
  EXPECT_EQ(fault({Symbol{0, a}, Symbol{4, b}}), ReedSolomon::Fault::BadEsi);
  EXPECT_EQ(fault({Symbol{0, a}, Symbol{1, Bytes(b).first(3)}}), ReedSolomon::Fault::BadSize);
}

TEST(SourceUnit, xor_parity_example_and_refusals) {
  std::vector<uint8_t> parity(8, 0);
  for (const char* packet : {"abcde", "fgh", "ij", "k"})
    gf256::add_scaled(parity, unit(packet, 8), 1);
  EXPECT_EQ(to_hex(parity), "000005056f0b6465");
  EXPECT_FALSE(read_source_unit(hex("0000")));
  EXPECT_FALSE(read_source_unit(hex("0000066162636465")));
  const auto block = unit("abcde", 8);
  const auto whole = read_source_unit(block);
  ASSERT_TRUE(whole);
  EXPECT_EQ(as_text(whole->packet), "abcde");
}

}  // namespace
}  // namespace masque
