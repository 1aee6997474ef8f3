// SPDX-License-Identifier: Apache-2.0
// Repair symbols of the RFCs' examples, the window, and what is refused.
#include "core/fec/erasure_encoder.h"

#include <gtest/gtest.h>

#include "core/fec/erasure_test_support.h"

namespace masque {
namespace {

using test::Symbol;

Symbol hex(std::string_view text) { return from_hex(text).value(); }

std::string repair(const ErasureEncoder& encoder, const RepairId& id) {
  Symbol out(encoder.kept() == 0 ? 64 : 2048);
  out.resize(encoder.make_repair(id, out));
  return to_hex(out);
}

// Packets "hello" and "worlds!" in symbols of 8 bytes, the last without its zeros.
TEST(ErasureEncoder, rfc8681_repair_symbol) {
  ErasureEncoder encoder(8, 16);
  for (const char* symbol : {"00000568656c6c6f", "000007776f726c64", "7321"})
    encoder.add(hex(symbol), {});
  const RepairId id = encoder.sliding(3);
  EXPECT_EQ(id, (RepairId{.code = ErasureCode::SlidingWindow, .first = 0, .count = 3, .key = 1}));
  EXPECT_EQ(repair(encoder, id), "e9122cec853aab9f");
}

// ADU blocks (RFC 6865 4.3) of "abcde", "fgh", "ij" and "k": flow, length, packet.
TEST(ErasureEncoder, rfc6865_repair_symbols_and_xor_parity) {
  ErasureEncoder encoder(8, 8);
  for (const char* packet : {"abcde", "fgh", "ij", "k"}) {
    const Symbol head{0, 0, static_cast<uint8_t>(std::string_view(packet).size())};
    encoder.add(head, as_bytes(packet));
  }
  EXPECT_EQ(repair(encoder, ErasureEncoder::reed_solomon(0, 4, 4, 0)), "0000b6df4ed23878");
  EXPECT_EQ(repair(encoder, ErasureEncoder::reed_solomon(0, 4, 4, 1)), "0000fa1e82c57592");
  EXPECT_EQ(repair(encoder, ErasureEncoder::xor_parity(0, 4)), "000005056f0b6465");
  // The cost and the length follow what is covered: "ij" and "k".
  EXPECT_EQ(repair(encoder, ErasureEncoder::xor_parity(2, 2)), "000003026a");
}

TEST(ErasureEncoder, the_window_holds_the_newest) {
  ErasureEncoder encoder(4, 3);
  EXPECT_EQ(encoder.kept(), 0u);
  EXPECT_TRUE(encoder.symbol(0).empty());
  EXPECT_EQ(repair(encoder, encoder.sliding(5)), "");
  for (uint8_t i = 0; i < 5; ++i) EXPECT_EQ(encoder.add(Symbol{i}, Symbol{7, 7}), i);
  EXPECT_EQ(encoder.next_source(), 5u);
  EXPECT_EQ(encoder.kept(), 3u);
  EXPECT_TRUE(encoder.symbol(1).empty());
  EXPECT_EQ(to_hex(encoder.symbol(2)), "020707");
  EXPECT_EQ(to_hex(encoder.symbol(4)), "040707");
  EXPECT_TRUE(encoder.symbol(5).empty());
  EXPECT_TRUE(encoder.symbol(0xffffffff).empty());
  const RepairId id = encoder.sliding(9);
  EXPECT_EQ(id.first, 2u);
  EXPECT_EQ(id.count, 3);
  EXPECT_EQ(repair(encoder, ErasureEncoder::xor_parity(2, 3)), "050707");
  EXPECT_EQ(repair(encoder, ErasureEncoder::xor_parity(1, 3)), "");
  EXPECT_EQ(repair(encoder, ErasureEncoder::xor_parity(3, 3)), "");
  EXPECT_EQ(repair(encoder, ErasureEncoder::xor_parity(0xffffffff, 4)), "");
}

TEST(ErasureEncoder, too_little_room_or_a_bad_id_makes_no_repair) {
  ErasureEncoder encoder(100, 8);
  encoder.add(Symbol(90, 1), {});
  encoder.add({}, {});
  Symbol out(90);
  EXPECT_EQ(encoder.make_repair(ErasureEncoder::xor_parity(0, 2), MutableBytes(out).first(89)), 0u);
  EXPECT_EQ(encoder.make_repair(ErasureEncoder::xor_parity(0, 2), out), 90u);
  EXPECT_EQ(encoder.make_repair({.code = ErasureCode::Xor, .first = 0, .count = 2, .key = 1}, out),
            0u);
  EXPECT_EQ(encoder.make_repair(ErasureEncoder::xor_parity(0, 0), out), 0u);
  EXPECT_EQ(encoder.make_repair(ErasureEncoder::xor_parity(1, 1), out), 0u);  // an empty symbol
}

TEST(ErasureEncoder, a_full_window_of_packets_equals_the_definition) {
  SeededRng rng(3);
  ErasureEncoder encoder(1500, 255);
  std::vector<Symbol> symbols;
  for (size_t i = 0; i < 300; ++i) {
    symbols.push_back(test::random_symbol(rng, rng.below(1501)));
    const size_t head = std::min<size_t>(symbols.back().size(), rng.below(5));
    encoder.add(Bytes(symbols.back()).first(head), Bytes(symbols.back()).subspan(head));
  }
  for (const size_t count : {1u, 2u, 17u, 64u, 254u, 255u}) {
    std::vector<RepairId> ids{
        encoder.sliding(count),
        ErasureEncoder::xor_parity(static_cast<uint32_t>(300 - count), count)};
    if (const auto k = block_size_index(count)) {
      ids.push_back(ErasureEncoder::reed_solomon(static_cast<uint32_t>(300 - count), count,
                                                 kBlockSizes[*k], 31));
    }
    for (const RepairId& id : ids) {
      RepairCoefficients all;
      const Bytes coefficients = all.of(id);
      Symbol expected;
      for (size_t i = 0; i < id.count; ++i)
        test::add_slowly(expected, symbols[id.first + i], coefficients[i]);
      EXPECT_EQ(repair(encoder, id), to_hex(expected)) << count;
    }
  }
}

}  // namespace
}  // namespace masque
