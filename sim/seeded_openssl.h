// SPDX-License-Identifier: Apache-2.0
// While it lives, OpenSSL's generator draws from a seed. Our code is given its randomness, but the
// library makes address validation tokens (RFC 9000 8.1) with OpenSSL's, also over null TLS.
#pragma once

#include <cstdint>

namespace masque {

class SeededOpenSsl {
 public:
  explicit SeededOpenSsl(uint64_t seed);  // one at a time
  ~SeededOpenSsl();
  SeededOpenSsl(const SeededOpenSsl&) = delete;
  SeededOpenSsl& operator=(const SeededOpenSsl&) = delete;
};

}  // namespace masque
