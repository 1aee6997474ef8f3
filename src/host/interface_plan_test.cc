// SPDX-License-Identifier: Apache-2.0
#include "host/interface_plan.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace masque {
namespace {

constexpr TunnelInterfaceOptions options_with_mark() {
  return {.name = {}, .metric = 7, .mark = 0x51, .rule_priority = 5000};
}
IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }
IpAddress address(const char* text) { return *IpAddress::parse(text); }

InterfacePlan plan_of(std::vector<IpPrefix> routes, std::vector<IpAddress> outer) {
  return make_plan({.routes = std::move(routes), .outer = std::move(outer)}, options_with_mark(),
                   3);
}

TEST(InterfacePlan, routes_without_the_server_are_ordinary_routes) {
  const InterfacePlan plan =
      plan_of({prefix("10.0.0.0/8"), prefix("2001:db8::/32")}, {address("198.51.100.1")});
  EXPECT_TRUE(plan.rules.empty());
  EXPECT_TRUE(plan.covered.empty());
  for (const Route& route : plan.routes) {
    EXPECT_EQ(route.table, kMainTable);
    EXPECT_EQ(route.interface, 3u);
    EXPECT_EQ(route.metric, 7u);
  }
}

// proves: Z6
TEST(InterfacePlan, z6_a_route_over_the_server_goes_to_a_table_that_marked_packets_pass_by) {
  const InterfacePlan plan =
      plan_of({prefix("0.0.0.0/0"), prefix("10.0.0.0/8")}, {address("198.51.100.1")});
  EXPECT_EQ(plan.routes[0].table, 0x51u);
  EXPECT_EQ(plan.routes[1].table, kMainTable);
  EXPECT_EQ(plan.covered, std::vector{address("198.51.100.1")});
  ASSERT_EQ(plan.rules.size(), 4u);
  const uint32_t end = 5000 + kRulePriorities - 1;
  EXPECT_EQ(plan.rules[0], (PolicyRule{.priority = end, .action = PolicyRule::Action::Nothing}));
  EXPECT_EQ(
      plan.rules[1],
      (PolicyRule{
          .priority = 5000, .action = PolicyRule::Action::Goto, .target = end, .mark = 0x51}));
  EXPECT_EQ(plan.rules[2],
            (PolicyRule{.priority = 5065, .table = kMainTable, .suppress_prefix_length = 0}));
  EXPECT_EQ(plan.rules[3], (PolicyRule{.priority = 5066, .table = 0x51}));
}

TEST(InterfacePlan, only_the_family_of_the_server_gets_rules) {
  const InterfacePlan plan =
      plan_of({prefix("128.0.0.0/1"), prefix("2000::/3")}, {address("2001:db8::1")});
  EXPECT_EQ(plan.rules.size(), 4u);
  for (const PolicyRule& rule : plan.rules) EXPECT_EQ(rule.version, IpVersion::V6);
}

// The host has a default route of its own, which would keep ours of the same length out.
TEST(InterfacePlan, default_routes_win_over_the_hosts_in_both_families) {
  const InterfacePlan plan =
      plan_of({prefix("0.0.0.0/0"), prefix("::/0")}, {address("2001:db8::1")});
  EXPECT_EQ(plan.rules.size(), 8u);
  for (const Route& route : plan.routes) EXPECT_EQ(route.table, 0x51u);
  EXPECT_EQ(plan.covered, std::vector{address("2001:db8::1")});
}

TEST(InterfacePlan, duplicates_are_one) {
  const InterfacePlan plan = plan_of({prefix("10.0.0.0/8"), prefix("10.0.0.0/8")}, {});
  EXPECT_EQ(plan.routes.size(), 1u);
}

TEST(InterfacePlan, marks_and_priorities_depend_on_the_name_alone_and_stay_before_the_main_table) {
  for (const char* name : {"tun0", "tun1", "vpn-home", "x"}) {
    EXPECT_EQ(tunnel_mark(name), tunnel_mark(name));
    EXPECT_GE(tunnel_rule_priority(name), 5000u);
    EXPECT_LT(tunnel_rule_priority(name) + kRulePriorities, 32766u);
  }
  EXPECT_NE(tunnel_mark("tun0"), tunnel_mark("tun1"));
}

// A lookup in the rules and routes of a plan over a main table with a default route, as the kernel
// does it: which destination goes into the tunnel must be what longest-prefix order says, for
// unmarked packets, and marked ones to the server must never.
struct Lookup {
  const InterfacePlan& plan;
  std::vector<IpPrefix> others;  // of the main table, by way of other interfaces

  // The length of the best match; -1 for none.
  int best(uint32_t table, const IpAddress& to, bool& tunnel) const {
    int length = -1;
    const auto consider = [&](const IpPrefix& candidate, bool is_tunnel) {
      if (!candidate.contains(to) || candidate.length() <= length) return;
      length = candidate.length();
      tunnel = is_tunnel;
    };
    for (const Route& route : plan.routes) {
      if (route.table == table) consider(route.destination, true);
    }
    if (table == kMainTable) {
      for (const IpPrefix& other : others) consider(other, false);
    }
    return length;
  }

  bool into_tunnel(const IpAddress& to, bool marked) const {
    auto rules = plan.rules;
    std::ranges::stable_sort(rules, {}, &PolicyRule::priority);
    uint32_t skip_to = 0;
    for (const PolicyRule& rule : rules) {
      if (rule.priority < skip_to || (rule.mark && !marked)) continue;
      if (rule.destination && !rule.destination->contains(to)) continue;
      if (rule.action == PolicyRule::Action::Goto) skip_to = rule.target;
      if (rule.action != PolicyRule::Action::Lookup) continue;
      bool tunnel = false;
      const int length = best(rule.table, to, tunnel);
      const bool suppressed =
          rule.suppress_prefix_length && length <= static_cast<int>(*rule.suppress_prefix_length);
      if (length >= 0 && !suppressed) return tunnel;
    }
    bool tunnel = false;
    (void)best(kMainTable, to, tunnel);
    return tunnel;
  }
};

// proves: Z6
TEST(InterfacePlan, z6_longest_prefix_order_holds_and_the_server_stays_outside) {
  EXPECT_TRUE(rc::check([] {
    // Addresses of few bits, so that prefixes nest and collide often.
    const auto some_address = [] {
      return IpAddress::v4(0x0a000000u + *rc::gen::inRange<uint32_t>(0, 256));
    };
    const auto some_prefix = [&] {
      return IpPrefix::containing(some_address(), static_cast<uint8_t>(*rc::gen::inRange(22, 33)));
    };
    std::vector<IpPrefix> routes;
    std::vector<IpPrefix> others = {prefix("0.0.0.0/0")};
    for (int i = *rc::gen::inRange(1, 6); i > 0; --i) routes.push_back(some_prefix());
    for (int i = *rc::gen::inRange(0, 4); i > 0; --i) {
      const IpPrefix other = some_prefix();
      // The kernel keeps one of two equal prefixes: a conflict, reported elsewhere.
      if (!std::ranges::contains(routes, other)) others.push_back(other);
    }
    if (*rc::gen::arbitrary<bool>()) {
      routes.push_back(prefix("0.0.0.0/0"));
    }
    const IpAddress server = some_address();
    const InterfacePlan plan = plan_of(routes, {server});
    const Lookup lookup{.plan = plan, .others = others};
    RC_ASSERT(!lookup.into_tunnel(server, true));
    for (uint32_t i = 0; i < 256; ++i) {
      const IpAddress to = IpAddress::v4(0x0a000000u + i);
      int inside = -1;
      int outside = -1;
      for (const IpPrefix& route : routes) {
        if (route.contains(to)) inside = std::max<int>(inside, route.length());
      }
      for (const IpPrefix& other : others) {
        if (other.contains(to)) outside = std::max<int>(outside, other.length());
      }
      // Of two default routes the tunnel's is meant: that is what a full tunnel is.
      RC_ASSERT(lookup.into_tunnel(to, false) == (inside >= outside));
    }
  }));
}

}  // namespace
}  // namespace masque
