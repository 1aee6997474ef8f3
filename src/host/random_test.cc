// SPDX-License-Identifier: Apache-2.0
#include "host/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "host/clock.h"

namespace masque {
namespace {

TEST(KernelRng, numbers_do_not_repeat) {
  KernelRng rng;
  std::set<uint64_t> seen;
  for (int i = 0; i < 10'000; ++i) seen.insert(rng.u64());
  EXPECT_EQ(seen.size(), 10'000u);
}

// Sizes around the buffer's limits: each byte of the result is written.
TEST(KernelRng, every_size_is_filled) {
  KernelRng rng;
  for (const size_t size : {1u, 127u, 128u, 129u, 511u, 512u, 513u, 5000u}) {
    std::vector<uint8_t> all(size, 0);
    for (int i = 0; i < 40; ++i) {  // a byte stays 0 forty times with probability 2^-320
      std::vector<uint8_t> bytes(size);
      rng.fill(bytes);
      for (size_t at = 0; at < size; ++at) all[at] |= bytes[at];
    }
    EXPECT_TRUE(std::ranges::none_of(all, [](uint8_t byte) { return byte == 0; })) << size;
  }
  rng.fill({});
}

TEST(Clock, does_not_go_back) {
  Instant last = monotonic_now();
  for (int i = 0; i < 1000; ++i) {
    const Instant now = monotonic_now();
    EXPECT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace masque
