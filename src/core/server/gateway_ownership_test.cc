// SPDX-License-Identifier: Apache-2.0
// Nobody gets an address or a subnet that is another's: live changes, sites, assignments.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/server/gateway_test_support.h"

namespace masque {
namespace {

using test::GatewayWorld;
using test::make_packet;
using test::nets;

using testing::HasSubstr;

std::string refusal(GatewayWorld& w, std::initializer_list<std::string_view> addresses) {
  const auto changed = w.gateway.set_session("anna", {.addresses = nets(addresses), .routes = {}});
  return changed ? std::string() : changed.error();
}

TEST(GatewayOwnership, special_addresses_are_nobodys) {
  GatewayWorld w;
  w.open("anna");
  for (const char* special : {"224.0.0.0/24", "127.0.0.1/32", "169.254.1.0/24", "0.0.0.0/32",
                              "ff02::1/128", "fe80::/64", "::1/128"}) {
    EXPECT_THAT(refusal(w, {special}), HasSubstr("not an address that a client can have"))
        << special;
  }
}

TEST(GatewayOwnership, the_gateways_address_is_inside_nothing_that_is_given) {
  GatewayWorld w;
  w.open("anna");
  for (const char* around : {"10.8.0.1/32", "10.0.0.0/8", "fd00:8::1/128", "fd00::/16"}) {
    EXPECT_THAT(refusal(w, {around}), HasSubstr("the gateway's own address")) << around;
  }
}

TEST(GatewayOwnership, addresses_of_others_outside_the_pools_are_theirs) {
  GatewayWorld w;
  w.open("anna");
  w.open("bert");
  ASSERT_TRUE(w.gateway.set_session("bert", {.addresses = nets({"192.0.2.7/32"}), .routes = {}}));
  for (const char* taken : {"192.0.2.7/32", "192.0.2.0/24"}) {
    EXPECT_THAT(refusal(w, {taken}), HasSubstr("which bert has")) << taken;
  }
  EXPECT_EQ(refusal(w, {"192.0.2.8/32"}), "");
}

TEST(GatewayOwnership, the_lease_of_who_is_away_is_kept) {
  GatewayWorld w;
  auto& bert = w.open("bert");
  w.gateway.on_stream_fin(bert, StreamId(0));
  w.open("anna");
  EXPECT_THAT(refusal(w, {"10.8.0.2/32"}), HasSubstr("leased to another client"));
}

// faults.md C6
TEST(GatewayOwnership, an_assignment_by_a_client_makes_nothing_ours) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.send(anna, "01 07 00 04 c000020b 20");
  w.send(anna, make_packet("10.8.0.2", "192.0.2.11"));
  EXPECT_TRUE(w.tun.packets.empty());
  EXPECT_EQ(w.gateway.counters().assignments_refused, 1u);
}

TEST(GatewayOwnership, a_range_that_is_permitted_in_part_is_refused_whole) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["anna"].own_subnets = nets({"192.168.7.0/24"});
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  w.send(anna, "03 0a 04 c0a80700 c0a808ff 00");  // 192.168.7.0/24 and 192.168.8.0/24
  EXPECT_TRUE(w.events<KernelRoutesChanged>().empty());
  EXPECT_EQ(w.gateway.counters().routes_refused, 1u);
}

TEST(GatewayOwnership, no_site_takes_the_gateways_address) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["anna"].own_subnets = nets({"10.8.0.0/16"});
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  w.send(anna, "03 0a 04 0a080000 0a08ffff 00");
  EXPECT_TRUE(w.gateway.sessions().at(0).site_subnets.empty());
  EXPECT_EQ(w.gateway.counters().routes_refused, 1u);
}

}  // namespace
}  // namespace masque
