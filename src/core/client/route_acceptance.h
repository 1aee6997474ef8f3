// SPDX-License-Identifier: Apache-2.0
// Which of the gateway's routes a client takes (faults.md C5): a compromised gateway must not be
// able to turn a split tunnel into a full one, nor to capture loopback, link-local or the outer
// path.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/capsule/capsule.h"

namespace masque {

constexpr size_t kAcceptedPrefixesMax = 4096;
// Of one list, refused ones included: a wide range that is no prefix has up to 254.
constexpr size_t kExaminedPrefixesMax = 4 * kAcceptedPrefixesMax;
constexpr size_t kRefusedReportMax = 64;

struct RouteAcceptance {
  std::optional<std::vector<IpPrefix>> only;  // nullopt: everything that is not refused below
  enum class Defaults : uint8_t { Refuse, Accept };
  Defaults defaults = Defaults::Refuse;
  std::vector<IpPrefix> exclude;  // cut out of what is accepted

  bool operator==(const RouteAcceptance&) const = default;
};

struct AcceptedRoutes {
  std::vector<IpAddressRange> ranges;  // in force, with their protocols
  std::vector<IpPrefix> prefixes;      // the same for a routing table, without duplicates
  std::vector<IpPrefix> refused;       // at most kRefusedReportMax
  uint64_t refused_count = 0;
};

// Ranges that touch each other and hold a default route together are one: taken whole where default
// routes are welcome, else only those among them that are single prefixes, the narrower routes that
// a gateway marks in it (core/server/client_rules.h).
AcceptedRoutes accept_routes(std::span<const IpAddressRange> advertised,
                             const RouteAcceptance& rules);

// 0.0.0.0/0, ::/0 and their halves and quarters.
bool is_default_like(const IpPrefix& prefix);
// What is left of a range without the prefixes.
std::vector<IpRange> without(const IpRange& range, std::span<const IpPrefix> prefixes);

}  // namespace masque
