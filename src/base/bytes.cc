// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <array>

namespace masque {

namespace {

// RFC 9000 16: the two high bits of the first byte say the length.
size_t encode_varint(uint64_t value, std::array<uint8_t, 8>& out) {
  MASQUE_ASSERT(value <= kVarintMax);
  const size_t size = varint_size(value);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(value >> (8 * (size - 1 - i)));
  constexpr std::array<uint8_t, 9> kPrefix{0, 0x00, 0x40, 0, 0x80, 0, 0, 0, 0xc0};
  out[0] |= kPrefix[size];
  return size;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<uint64_t> ByteReader::varint() {
  if (rest_.empty()) return std::unexpected(WireError::Truncated);
  const size_t size = size_t{1} << (rest_[0] >> 6);
  TRY(const Bytes encoded, bytes(size));
  uint64_t value = encoded[0] & 0x3f;
  for (const uint8_t b : encoded.subspan(1)) value = value << 8 | b;
  return value;
}

void ByteWriter::varint(uint64_t value) {
  std::array<uint8_t, 8> encoded;
  const size_t size = encode_varint(value, encoded);
  bytes(Bytes(encoded).first(size));
}

void ByteBuffer::varint(uint64_t value) {
  std::array<uint8_t, 8> encoded;
  const size_t size = encode_varint(value, encoded);
  bytes(Bytes(encoded).first(size));
}

std::string to_hex(Bytes bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const uint8_t b : bytes) {
    out.push_back(kDigits[b >> 4]);
    out.push_back(kDigits[b & 15]);
  }
  return out;
}

Result<std::vector<uint8_t>> from_hex(std::string_view text) {
  std::vector<uint8_t> out;
  int high = -1;
  for (const char c : text) {
    if (c == ' ' && high < 0) continue;
    const int digit = hex_digit(c);
    if (digit < 0) return std::unexpected(WireError::BadSyntax);
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  if (high >= 0) return std::unexpected(WireError::BadSyntax);
  return out;
}

}  // namespace masque
