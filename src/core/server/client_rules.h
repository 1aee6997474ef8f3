// SPDX-License-Identifier: Apache-2.0
// One client's policy, compiled for its session: what is advertised to it within the scope of its
// request (RFC 9484 4.6, 4.8) and what it may send to.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/capsule/capsule.h"
#include "core/capsule/scope.h"
#include "core/server/policy.h"
#include "core/tunnel/range_set.h"

namespace masque {

// The part of `routes` that lies in the scope, in the RFC's order. `resolved` are the addresses of
// a scope whose target is a name.
//
// Ranges must not overlap (RFC 9484 4.7.3), yet a client that refuses default routes is to see the
// narrower ones beside 0.0.0.0/0. So a default route is cut where they lie, and its pieces are
// never a single prefix of eight addresses or more, which would look like a route of their own:
//   0.0.0.0/0 and 10.0.0.0/8  ->  0.0.0.0-9.255.255.255, 10.0.0.0/8, 11.0.0.0-255.255.255.255
std::vector<IpAddressRange> routes_in_scope(std::span<const IpPrefix> routes, const Scope& scope,
                                            std::span<const IpAddress> resolved);
// Whether a scope can use addresses of this family at all.
bool scope_has(const Scope& scope, IpVersion version, std::span<const IpAddress> resolved);
// The scope names nothing but what the client may not reach through a gateway (RFC 9484 11, RFC
// 9298 7): addresses that are special by themselves, and `denied`, the gateway's own.
bool scope_is_prohibited(const Scope& scope, std::span<const IpAddress> resolved,
                         const RangeSet& denied);

struct ClientRules {
  std::optional<RangeSet> allowed;  // nullopt: whatever is advertised
  Permission reach_clients = Permission::Deny;
  GatewayReach reach_gateway = GatewayReach::Tunnel;
  RangeSet own_subnets;

  static ClientRules of(const ClientPolicy& policy);
};

// The ranges of a client's ROUTE_ADVERTISEMENT that its policy lets it advertise.
std::vector<IpAddressRange> permitted_site_routes(std::span<const IpAddressRange> ranges,
                                                  const ClientRules& rules);

}  // namespace masque
