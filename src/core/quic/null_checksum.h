// SPDX-License-Identifier: Apache-2.0
// What stands in the place of keys and tags in null_tls.h: sums that anybody can compute, so that
// tests can forge a packet. Every step is invertible: two inputs that differ in one word never meet
// in one sum.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"

namespace masque::null_tls {

constexpr size_t kTagSize = 16;

inline uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9e3779b97f4a7c15;
  return h ^ (h >> 29);
}

inline uint64_t checksum(uint64_t h, Bytes bytes) {
  h = mix(h, bytes.size());
  const uint8_t* p = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; p += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    h = mix(h, word);
  }
  if (left > 0) {
    uint64_t word = 0;
    std::memcpy(&word, p, left);
    h = mix(h, word);
  }
  return h;
}

// The key of Initial packets to the connection ID that the client chose (RFC 9001 5.2).
inline uint64_t initial_key(Bytes dcid, bool of_client) {
  return mix(checksum(0x696e697469616c, dcid), of_client ? 'c' : 's');
}

inline std::array<uint8_t, kTagSize> tag(uint64_t key, Bytes nonce, Bytes header, Bytes payload) {
  const uint64_t sum = checksum(checksum(checksum(key, nonce), header), payload);
  const uint64_t second = mix(sum, 1);
  std::array<uint8_t, kTagSize> out;
  std::memcpy(out.data(), &sum, 8);
  std::memcpy(out.data() + 8, &second, 8);
  return out;
}

}  // namespace masque::null_tls
