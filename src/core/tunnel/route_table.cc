// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/route_table.h"

#include <map>

#include "base/mutant.h"
#include "core/ip/packet.h"

namespace masque {

RouteTable::RouteTable(std::span<const IpAddressRange> ranges) {
  std::map<uint8_t, std::vector<IpRange>> by_protocol;
  std::vector<IpRange> any;
  any.reserve(ranges.size());
  for (const IpAddressRange& entry : ranges) {
    by_protocol[entry.protocol].push_back(entry.range);
    any.push_back(entry.range);
  }
  any_protocol_ = RangeSet(any);
  for (const auto& [protocol, list] : by_protocol) {
    if (protocol == 0) {
      all_protocols_ = RangeSet(list);
    } else {
      groups_.push_back({.protocol = protocol, .ranges = RangeSet(list)});
    }
  }
}

RouteMatch RouteTable::find(const IpAddress& destination, uint8_t protocol) const {
  if (all_protocols_.contains(destination)) return RouteMatch::Routed;
  if (groups_.empty() || !any_protocol_.contains(destination)) return RouteMatch::None;
  if (protocol == ip_protocol::icmp_of(destination.version())) return RouteMatch::Routed;
  for (const Group& group : groups_) {
    if ((group.protocol == protocol || mutant("scope.protocol.any")) &&
        group.ranges.contains(destination))
      return RouteMatch::Routed;
  }
  return RouteMatch::OtherProtocol;
}

}  // namespace masque
