// SPDX-License-Identifier: Apache-2.0
#include "core/server/client_rules.h"

#include <algorithm>

#include "base/mutant.h"
#include "core/tunnel/address_class.h"

namespace masque {
namespace {

// 0.0.0.0/0, ::/0, halves and quarters, as clients judge it.
bool has_default_route(const IpRange& range) {
  constexpr uint8_t kDefaultLength = 2;
  return std::ranges::any_of(
      to_prefixes(range), [](const IpPrefix& prefix) { return prefix.length() <= kDefaultLength; });
}

void append_piece(const IpRange& piece, uint8_t protocol, std::vector<IpAddressRange>& out) {
  const auto prefixes = to_prefixes(piece);
  constexpr uint8_t kBitsMin = 3;  // eight addresses make two pieces that are no prefixes
  const bool one =
      prefixes.size() == 1 && address_bits(piece.version()) - prefixes.front().length() >= kBitsMin;
  if (!one) return out.push_back({.range = piece, .protocol = protocol});
  const IpAddress third = *piece.first.next()->next();
  out.push_back({.range = {piece.first, third}, .protocol = protocol});
  out.push_back({.range = {*third.next(), piece.last}, .protocol = protocol});
}

// Cuts a range that holds a default route where the narrower routes lie.
void append_cut(const IpAddressRange& whole, std::span<const IpRange> narrower,
                std::vector<IpAddressRange>& out) {
  std::optional<IpAddress> from = whole.range.first;
  for (const IpRange& inner : narrower) {
    if (!from || inner.version() != whole.range.version() || inner.first < *from ||
        inner.last > whole.range.last) {
      continue;  // of another range, or inside the one before
    }
    if (*from < inner.first) append_piece({*from, *inner.first.previous()}, whole.protocol, out);
    out.push_back({.range = inner, .protocol = whole.protocol});
    from = inner.last.next();
  }
  if (from && *from <= whole.range.last)
    append_piece({*from, whole.range.last}, whole.protocol, out);
}

std::vector<IpAddressRange> with_narrower_routes(std::vector<IpAddressRange> ordered,
                                                 std::vector<IpRange> routes) {
  std::erase_if(routes, has_default_route);
  // By their beginning, the widest first.
  std::ranges::sort(routes, [](const IpRange& a, const IpRange& b) {
    return a.first != b.first ? a.first < b.first : a.last > b.last;
  });
  std::vector<IpAddressRange> out;
  for (const IpAddressRange& entry : ordered) {
    const auto inside = [&](const IpRange& route) {
      return entry.range.version() == route.version() && entry.range.contains(route.first);
    };
    if (has_default_route(entry.range) && std::ranges::any_of(routes, inside)) {
      append_cut(entry, routes, out);
    } else {
      out.push_back(entry);
    }
  }
  if (out.size() > kAddressRangesMax) return ordered;
  return out;
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
  std::vector<IpRange> ranges;
  for (const IpAddressRange& entry : out) ranges.push_back(entry.range);
  return with_narrower_routes(in_route_order(std::move(out)), std::move(ranges));
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

bool scope_is_prohibited(const Scope& scope, std::span<const IpAddress> resolved,
                         const RangeSet& denied) {
  if (mutant("scope.prohibited.remove")) return false;
  const auto is_target = [&](const IpAddress& address) {
    return classify(address) == AddressClass::Unicast && !denied.contains(address);
  };
  if (scope.target == Scope::Target::Prefix) {
    // 0.0.0.0/0 and the like begin at an address that is special by itself: judge what is narrow.
    const bool special =
        scope.prefix.length() >= 8 && classify(scope.prefix.first()) != AddressClass::Unicast;
    return special || denied.covers(scope.prefix);
  }
  return scope.target == Scope::Target::Name && !resolved.empty() &&
         std::ranges::none_of(resolved, is_target);
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
    // Never by its prefixes: a client names thousands of ranges of hundreds each.
    if (rules.own_subnets.covers(entry.range) || mutant("site.remove") ||
        (mutant("site.any") && rules.own_subnets.contains(entry.range.last))) {
      out.push_back(entry);
    }
  }
  return out;
}

}  // namespace masque
