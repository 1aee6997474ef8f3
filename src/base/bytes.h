// SPDX-License-Identifier: Apache-2.0
// Reading and writing of bytes: big-endian integers and QUIC varints (RFC 9000 16).
// ByteReader never reads past its end: it returns WireError::Truncated. ByteWriter writes into a
// fixed span and remembers whether everything fitted; ByteBuffer grows.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "base/result.h"

namespace masque {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

// For interfaces of C that read through a pointer which does not say so.
template <class T>
T* unconst(const T* p) {
  return const_cast<T*>(p);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

constexpr uint64_t kVarintMax = (uint64_t{1} << 62) - 1;

constexpr size_t varint_size(uint64_t value) {
  if (value < 64) return 1;
  if (value < 16384) return 2;
  if (value < (uint64_t{1} << 30)) return 4;
  return 8;
}

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

constexpr uint16_t load_be16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }
constexpr uint32_t load_be32(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}
constexpr void store_be16(uint8_t* p, uint16_t v) {
  p[0] = static_cast<uint8_t>(v >> 8);
  p[1] = static_cast<uint8_t>(v);
}
constexpr void store_be32(uint8_t* p, uint32_t v) {
  p[0] = static_cast<uint8_t>(v >> 24);
  p[1] = static_cast<uint8_t>(v >> 16);
  p[2] = static_cast<uint8_t>(v >> 8);
  p[3] = static_cast<uint8_t>(v);
}

class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }
  size_t size() const { return rest_.size(); }
  Bytes rest() const { return rest_; }

  Result<uint8_t> u8() {
    TRY(const Bytes b, bytes(1));
    return b[0];
  }
  Result<uint16_t> u16() {
    TRY(const Bytes b, bytes(2));
    return load_be16(b.data());
  }
  Result<uint32_t> u32() {
    TRY(const Bytes b, bytes(4));
    return load_be32(b.data());
  }
  Result<Bytes> bytes(size_t count) {
    if (rest_.size() < count) return std::unexpected(WireError::Truncated);
    const Bytes out = rest_.first(count);
    rest_ = rest_.subspan(count);
    return out;
  }
  // Non-minimal encodings are legal (RFC 9000 16).
  Result<uint64_t> varint();

 private:
  Bytes rest_;
};

class ByteWriter {
 public:
  explicit ByteWriter(MutableBytes out) : out_(out) {}

  void u8(uint8_t v) { bytes(Bytes(&v, 1)); }
  void u16(uint16_t v) {
    uint8_t b[2];
    store_be16(b, v);
    bytes(b);
  }
  void u32(uint32_t v) {
    uint8_t b[4];
    store_be32(b, v);
    bytes(b);
  }
  void bytes(Bytes data) {
    if (out_.size() - used_ < data.size()) {
      fits_ = false;
      return;
    }
    if (!data.empty()) std::memcpy(out_.data() + used_, data.data(), data.size());
    used_ += data.size();
  }
  void varint(uint64_t value);

  bool fits() const {
    return fits_;
  }  // false once something did not fit; the rest is then undefined
  size_t size() const { return used_; }
  Bytes written() const { return out_.first(used_); }

 private:
  MutableBytes out_;
  size_t used_ = 0;
  bool fits_ = true;
};

// A growing buffer for control messages; never used on the packet path.
class ByteBuffer {
 public:
  void u8(uint8_t v) { data_.push_back(v); }
  void u16(uint16_t v) {
    u8(static_cast<uint8_t>(v >> 8));
    u8(static_cast<uint8_t>(v));
  }
  void u32(uint32_t v) {
    u16(static_cast<uint16_t>(v >> 16));
    u16(static_cast<uint16_t>(v));
  }
  void bytes(Bytes b) { data_.insert(data_.end(), b.begin(), b.end()); }
  void varint(uint64_t value);
  void consume(size_t count) {
    MASQUE_ASSERT(count <= data_.size());
    data_.erase(data_.begin(), data_.begin() + static_cast<ptrdiff_t>(count));
  }

  bool empty() const { return data_.empty(); }
  size_t size() const { return data_.size(); }
  Bytes view() const { return data_; }
  std::vector<uint8_t> take() { return std::exchange(data_, {}); }

 private:
  std::vector<uint8_t> data_;
};

std::string to_hex(Bytes bytes);
// Accepts spaces between bytes; anything else that is not hex is BadSyntax.
Result<std::vector<uint8_t>> from_hex(std::string_view text);

}  // namespace masque
