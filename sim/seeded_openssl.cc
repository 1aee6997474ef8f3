// SPDX-License-Identifier: Apache-2.0
// RAND_METHOD is deprecated for those who add hardware; a provider would be a hundred lines.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "sim/seeded_openssl.h"

#include <openssl/rand.h>

#include <span>
#include <utility>

#include "base/assert.h"

namespace masque {
namespace {

SeededOpenSsl* newest = nullptr;

int draw(unsigned char* out, int count) {
  newest->rng().fill(std::span<uint8_t>(out, static_cast<size_t>(count)));
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

SeededOpenSsl::SeededOpenSsl(uint64_t seed) : rng_(seed), outer_(std::exchange(newest, this)) {
  if (outer_ == nullptr) MASQUE_ASSERT(RAND_set_rand_method(&kMethod) == 1);
}

SeededOpenSsl::~SeededOpenSsl() {
  MASQUE_ASSERT(newest == this);
  newest = outer_;
  if (newest == nullptr) RAND_set_rand_method(nullptr);
}

}  // namespace masque
