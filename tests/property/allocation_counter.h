// SPDX-License-Identifier: Apache-2.0
// Counts what a test program allocates: our code with operator new, the libraries below it with
// malloc.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>

namespace masque {

size_t allocations_by_new();
// All calls of malloc, calloc and realloc, those of operator new included. Zero under sanitizers,
// which have a malloc of their own.
size_t allocations_by_malloc();

// What a round costs once it is warm: nothing.
template <class Round>
void expect_no_allocation(int warm_up_rounds, int counted_rounds, Round&& round) {
  for (int i = 0; i < warm_up_rounds; ++i) round();
  const size_t by_new = allocations_by_new(), by_malloc = allocations_by_malloc();
  ASSERT_GT(by_new, 10u) << "the counter does not count";
  for (int i = 0; i < counted_rounds; ++i) round();
  EXPECT_EQ(allocations_by_new() - by_new, 0u);
  EXPECT_EQ(allocations_by_malloc() - by_malloc, 0u);
}

}  // namespace masque
