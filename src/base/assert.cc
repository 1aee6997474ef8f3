// SPDX-License-Identifier: Apache-2.0
#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace masque {

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "masque-vpn: %s:%d: assertion failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace masque
