// SPDX-License-Identifier: Apache-2.0
#include "core/client/route_acceptance.h"

#include <algorithm>

#include "base/mutant.h"
#include "core/tunnel/address_class.h"
#include "core/tunnel/range_set.h"

namespace masque {
namespace {

// Never a route into a tunnel; a default route may cover them, its own entry in the table loses to
// theirs.
bool is_special(const IpPrefix& prefix) {
  if (is_default_like(prefix)) return false;
  return classify(prefix.first()) != AddressClass::Unicast ||
         classify(prefix.last()) != AddressClass::Unicast;
}

}  // namespace

bool is_default_like(const IpPrefix& prefix) {
  return prefix.length() <= (mutant("accept.default.limit") ? 1 : 2);
}

std::vector<IpRange> without(const IpRange& range, std::span<const IpPrefix> prefixes) {
  std::vector<IpRange> rest;
  std::optional<IpAddress> from = range.first;
  const std::vector<IpPrefix> list(prefixes.begin(), prefixes.end());
  for (const IpRange& hole : to_ranges(list)) {
    if (!from || hole.version() != range.version() || hole.last < *from ||
        hole.first > range.last) {
      continue;
    }
    if (hole.first > *from) rest.push_back({*from, *hole.first.previous()});
    from = hole.last.next();
  }
  if (from && *from <= range.last) rest.push_back({*from, range.last});
  return rest;
}

AcceptedRoutes accept_routes(std::span<const IpAddressRange> advertised,
                             const RouteAcceptance& rules) {
  AcceptedRoutes out;
  const RangeSet only = rules.only ? RangeSet(*rules.only) : RangeSet();
  const auto allowed = [&](const IpPrefix& prefix) {
    if (is_special(prefix) && !mutant("accept.special.remove")) return false;
    if (is_default_like(prefix) && rules.defaults == RouteAcceptance::Defaults::Refuse &&
        !mutant("accept.default.remove"))
      return false;
    return !rules.only || only.covers(prefix) || mutant("accept.only.remove");
  };
  const auto refuse = [&](const IpPrefix& prefix) {
    ++out.refused_count;
    if (out.refused.size() < kRefusedReportMax) out.refused.push_back(prefix);
  };
  for (const IpAddressRange& entry : advertised) {
    for (const IpPrefix& prefix : to_prefixes(entry.range)) {
      if (!allowed(prefix)) {
        refuse(prefix);
        continue;
      }
      for (const IpRange& piece :
           without(IpRange::of(prefix),
                   mutant("accept.exclude.remove") ? std::vector<IpPrefix>() : rules.exclude)) {
        const auto prefixes = to_prefixes(piece);
        if (out.prefixes.size() + prefixes.size() >
            kAcceptedPrefixesMax + (mutant("accept.limit") ? 1 : 0)) {
          refuse(prefix);
          break;
        }
        out.ranges.push_back({.range = piece, .protocol = entry.protocol});
        out.prefixes.insert(out.prefixes.end(), prefixes.begin(), prefixes.end());
      }
    }
  }
  std::ranges::sort(out.prefixes);
  out.prefixes.erase(std::ranges::unique(out.prefixes).begin(), out.prefixes.end());
  return out;
}

}  // namespace masque
