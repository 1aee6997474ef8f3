// SPDX-License-Identifier: Apache-2.0
// What one side of a tunnel advertised with ROUTE_ADVERTISEMENT (RFC 9484 4.7.3), compiled for
// lookups.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capsule/capsule.h"
#include "core/tunnel/range_set.h"

namespace masque {

enum class RouteMatch : uint8_t {
  Routed,
  OtherProtocol,  // the address is advertised, but not for this protocol
  None,
};

class RouteTable {
 public:
  RouteTable() = default;
  // The complete list: it supersedes what was there before.
  explicit RouteTable(std::span<const IpAddressRange> ranges);

  // `protocol` is the outermost one that is not an extension header. ICMP passes wherever any
  // protocol does (RFC 9484 4.7.3).
  RouteMatch find(const IpAddress& destination, uint8_t protocol) const;
  bool empty() const { return any_protocol_.empty(); }
  bool has(IpVersion version) const { return any_protocol_.has(version); }

 private:
  struct Group {
    uint8_t protocol;
    RangeSet ranges;
  };
  RangeSet all_protocols_;     // entries with IP Protocol 0
  RangeSet any_protocol_;      // all entries together
  std::vector<Group> groups_;  // at most 255, sorted by protocol
};

}  // namespace masque
