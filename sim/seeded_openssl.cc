// SPDX-License-Identifier: Apache-2.0
// RAND_METHOD is deprecated for those who add hardware; a provider would be a hundred lines.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "sim/seeded_openssl.h"

#include <openssl/rand.h>

#include <optional>
#include <span>

#include "base/assert.h"
#include "base/rng.h"

namespace masque {
namespace {

std::optional<SeededRng> generator;

int draw(unsigned char* out, int count) {
  generator->fill(std::span<uint8_t>(out, static_cast<size_t>(count)));
  return 1;
}
int is_ready() { return 1; }

const RAND_METHOD kMethod{.seed = nullptr,
                          .bytes = &draw,
                          .cleanup = nullptr,
                          .add = nullptr,
                          .pseudorand = &draw,
                          .status = &is_ready};

}  // namespace

SeededOpenSsl::SeededOpenSsl(uint64_t seed) {
  MASQUE_ASSERT(!generator.has_value());
  generator.emplace(seed);
  MASQUE_ASSERT(RAND_set_rand_method(&kMethod) == 1);
}

SeededOpenSsl::~SeededOpenSsl() {
  RAND_set_rand_method(nullptr);
  generator.reset();
}

}  // namespace masque
