// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/http_datagram.h"

#include <algorithm>

#include "base/mutant.h"

namespace masque {

Result<HttpDatagram> parse_http_datagram_slow(Bytes payload) {
  ByteReader in(payload);
  TRY(const uint64_t context, in.varint());
  return HttpDatagram{.context = ContextId(context), .payload = in.rest()};
}

Result<ContextId> ContextIds::allocate() {
  if (registered_.size() == kRegisteredMax || next_ > ContextId::kMax) {
    return std::unexpected(WireError::TooMany);
  }
  const ContextId id(next_);
  next_ += 2;
  registered_.push_back(id);
  return id;
}

Result<void> ContextIds::on_peer_allocates(ContextId id) {
  // RFC 9484 5: even ones belong to the client, odd ones to the proxy; 0 is taken.
  const bool of_client = id.value() % 2 == 0;
  if (id == kIpPacketContext ||
      (of_client == (side_ == Side::Client)) != mutant("context.side.negate")) {
    return std::unexpected(WireError::Unexpected);
  }
  if (known(id) && !mutant("context.registered.remove"))
    return std::unexpected(WireError::Unexpected);
  if (registered_.size() == kRegisteredMax) return std::unexpected(WireError::TooMany);
  registered_.push_back(id);
  return {};
}

bool ContextIds::known(ContextId id) const {
  return id == kIpPacketContext || std::ranges::contains(registered_, id);
}

}  // namespace masque
