// SPDX-License-Identifier: Apache-2.0
#include "core/server/client_rules.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::ip;
using test::nets;
using test::route;

std::vector<IpAddressRange> advertised(const std::vector<IpPrefix>& routes) {
  return routes_in_scope(routes, {}, {});
}

// proves: V5, V7
TEST(ClientRules, rfc9484_4_7_3_a_default_route_leaves_the_narrower_ones_visible) {
  EXPECT_EQ(advertised(nets({"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "12.0.0.0/8", "::/0"})),
            (std::vector<IpAddressRange>{
                {.range = {ip("0.0.0.0"), ip("9.255.255.255")}},
                route("10.0.0.0/8"),
                {.range = {ip("11.0.0.0"), ip("11.0.0.2")}},
                {.range = {ip("11.0.0.3"), ip("11.255.255.255")}},
                route("12.0.0.0/8"),
                {.range = {ip("13.0.0.0"), ip("255.255.255.255")}},
                route("::/0"),
            }));
}

TEST(ClientRules, routes_without_a_default_one_are_joined) {
  EXPECT_EQ(advertised(nets({"10.1.0.0/16", "10.0.0.0/16"})), std::vector{route("10.0.0.0/15")});
  EXPECT_EQ(advertised(nets({"0.0.0.0/0"})), std::vector{route("0.0.0.0/0")});
}

TEST(ClientRules, too_many_narrower_routes_are_left_out) {
  std::vector<IpPrefix> routes = nets({"0.0.0.0/0"});
  for (uint32_t i = 0; i < kAddressRangesMax / 2; ++i)
    routes.push_back(IpPrefix::containing(IpAddress::v4(0x0a000000 + i * 1024), 24));
  EXPECT_EQ(advertised(routes), std::vector{route("0.0.0.0/0")});
}

// Clients that refuse default routes take the single prefixes.
TEST(ClientRules, property_single_prefixes_are_the_narrower_routes) {
  EXPECT_TRUE(rc::check([](const std::vector<std::pair<uint32_t, uint8_t>>& draws) {
    std::vector<IpPrefix> narrower;
    for (const auto& [address, length] : draws) {
      narrower.push_back(IpPrefix::containing(IpAddress::v4(0x0a000000 | (address & 0xffffff)),
                                              static_cast<uint8_t>(9 + length % 20)));
    }
    std::vector<IpPrefix> routes = narrower;
    routes.push_back(IpPrefix::containing(IpAddress::v4(0), 0));
    const auto ranges = advertised(routes);
    RC_ASSERT(check_routes(ranges).has_value());
    std::vector<IpPrefix> single;
    std::vector<IpPrefix> all;
    for (const IpAddressRange& entry : ranges) {
      const auto prefixes = to_prefixes(entry.range);
      all.insert(all.end(), prefixes.begin(), prefixes.end());
      if (prefixes.size() == 1) single.push_back(prefixes.front());
    }
    RC_ASSERT(to_ranges(all) == to_ranges(nets({"0.0.0.0/0"})));
    if (!narrower.empty()) RC_ASSERT(to_ranges(single) == to_ranges(narrower));
  }));
}

}  // namespace
}  // namespace masque
