// SPDX-License-Identifier: Apache-2.0
// Where the fields of TCP (RFC 9293 3.1) and UDP (RFC 768) headers are, for segmentation and
// merging.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace masque {

namespace tcp {
constexpr size_t kHeaderSize = 20;  // without options
constexpr size_t kSequence = 4;
constexpr size_t kDataOffset = 12;
constexpr size_t kFlags = 13;
constexpr size_t kChecksum = 16;
constexpr size_t kUrgentPointer = 18;

constexpr uint8_t kFin = 0x01;
constexpr uint8_t kPsh = 0x08;
constexpr uint8_t kAck = 0x10;
constexpr uint8_t kCwr = 0x80;

// With options; nullopt when it is below 20 or past the end of `segment`.
inline std::optional<size_t> header_size(Bytes segment) {
  if (segment.size() < kHeaderSize) return std::nullopt;
  const size_t size = (segment[kDataOffset] >> 4) * size_t{4};
  if (size < kHeaderSize || size > segment.size()) return std::nullopt;
  return size;
}
}  // namespace tcp

namespace udp {
constexpr size_t kHeaderSize = 8;
constexpr size_t kLength = 4;
constexpr size_t kChecksum = 6;
}  // namespace udp

}  // namespace masque
