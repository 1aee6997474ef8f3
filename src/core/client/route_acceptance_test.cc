// SPDX-License-Identifier: Apache-2.0
#include "core/client/route_acceptance.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::ip;
using test::net;
using test::nets;
using test::route;
using Defaults = RouteAcceptance::Defaults;

TEST(RouteAcceptance, faults_c5_default_routes_need_permission) {
  const std::vector ranges = {route("0.0.0.0/0"), route("::/0")};
  const auto refused = accept_routes(ranges, {});
  EXPECT_TRUE(refused.prefixes.empty());
  EXPECT_EQ(refused.refused, nets({"0.0.0.0/0", "::/0"}));
  const auto accepted = accept_routes(ranges, {.defaults = Defaults::Accept});
  EXPECT_EQ(accepted.prefixes, nets({"0.0.0.0/0", "::/0"}));
}

TEST(RouteAcceptance, faults_c5_halves_and_quarters_are_default_routes_too) {
  const auto accepted =
      accept_routes(std::vector{IpAddressRange{.range = {ip("0.0.0.0"), ip("127.255.255.255")}},
                                route("128.0.0.0/2"), route("10.0.0.0/8")},
                    {});
  EXPECT_EQ(accepted.prefixes, nets({"10.0.0.0/8"}));
  EXPECT_EQ(accepted.refused_count, 2u);
}

TEST(RouteAcceptance, faults_c5_a_default_route_in_equal_parts_is_one) {
  std::vector<IpAddressRange> eighths;
  for (uint32_t i = 0; i < 8; ++i)
    eighths.push_back({.range = IpRange::of(IpPrefix::containing(IpAddress::v4(i << 29), 3))});
  const auto refused = accept_routes(eighths, {});
  EXPECT_TRUE(refused.prefixes.empty());
  EXPECT_EQ(refused.refused.front(), net("0.0.0.0/0"));
  const auto accepted = accept_routes(eighths, {.defaults = Defaults::Accept});
  EXPECT_EQ(accepted.prefixes, nets({"0.0.0.0/0"}));
}

TEST(RouteAcceptance, narrower_routes_beside_a_default_one) {
  const std::vector<IpAddressRange> advertised = {
      {.range = {ip("0.0.0.0"), ip("9.255.255.255")}},
      route("10.0.0.0/8"),
      {.range = {ip("11.0.0.0"), ip("11.0.0.2")}},
      {.range = {ip("11.0.0.3"), ip("11.255.255.255")}},
      route("12.0.0.0/8"),
      {.range = {ip("13.0.0.0"), ip("255.255.255.255")}},
  };
  const auto split = accept_routes(advertised, {});
  EXPECT_EQ(split.prefixes, nets({"10.0.0.0/8", "12.0.0.0/8"}));
  EXPECT_EQ(split.refused, nets({"0.0.0.0/0"}));
  const auto full = accept_routes(advertised, {.defaults = Defaults::Accept});
  EXPECT_EQ(full.prefixes, nets({"0.0.0.0/0"}));
  EXPECT_EQ(full.refused_count, 0u);
  const auto listed =
      accept_routes(advertised, {.only = nets({"12.0.0.0/6"}), .defaults = Defaults::Accept});
  EXPECT_EQ(listed.prefixes, nets({"12.0.0.0/8"}));
}

TEST(RouteAcceptance, faults_c5_special_addresses_are_never_taken) {
  const auto accepted =
      accept_routes(std::vector{route("127.0.0.0/8"), route("169.254.0.0/16"), route("224.0.0.0/4"),
                                route("255.255.255.255/32"), route("fe80::/10"), route("ff02::/16"),
                                route("::1/128")},
                    {.defaults = Defaults::Accept});
  EXPECT_TRUE(accepted.prefixes.empty());
  EXPECT_TRUE(accepted.ranges.empty());
  EXPECT_EQ(accepted.refused_count, 7u);
}

TEST(RouteAcceptance, a_list_limits_and_exclusions_are_cut_out) {
  const auto listed = accept_routes(std::vector{route("10.1.0.0/16"), route("10.2.0.0/16")},
                                    {.only = nets({"10.1.0.0/16"})});
  EXPECT_EQ(listed.prefixes, nets({"10.1.0.0/16"}));
  EXPECT_EQ(listed.refused, nets({"10.2.0.0/16"}));

  // protocol.md Z6: the outer path never runs into the tunnel.
  const auto around =
      accept_routes(std::vector{route("192.0.2.0/30", 6)}, {.exclude = nets({"192.0.2.1/32"})});
  EXPECT_EQ(around.prefixes, nets({"192.0.2.0/32", "192.0.2.2/31"}));
  EXPECT_EQ(around.ranges[0].protocol, 6);
}

// proves: V8
TEST(RouteAcceptance, rfc9484_4_7_3_ranges_become_a_minimal_set_of_prefixes) {
  const auto accepted =
      accept_routes(std::vector{IpAddressRange{.range = {ip("192.0.2.0"), ip("192.0.2.41")}},
                                IpAddressRange{.range = {ip("192.0.2.43"), ip("192.0.2.255")}}},
                    {});
  EXPECT_EQ(accepted.prefixes,
            nets({"192.0.2.0/27", "192.0.2.32/29", "192.0.2.40/31", "192.0.2.43/32",
                  "192.0.2.44/30", "192.0.2.48/28", "192.0.2.64/26", "192.0.2.128/25"}));
}

TEST(RouteAcceptance, faults_c5_at_most_4096_prefixes) {
  std::vector<IpAddressRange> ranges;
  for (uint32_t i = 0; i < 5000; ++i) {
    const IpAddress address = IpAddress::v4(0x0a000000u + 2 * i);
    ranges.push_back({.range = {address, address}});
  }
  const auto accepted = accept_routes(ranges, {});
  EXPECT_EQ(accepted.prefixes.size(), kAcceptedPrefixesMax);
  EXPECT_EQ(accepted.refused_count, 5000 - kAcceptedPrefixesMax);
  EXPECT_EQ(accepted.refused.size(), kRefusedReportMax);
}

TEST(RouteAcceptance, faults_c5_wide_ranges_are_not_all_expanded) {
  std::vector<IpAddressRange> ranges;
  for (uint32_t i = 0; i < kAddressRangesMax; ++i) {
    const IpPrefix net = IpPrefix::containing(IpAddress::v4(i << 20), 12);
    ranges.push_back({.range = {*net.first().next(), *net.last().previous()}});
  }
  const auto accepted = accept_routes(ranges, {.only = nets({"10.0.0.0/32"})});
  EXPECT_TRUE(accepted.prefixes.empty());
  EXPECT_GE(accepted.refused_count, ranges.size());
  EXPECT_LE(accepted.refused_count, kExaminedPrefixesMax + ranges.size());
}

TEST(RouteAcceptance, cutting_out_agrees_with_membership) {
  EXPECT_TRUE(rc::check([](uint8_t a, uint8_t b,
                           const std::vector<std::pair<uint8_t, uint8_t>>& holes) {
    if (a > b) std::swap(a, b);
    const auto at_byte = [](uint8_t n) {
      return IpAddress::v4(0xffffff00u | n);
    };  // up to the last
    std::vector<IpPrefix> prefixes;
    for (const auto& [n, length] : holes) {
      prefixes.push_back(IpPrefix::containing(at_byte(n), static_cast<uint8_t>(24 + length % 9)));
    }
    const auto pieces = without({at_byte(a), at_byte(b)}, prefixes);
    for (unsigned n = 0; n < 256; ++n) {
      const IpAddress address = at_byte(static_cast<uint8_t>(n));
      bool expected = n >= a && n <= b;
      for (const IpPrefix& prefix : prefixes) expected = expected && !prefix.contains(address);
      bool actual = false;
      for (const IpRange& piece : pieces) actual = actual || piece.contains(address);
      RC_ASSERT(actual == expected);
    }
  }));
}

}  // namespace
}  // namespace masque
