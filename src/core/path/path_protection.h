// SPDX-License-Identifier: Apache-2.0
// The cryptography of the path layer for one direction, behind an interface: OpenSSL in production
// (core/quic/path_protection_openssl.cc), plain sums in the simulator. The keys come from the TLS
// exporter, so that they are bound to this connection and this direction.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"

namespace masque {

class PathProtection {
 public:
  static constexpr size_t kSampleSize = 16;
  static constexpr size_t kMaskSize = 16;
  static constexpr size_t kSealOverhead = 16;
  static constexpr size_t kBlockSize = 16;
  // AES-128 for the mask (16), AES-SIV for messages (32), AES-CMAC for repairs (16), AES-128 for
  // the check of headers (16).
  static constexpr size_t kSecretSize = 80;

  virtual ~PathProtection() = default;
  // AES-128 of the sample: header protection as in RFC 9001 5.4.3.
  virtual void mask(std::span<const uint8_t, kSampleSize> sample,
                    std::span<uint8_t, kMaskSize> out) = 0;
  // AES-128 of the block under a key of its own, its first 3 bytes: who does not have it cannot
  // tell the check of one header from that of another.
  virtual uint32_t check(std::span<const uint8_t, kBlockSize> block) = 0;
  // AES-CMAC (RFC 4493) over both pieces, its first 8 bytes.
  virtual uint64_t tag(Bytes first, Bytes second) = 0;
  // AES-SIV (RFC 5297), which needs no nonce: `out` gets plain.size() + kSealOverhead bytes, the
  // synthetic IV last.
  virtual bool seal(Bytes associated, Bytes plain, MutableBytes out) = 0;
  // False: not from the peer. `out` gets sealed.size() - kSealOverhead bytes.
  virtual bool open(Bytes associated, Bytes sealed, MutableBytes out) = 0;
};

}  // namespace masque
