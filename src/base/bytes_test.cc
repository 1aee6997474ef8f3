// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace masque {
namespace {

// RFC 9000 A.1 and the limits of each length.
struct VarintCase {
  uint64_t value;
  const char* hex;
};
constexpr VarintCase kVarints[] = {
    {37, "25"},
    {63, "3f"},
    {64, "4040"},
    {15293, "7bbd"},
    {16383, "7fff"},
    {16384, "80004000"},
    {494878333, "9d7f3e7d"},
    {(uint64_t{1} << 30) - 1, "bfffffff"},
    {uint64_t{1} << 30, "c000000040000000"},
    {151288809941952652, "c2197c5eff14e88c"},
    {kVarintMax, "ffffffffffffffff"},
};

TEST(Varint, rfc9000_16_vectors) {
  for (const auto& [value, hex] : kVarints) {
    ByteBuffer out;
    out.varint(value);
    EXPECT_EQ(to_hex(out.view()), hex);
    EXPECT_EQ(out.size(), varint_size(value));
    ByteReader in(out.view());
    EXPECT_EQ(in.varint().value(), value);
    EXPECT_TRUE(in.empty());
  }
}

TEST(Varint, rfc9000_16_non_minimal_is_legal) {
  const auto bytes = from_hex("4025").value();
  ByteReader in(bytes);
  EXPECT_EQ(in.varint().value(), 37u);
}

TEST(Varint, every_truncation_is_refused) {
  for (const auto& [value, hex] : kVarints) {
    const auto whole = from_hex(hex).value();
    for (size_t cut = 0; cut < whole.size(); ++cut) {
      ByteReader in(Bytes(whole).first(cut));
      EXPECT_EQ(in.varint().error(), WireError::Truncated);
    }
  }
}

TEST(Varint, round_trip) {
  const bool ok = rc::check("round trip", [] {
    const uint64_t value = *rc::gen::inRange<uint64_t>(0, kVarintMax) >> *rc::gen::inRange(0, 62);
    std::array<uint8_t, 8> space;
    ByteWriter out(space);
    out.varint(value);
    ByteReader in(out.written());
    RC_ASSERT(in.varint().value() == value);
  });
  EXPECT_TRUE(ok);
}

TEST(ByteWriter, says_when_it_did_not_fit) {
  std::array<uint8_t, 3> space;
  ByteWriter out(space);
  out.u16(1);
  EXPECT_TRUE(out.fits());
  out.u16(2);
  EXPECT_FALSE(out.fits());
}

TEST(Hex, refuses_other_text) {
  EXPECT_EQ(from_hex("0g").error(), WireError::BadSyntax);
  EXPECT_EQ(from_hex("012").error(), WireError::BadSyntax);
  EXPECT_EQ(to_hex(from_hex("01 02ff").value()), "0102ff");
}

}  // namespace
}  // namespace masque
