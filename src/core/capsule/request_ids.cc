// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/request_ids.h"

#include <algorithm>

#include "base/mutant.h"

namespace masque {

Result<void> RequestIdHistory::on_request(const AddressRequest& request) {
  for (const RequestedAddress& address : request.addresses) {
    const uint64_t id = address.request_id.value();
    const auto place = std::ranges::lower_bound(used_, id);
    if (place != used_.end() && *place == id && !mutant("request_id.history.remove"))
      return std::unexpected(WireError::ReusedRequestId);
    if (used_.size() == kRequestIdsMax + (mutant("request_id.limit") ? 1 : 0))
      return std::unexpected(WireError::TooMany);
    used_.insert(place, id);
  }
  return {};
}

}  // namespace masque
