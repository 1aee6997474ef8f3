// SPDX-License-Identifier: Apache-2.0
#include "property/allocation_counter.h"

#include <cstdlib>
#include <new>

namespace {
size_t by_new = 0;  // of this test program, which has one thread
size_t by_malloc = 0;
}  // namespace

#ifndef MASQUE_SANITIZED
// glibc's own, under the names that it keeps for whoever stands in front of them.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming)
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)
void* malloc(size_t size) {
  ++by_malloc;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  ++by_malloc;
  return __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) {
  ++by_malloc;
  return __libc_realloc(old, size);
}
}
#endif

// Not inlined, or the compiler sees free() on what it takes for the standard new.
[[gnu::noinline]] void* operator new(size_t size) {
  ++by_new;
  if (void* const out = std::malloc(size == 0 ? 1 : size)) return out;
  std::abort();
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return operator new(size);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace masque {

size_t allocations_by_new() { return by_new; }
size_t allocations_by_malloc() { return by_malloc; }

}  // namespace masque
