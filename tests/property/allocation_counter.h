// SPDX-License-Identifier: Apache-2.0
// Counts what a test program allocates: our code with operator new, the libraries below it with
// malloc.
#pragma once

#include <cstddef>

namespace masque {

size_t allocations_by_new();
// All calls of malloc, calloc and realloc, those of operator new included. Zero under sanitizers,
// which have a malloc of their own.
size_t allocations_by_malloc();

}  // namespace masque
