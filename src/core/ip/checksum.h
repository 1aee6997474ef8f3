// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071), whole, over pieces, and incremental (RFC 1624).
//
// InternetSum adds bytes in machine order with wide words and puts them into network order only
// when folded, because the one's complement sum does not depend on byte order (RFC 1071 2 B).
#pragma once

#include <bit>
#include <cstdint>

#include "base/bytes.h"
#include "core/ip/address.h"

namespace masque {

class InternetSum {
 public:
  // Pieces follow one another; a piece may have an odd length, the next one then starts at an odd
  // offset and is counted as such.
  void add(Bytes data);
  // Numbers in host order, counted as if they lay at an even offset.
  void add_u16(uint16_t value) { sum_ += to_machine(value); }
  void add_u32(uint32_t value) {
    add_u16(static_cast<uint16_t>(value >> 16));
    add_u16(static_cast<uint16_t>(value));
  }
  // The pseudo header of TCP, UDP (RFC 9293 3.1, RFC 768) and of all upper layers over IPv6 (RFC
  // 8200 8.1).
  void add_pseudo_header(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                         uint32_t upper_length);

  uint16_t folded() const;  // the sum itself, in host order: 0xffff over data with a right checksum
  uint16_t checksum() const { return static_cast<uint16_t>(~folded()); }

 private:
  static constexpr uint16_t to_machine(uint16_t value) {
    return std::endian::native == std::endian::little ? std::byteswap(value) : value;
  }

  uint64_t sum_ = 0;  // far from overflow: every add() contributes less than 2^17
  bool odd_ = false;  // an odd number of bytes so far
};

inline uint16_t internet_checksum(Bytes data) {
  InternetSum sum;
  sum.add(data);
  return sum.checksum();
}

// RFC 1624 eqn. 3: the checksum after a 16-bit field changed from `before` to `after`.
constexpr uint16_t updated_checksum(uint16_t checksum, uint16_t before, uint16_t after) {
  uint32_t sum = static_cast<uint16_t>(~checksum);
  sum += static_cast<uint16_t>(~before);
  sum += after;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

}  // namespace masque
