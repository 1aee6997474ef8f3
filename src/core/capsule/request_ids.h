// SPDX-License-Identifier: Apache-2.0
// Request IDs of one direction of one request stream: non-zero and never used twice (RFC
// 9484 4.7.2).
#pragma once

#include <cstdint>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "core/capsule/capsule.h"

namespace masque {

// Ours: the next fresh ID.
class RequestIdSource {
 public:
  RequestId next() { return RequestId(++last_); }

 private:
  uint64_t last_ = 0;
};

// The peer's: remembers what was used, up to kRequestIdsMax in the life of a stream (TooMany
// after).
constexpr size_t kRequestIdsMax = 1024;
class RequestIdHistory {
 public:
  Result<void> on_request(const AddressRequest& request);

 private:
  std::vector<uint64_t> used_;  // sorted
};

}  // namespace masque
