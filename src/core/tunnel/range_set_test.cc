// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/range_set.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/tunnel/route_table.h"
#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::ip;
using test::net;
using test::nets;
using test::route;

TEST(RangeSet, holds_both_ends_and_nothing_beyond) {
  const RangeSet set(std::vector<IpRange>{{ip("10.0.0.5"), ip("10.0.0.9")},
                                          {ip("2001:db8::5"), ip("2001:db8::1:0:0:9")}});
  EXPECT_TRUE(set.contains(ip("10.0.0.5")));
  EXPECT_TRUE(set.contains(ip("10.0.0.9")));
  EXPECT_FALSE(set.contains(ip("10.0.0.4")));
  EXPECT_FALSE(set.contains(ip("10.0.0.10")));
  EXPECT_TRUE(set.contains(ip("2001:db8::5")));
  EXPECT_TRUE(set.contains(ip("2001:db8::1:0:0:9")));
  EXPECT_FALSE(set.contains(ip("2001:db8::4")));
  EXPECT_FALSE(set.contains(ip("2001:db8::1:0:0:a")));
}

TEST(RangeSet, joins_adjacent_and_overlapping_prefixes) {
  const RangeSet set(
      nets({"10.0.0.0/25", "10.0.0.128/25", "10.0.0.64/26", "fd00::/65", "fd00:0:0:0:8000::/65"}));
  EXPECT_EQ(set.size(), 2u);
  EXPECT_TRUE(set.covers(net("10.0.0.0/24")));
  EXPECT_TRUE(set.covers(net("fd00::/64")));
  EXPECT_FALSE(set.covers(net("10.0.0.0/23")));
  EXPECT_FALSE(set.covers(net("fd00::/63")));
}

TEST(RangeSet, covers_ranges_that_are_no_prefixes) {
  const RangeSet set(nets({"10.0.0.0/25", "10.0.0.128/25", "fd00::/64"}));
  const auto covers = [&](std::string_view first, std::string_view last) {
    return set.covers(IpRange{ip(first), ip(last)});
  };
  EXPECT_TRUE(covers("10.0.0.0", "10.0.0.255"));
  EXPECT_TRUE(covers("10.0.0.127", "10.0.0.128"));
  EXPECT_FALSE(covers("10.0.0.1", "10.0.1.0"));
  EXPECT_FALSE(covers("9.255.255.255", "10.0.0.1"));
  EXPECT_TRUE(covers("fd00::1", "fd00::ffff:ffff:ffff:ffff"));
  EXPECT_FALSE(covers("fd00::1", "fd00:0:0:1::"));
  EXPECT_FALSE(covers("fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::1"));
}

TEST(RangeSet, whole_address_spaces) {
  const RangeSet set(nets({"0.0.0.0/0", "::/0"}));
  EXPECT_TRUE(set.contains(ip("0.0.0.0")));
  EXPECT_TRUE(set.contains(ip("255.255.255.255")));
  EXPECT_TRUE(set.contains(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
  EXPECT_FALSE(RangeSet().contains(ip("::")));
}

TEST(RangeSet, agrees_with_a_linear_search) {
  EXPECT_TRUE(rc::check([](const std::vector<std::pair<uint8_t, uint8_t>>& pairs, uint8_t probe) {
    std::vector<IpRange> ranges;
    for (auto [a, b] : pairs) {
      if (a > b) std::swap(a, b);
      ranges.push_back({IpAddress::v4(0x0a000000u + a), IpAddress::v4(0x0a000000u + b)});
    }
    const IpAddress address = IpAddress::v4(0x0a000000u + probe);
    bool expected = false;
    for (const IpRange& range : ranges) expected = expected || range.contains(address);
    RC_ASSERT(RangeSet(ranges).contains(address) == expected);
  }));
}

// proves: V1, V4
TEST(RouteTable, rfc9484_4_7_3_protocol_0_is_all_others_are_one) {
  const RouteTable table(
      std::vector{route("10.0.0.0/8"), route("192.0.2.0/24", 6), route("2001:db8::/32", 17)});
  EXPECT_EQ(table.find(ip("10.1.2.3"), 17), RouteMatch::Routed);
  EXPECT_EQ(table.find(ip("192.0.2.1"), 6), RouteMatch::Routed);
  EXPECT_EQ(table.find(ip("192.0.2.1"), 17), RouteMatch::OtherProtocol);
  EXPECT_EQ(table.find(ip("2001:db8::1"), 17), RouteMatch::Routed);
  EXPECT_EQ(table.find(ip("2001:db8::1"), 6), RouteMatch::OtherProtocol);
  EXPECT_EQ(table.find(ip("198.51.100.1"), 6), RouteMatch::None);
}

// proves: S9
TEST(RouteTable, rfc9484_4_7_3_icmp_passes_whatever_the_protocol) {
  const RouteTable table(std::vector{route("192.0.2.0/24", 6), route("2001:db8::/32", 17)});
  EXPECT_EQ(table.find(ip("192.0.2.1"), 1), RouteMatch::Routed);
  EXPECT_EQ(table.find(ip("2001:db8::1"), 58), RouteMatch::Routed);
  EXPECT_EQ(table.find(ip("192.0.2.1"), 58), RouteMatch::OtherProtocol);  // ICMPv6 is none of IPv4
  EXPECT_EQ(table.find(ip("198.51.100.1"), 1), RouteMatch::None);
}

}  // namespace
}  // namespace masque
