// SPDX-License-Identifier: Apache-2.0
// Context IDs: the first field of every HTTP Datagram payload of CONNECT-IP (RFC 9484 5, 6).
// Context ID 0 is a whole IP packet; others belong to extensions and are registered first.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/id.h"
#include "base/result.h"

namespace masque {

constexpr ContextId kIpPacketContext{0};

struct HttpDatagram {
  ContextId context{0};
  Bytes payload;  // may be empty; as an IP packet that is not valid
};

// Truncated when the Context ID is cut. Unknown contexts are for the caller to drop.
Result<HttpDatagram> parse_http_datagram_slow(Bytes payload);
inline Result<HttpDatagram> parse_http_datagram(Bytes payload) {
  if (!payload.empty() && payload[0] == 0)
    return HttpDatagram{.context = kIpPacketContext, .payload = payload.subspan(1)};
  return parse_http_datagram_slow(payload);
}

// The contexts of one request: clients allocate even numbers, proxies odd ones, none twice
// (RFC 9484 5).
class ContextIds {
 public:
  static constexpr size_t kRegisteredMax = 16;
  enum class Side : uint8_t { Client, Proxy };

  explicit ContextIds(Side side) : side_(side), next_(side == Side::Client ? 2 : 1) {}
  // A fresh one of our parity.
  Result<ContextId> allocate();
  // The peer registers one: Unexpected if it is 0, of our parity, or was seen before; TooMany.
  Result<void> on_peer_allocates(ContextId id);
  // Context 0 is always known.
  bool known(ContextId id) const;

 private:
  Side side_;
  uint64_t next_;
  std::vector<ContextId> registered_;
};

}  // namespace masque
