// SPDX-License-Identifier: Apache-2.0
// While it lives, OpenSSL's generator draws from a seed. Our code is given its randomness, but the
// library makes address validation tokens (RFC 9000 8.1) with OpenSSL's, also over null TLS.
#pragma once

#include <cstdint>

#include "base/rng.h"

namespace masque {

class SeededOpenSsl {
 public:
  // Of several, one within the life of the other, the newest is drawn from.
  explicit SeededOpenSsl(uint64_t seed);
  ~SeededOpenSsl();
  SeededOpenSsl(const SeededOpenSsl&) = delete;
  SeededOpenSsl& operator=(const SeededOpenSsl&) = delete;

  Rng& rng() { return rng_; }

 private:
  SeededRng rng_;
  SeededOpenSsl* outer_;
};

}  // namespace masque
