// SPDX-License-Identifier: Apache-2.0
// MASQUE_ASSERT states what we believe of our own code; it stays on in release builds and ends the
// process with the place. It must never be reachable from network input: parse and return a
// WireError.
#pragma once

namespace masque {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);
}  // namespace masque

#define MASQUE_ASSERT(condition)      \
  (__builtin_expect(!!(condition), 1) \
       ? void(0)                      \
       : ::masque::assertion_failed(#condition, __FILE__, __LINE__))
