// SPDX-License-Identifier: Apache-2.0
#include "core/server/client_rules.h"

#include <algorithm>

#include "base/mutant.h"
#include "core/tunnel/address_class.h"

namespace masque {
namespace {

bool is_scope_target(const IpAddress& address) {
  return classify(address) == AddressClass::Unicast;
}

}  // namespace

std::vector<IpAddressRange> routes_in_scope(std::span<const IpPrefix> routes, const Scope& scope,
                                            std::span<const IpAddress> resolved) {
  const uint8_t protocol = scope.protocol.value_or(0);
  std::vector<IpAddressRange> out;
  const auto add = [&](const IpPrefix& prefix) {
    out.push_back({.range = IpRange::of(prefix), .protocol = protocol});
  };
  for (const IpPrefix& route : routes) {
    switch (scope.target) {
      case Scope::Target::Any:
        add(route);
        break;
      case Scope::Target::Prefix:
        if (route.contains(scope.prefix) || mutant("scope.prefix.remove")) {
          add(scope.prefix);
        } else if (scope.prefix.contains(route)) {
          add(route);
        }
        break;
      case Scope::Target::Name:
        for (const IpAddress& address : resolved) {
          if (route.contains(address) || mutant("scope.name.remove")) add(IpPrefix::host(address));
        }
        break;
    }
  }
  return in_route_order(std::move(out));
}

bool scope_has(const Scope& scope, IpVersion version, std::span<const IpAddress> resolved) {
  switch (scope.target) {
    case Scope::Target::Any:
      return true;
    case Scope::Target::Prefix:
      return scope.prefix.version() == version;
    case Scope::Target::Name:
      return std::ranges::any_of(resolved,
                                 [&](const IpAddress& a) { return a.version() == version; });
  }
  return false;
}

bool scope_is_prohibited(const Scope& scope, std::span<const IpAddress> resolved) {
  if (mutant("scope.prohibited.remove")) return false;
  if (scope.target == Scope::Target::Prefix) {
    // 0.0.0.0/0 and the like begin at an address that is special by itself: judge what is narrow.
    return scope.prefix.length() >= 8 && !is_scope_target(scope.prefix.first());
  }
  return scope.target == Scope::Target::Name && !resolved.empty() &&
         std::ranges::none_of(resolved, is_scope_target);
}

ClientRules ClientRules::of(const ClientPolicy& policy) {
  ClientRules rules{.reach_clients = policy.reach_clients, .reach_gateway = policy.reach_gateway};
  if (policy.allowed_destinations && !mutant("allowed.unset"))
    rules.allowed = RangeSet(*policy.allowed_destinations);
  rules.own_subnets = RangeSet(policy.own_subnets);
  return rules;
}

std::vector<IpAddressRange> permitted_site_routes(std::span<const IpAddressRange> ranges,
                                                  const ClientRules& rules) {
  std::vector<IpAddressRange> out;
  for (const IpAddressRange& entry : ranges) {
    const auto prefixes = to_prefixes(entry.range);
    const auto inside = [&](const IpPrefix& prefix) { return rules.own_subnets.covers(prefix); };
    if (std::ranges::all_of(prefixes, inside) || mutant("site.remove") ||
        (mutant("site.any") && std::ranges::any_of(prefixes, inside))) {
      out.push_back(entry);
    }
  }
  return out;
}

}  // namespace masque
