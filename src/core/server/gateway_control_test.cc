// SPDX-License-Identifier: Apache-2.0
// Policy changes, revocation, live sessions, site-to-site.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>

#include "core/server/gateway_test_support.h"

namespace masque {
namespace {

using test::GatewayWorld;
using test::make_packet;
using test::net;
using test::nets;
using test::route;

const StreamId kStream(0);

TEST(GatewayControl, faults_b3_revocation_closes_at_once_and_frees_the_address) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.events<LeaseChanged>();
  EXPECT_EQ(w.gateway.revoke("anna"), 1u);
  EXPECT_TRUE(anna.streams[kStream].aborted);
  EXPECT_EQ(w.events<SessionDown>()[0].end, SessionEnd::Revoked);
  const auto leases = w.events<LeaseChanged>();
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_TRUE(leases[0].addresses.empty());
  w.send(anna, make_packet("10.8.0.2", "10.1.1.1"));
  w.from_tun(make_packet("10.1.1.1", "10.8.0.2"));
  EXPECT_TRUE(w.packets(anna).empty());
  EXPECT_EQ(w.gateway.revoke("anna"), 0u);
}

TEST(GatewayControl, a_policy_without_the_identity_closes_its_session) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients.erase("anna");
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(policy));
  w.gateway.flush();
  EXPECT_TRUE(anna.streams[kStream].aborted);
  EXPECT_FALSE(bert.streams[kStream].aborted);
  EXPECT_EQ(w.capsules(bert).routes.size(), 1u);  // nothing changed for it
}

TEST(GatewayControl, a_revoked_certificate_closes_its_session) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.revoked = {Fingerprint{1}};
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(policy));
  EXPECT_TRUE(anna.streams[kStream].aborted);
}

// proves: V2
TEST(GatewayControl, new_routes_reach_live_sessions_by_capsule) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["anna"].routes = nets({"192.0.2.0/24"});
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(policy));
  w.gateway.flush();
  const auto log = w.capsules(anna);
  ASSERT_EQ(log.routes.size(), 2u);
  EXPECT_EQ(log.routes[1].ranges, std::vector{route("192.0.2.0/24")});
  w.send(anna, make_packet("10.8.0.2", "192.0.2.1"));
  w.send(anna, make_packet("10.8.0.2", "10.1.1.1"));
  EXPECT_EQ(w.tun.packets.size(), 1u);
}

// proves: A1, L4
TEST(GatewayControl, set_session_changes_addresses_and_routes_of_a_live_tunnel) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.events<LeaseChanged>();
  const auto changed = w.gateway.set_session(
      "anna",
      {.addresses = nets({"10.8.0.99/32", "192.0.2.7/32"}), .routes = nets({"10.1.0.0/16"})});
  ASSERT_TRUE(changed);
  EXPECT_EQ(*changed, 1u);
  w.gateway.flush();
  const auto log = w.capsules(anna);
  ASSERT_EQ(log.assigns.size(), 2u);
  ASSERT_EQ(log.assigns[1].addresses.size(), 3u);
  EXPECT_EQ(log.assigns[1].addresses[0].prefix, net("10.8.0.99/32"));
  EXPECT_EQ(log.assigns[1].addresses[1].prefix, net("192.0.2.7/32"));
  EXPECT_EQ(log.routes.back().ranges, (std::vector{route("10.1.0.0/16"), route("fd00::/16")}));
  const auto kernel = w.events<KernelRoutesChanged>();
  ASSERT_EQ(kernel.size(), 1u);
  EXPECT_EQ(kernel[0].added, nets({"192.0.2.7/32"}));  // outside the pools
  EXPECT_EQ(w.events<LeaseChanged>()[0].addresses, nets({"10.8.0.99/32", "fd00:8::2/128"}));

  w.send(anna, make_packet("10.8.0.2", "10.1.1.1"));  // the old address
  w.send(anna, make_packet("10.8.0.99", "10.1.1.1"));
  w.send(anna, make_packet("192.0.2.7", "10.1.1.1"));
  EXPECT_EQ(w.tun.packets.size(), 2u);
  w.from_tun(make_packet("10.1.1.1", "192.0.2.7"));
  EXPECT_EQ(w.packets(anna).size(), 2u);  // this one, and the ICMP error about the old source
  w.gateway.kick("anna");
  EXPECT_EQ(w.events<KernelRoutesChanged>()[0].removed, nets({"192.0.2.7/32"}));
}

TEST(GatewayControl, set_session_replaces_the_ip_versions_that_it_names) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  const auto set = [&](const Gateway::SessionChange& change) {
    EXPECT_TRUE(w.gateway.set_session("anna", change));
    w.gateway.flush();
    return w.capsules(anna).routes.back().ranges;
  };
  const auto addresses = [&] { return w.gateway.sessions().at(0).addresses; };
  set({.addresses = nets({"10.8.0.9/32"}), .routes = {}});
  EXPECT_EQ(addresses(), nets({"10.8.0.9/32", "fd00:8::2/128"}));
  set({.addresses = nets({"fd00:8::9/128"}), .routes = {}});
  EXPECT_EQ(addresses(), nets({"10.8.0.9/32", "fd00:8::9/128"}));
  EXPECT_EQ(set({.addresses = {}, .routes = nets({"fd77::/64"})}),
            (std::vector{route("10.0.0.0/8"), route("fd77::/64")}));
  EXPECT_EQ(set({.addresses = {}, .routes = nets({"192.0.2.0/24"})}),
            (std::vector{route("192.0.2.0/24"), route("fd77::/64")}));
  EXPECT_TRUE(set({.addresses = {}, .routes = std::vector<IpPrefix>{}}).empty());
}

std::vector<IpPrefix> hosts(uint32_t first, size_t count, uint32_t step = 1) {
  std::vector<IpPrefix> out;
  for (uint32_t i = 0; i < count; ++i)
    out.push_back(IpPrefix::host(IpAddress::v4(first + i * step)));
  return out;
}

TEST(GatewayControl, routes_of_the_policy_and_of_a_change_are_limited) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.default_routes = hosts(0x0a010000, 5000, 2);
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  EXPECT_EQ(w.capsules(anna).routes.back().ranges.size(), kAddressRangesMax);

  const auto set = [&](size_t count) {
    return w.gateway.set_session("anna", {.addresses = {}, .routes = hosts(0x0a010000, count, 2)});
  };
  EXPECT_EQ(set(kAddressRangesMax + 1).error(), "a session has at most 4096 routes");
  EXPECT_TRUE(set(kAddressRangesMax));
  // With those of the other version, which stay.
  EXPECT_FALSE(w.gateway.set_session("anna", {.addresses = {}, .routes = nets({"fd00::/16"})}));
  EXPECT_TRUE(set(kAddressRangesMax - 1));
  EXPECT_TRUE(w.gateway.set_session("anna", {.addresses = {}, .routes = nets({"fd00::/16"})}));
  w.gateway.flush();
  EXPECT_EQ(w.capsules(anna).routes.back().ranges.size(), kAddressRangesMax);
}

// proves: R4
TEST(GatewayControl, rfc9484_4_7_2_the_most_addresses_leave_room_for_answers) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  const auto set = [&](size_t count) {
    return w.gateway.set_session("anna", {.addresses = hosts(0x0a080010, count), .routes = {}});
  };
  // With the address of IPv6, which stays.
  EXPECT_FALSE(set(kGivenAddressesMax));
  ASSERT_TRUE(set(kGivenAddressesMax - 1));
  w.gateway.flush();
  std::string request = "02 40e0";  // 32 entries of 7 bytes
  for (int id = 1; id <= 32; ++id) request += std::format("{:02x} 04 00000000 20", id);
  w.send(anna, request);
  EXPECT_FALSE(anna.streams[kStream].aborted);
  EXPECT_EQ(w.capsules(anna).assigns.back().addresses.size(), kGivenAddressesMax + 1);
}

TEST(GatewayControl, set_session_refuses_what_others_have) {
  GatewayWorld w;
  w.open("anna");
  w.open("bert");
  const auto fails = [&](const std::vector<IpPrefix>& addresses) {
    return !w.gateway.set_session("anna", {.addresses = addresses, .routes = {}});
  };
  EXPECT_TRUE(fails(nets({"10.8.0.3/32"})));
  EXPECT_TRUE(fails(nets({"10.8.0.0/30"})));
  EXPECT_TRUE(fails(nets({"10.8.0.1/32"})));
  EXPECT_TRUE(fails({}));
  const auto missing =
      w.gateway.set_session("carl", {.addresses = nets({"10.8.0.9/32"}), .routes = {}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error(), "no such session: carl");
  // Nothing was changed on the way.
  EXPECT_EQ(w.gateway.sessions()[0].addresses, nets({"10.8.0.2/32", "fd00:8::2/128"}));
}

TEST(GatewayControl, fixed_addresses_come_before_the_pool) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["bert"].fixed_addresses = nets({"10.8.0.2/32"});
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  EXPECT_EQ(w.capsules(anna).assigns[0].addresses[0].prefix, net("10.8.0.3/32"));
  EXPECT_EQ(w.capsules(bert).assigns[0].addresses[0].prefix, net("10.8.0.2/32"));
  EXPECT_EQ(w.capsules(bert).assigns[0].addresses[1].prefix, net("fd00:8::3/128"));
}

TEST(GatewayControl, whoever_had_a_fixed_address_before_gives_way) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["bert"].fixed_addresses = nets({"10.8.0.2/32"});
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(policy));
  auto& bert = w.open("bert");
  EXPECT_TRUE(anna.streams[kStream].aborted);
  EXPECT_EQ(w.capsules(bert).assigns[0].addresses[0].prefix, net("10.8.0.2/32"));
  auto& again = w.open("anna");
  EXPECT_EQ(w.capsules(again).assigns[0].addresses[0].prefix, net("10.8.0.3/32"));
}

// proves: Z3
TEST(GatewayControl, rfc9484_11_addresses_end_with_the_session_where_leases_are_not_sticky) {
  GatewayWorld w({.lease_kind = LeaseKind::Fresh});
  auto& first = w.open("anna");
  EXPECT_EQ(w.gateway.sessions().at(0).addresses, nets({"10.8.0.2/32", "fd00:8::2/128"}));
  w.gateway.on_connection_gone(first);
  w.open("anna");
  EXPECT_EQ(w.gateway.sessions().at(0).addresses, nets({"10.8.0.3/32", "fd00:8::3/128"}));
  w.open("anna");  // replaces her session
  EXPECT_EQ(w.gateway.sessions().at(0).addresses, nets({"10.8.0.4/32", "fd00:8::4/128"}));
  EXPECT_TRUE(w.events<LeaseChanged>().empty()) << "nothing is written";
}

TEST(GatewayControl, stored_leases_are_given_to_their_identities) {
  GatewayWorld w;
  EXPECT_TRUE(w.gateway.load_lease("anna", nets({"10.8.0.50/32", "fd00:8::50/128"})));
  EXPECT_FALSE(w.gateway.load_lease("bert", nets({"10.8.0.50/32"})));
  auto& anna = w.open("anna");
  EXPECT_EQ(w.capsules(anna).assigns[0].addresses[0].prefix, net("10.8.0.50/32"));
  EXPECT_TRUE(w.events<LeaseChanged>().empty());
}

PolicySnapshot site_policy() {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["anna"].own_subnets = nets({"192.168.7.0/24", "192.168.8.0/24"});
  return policy;
}

// proves: L4, V1
TEST(GatewayControl, site_to_site_subnets_are_routed_to_their_client) {
  GatewayWorld w({}, site_policy());
  auto& anna = w.open("anna");
  w.send(anna, "03 0a 04 c0a80700 c0a807ff 00");
  EXPECT_EQ(w.events<KernelRoutesChanged>()[0].added, nets({"192.168.7.0/24"}));
  EXPECT_EQ(w.gateway.sessions()[0].site_subnets, nets({"192.168.7.0/24"}));
  w.from_tun(make_packet("10.1.1.1", "192.168.7.9"));
  EXPECT_EQ(w.packets(anna).size(), 1u);
  w.send(anna, make_packet("192.168.7.9", "10.1.1.1"));
  EXPECT_EQ(w.tun.packets.size(), 1u);
  // A newer list supersedes the old one.
  w.send(anna, "03 0a 04 c0a80800 c0a808ff 00");
  const auto changed = w.events<KernelRoutesChanged>();
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].added, nets({"192.168.8.0/24"}));
  EXPECT_EQ(changed[0].removed, nets({"192.168.7.0/24"}));
  w.send(anna, make_packet("192.168.7.9", "10.1.1.1"));
  EXPECT_EQ(w.tun.packets.size(), 1u);
  w.gateway.on_stream_fin(anna, kStream);
  EXPECT_EQ(w.events<KernelRoutesChanged>()[0].removed, nets({"192.168.8.0/24"}));
}

TEST(GatewayControl, faults_c6_routes_of_a_client_without_permission_are_ignored) {
  GatewayWorld w({}, site_policy());
  auto& bert = w.open("bert");
  w.send(bert, "03 0a 04 c0a80700 c0a807ff 00");
  auto& anna = w.open("anna");
  w.send(anna, "03 0a 04 00000000 ffffffff 00");
  w.send(anna, "03 0a 04 c0a80600 c0a807ff 00");  // wider than what is permitted
  EXPECT_TRUE(w.events<KernelRoutesChanged>().empty());
  EXPECT_EQ(w.gateway.counters().routes_refused, 3u);
  w.send(anna, "01 07 00 04 c000020b 20");
  EXPECT_EQ(w.gateway.counters().assignments_refused, 1u);
  EXPECT_FALSE(anna.streams[kStream].aborted);
}

TEST(GatewayControl, a_policy_change_judges_site_routes_again) {
  GatewayWorld w({}, site_policy());
  auto& anna = w.open("anna");
  w.send(anna, "03 0a 04 c0a80700 c0a807ff 00");
  w.events<KernelRoutesChanged>();
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(GatewayWorld::default_policy()));
  EXPECT_EQ(w.events<KernelRoutesChanged>()[0].removed, nets({"192.168.7.0/24"}));
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(site_policy()));
  EXPECT_EQ(w.events<KernelRoutesChanged>()[0].added, nets({"192.168.7.0/24"}));
}

// The list 192.168.(7 + odd).0/24: what it says differs from one call to the next.
const char* flapping_list(int i) {
  return i % 2 == 0 ? "03 0a 04 c0a80700 c0a807ff 00" : "03 0a 04 c0a80800 c0a808ff 00";
}

TEST(GatewayControl, lists_of_routes_are_put_in_force_at_a_limited_rate_and_the_newest_wins) {
  GatewayWorld w({}, site_policy());
  auto& anna = w.open("anna");
  for (int i = 0; i < 100; ++i) w.send(anna, flapping_list(i));
  EXPECT_EQ(w.events<KernelRoutesChanged>().size(), 8u);
  EXPECT_EQ(w.gateway.sessions()[0].site_subnets, nets({"192.168.8.0/24"}));
  w.send(anna, flapping_list(100));
  EXPECT_TRUE(w.events<KernelRoutesChanged>().empty());

  // Nothing more comes from the client: a timer brings its last word.
  ASSERT_TRUE(w.gateway.next_timeout());
  EXPECT_EQ(*w.gateway.next_timeout(), test::at(1s));
  w.turn(1s);
  w.gateway.on_timeout(test::at(1s));
  w.gateway.flush();
  EXPECT_EQ(w.events<KernelRoutesChanged>().size(), 1u);
  EXPECT_EQ(w.gateway.sessions()[0].site_subnets, nets({"192.168.7.0/24"}));

  for (int i = 1; i < 100; ++i) w.send(anna, flapping_list(i));
  w.turn(2s);
  w.gateway.on_timeout(test::at(2s));
  EXPECT_EQ(w.events<KernelRoutesChanged>().size(), 1u);
  EXPECT_EQ(w.gateway.sessions()[0].site_subnets, nets({"192.168.8.0/24"}));
}

TEST(GatewayControl, a_policy_change_needs_not_wait_for_a_client_that_asks_too_much) {
  GatewayWorld w({}, site_policy());
  auto& anna = w.open("anna");
  for (int i = 0; i < 9; ++i) w.send(anna, flapping_list(i));
  w.events<KernelRoutesChanged>();
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(GatewayWorld::default_policy()));
  EXPECT_EQ(w.events<KernelRoutesChanged>()[0].removed, nets({"192.168.8.0/24"}));
  w.turn(1s);
  w.gateway.on_timeout(test::at(1s));
  w.gateway.flush();
  EXPECT_TRUE(w.events<KernelRoutesChanged>().empty());
  EXPECT_NE(w.gateway.next_timeout(), test::at(1s)) << "the timer is done with";
}

TEST(GatewayControl, requests_for_addresses_are_answered_together_after_a_burst) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  for (int id = 1; id <= 20; ++id) w.send(anna, std::format("02 07 {:02x} 04 00000000 20", id));
  EXPECT_EQ(w.capsules(anna).assigns.size(), 1u + 8u);
  w.turn(1s);
  w.gateway.on_timeout(test::at(1s));
  w.gateway.flush();
  const auto log = w.capsules(anna);
  ASSERT_EQ(log.assigns.size(), 1u + 9u);
  // RFC 9484 4.7.2: every one is answered. Nine to twenty are the twelve that waited.
  size_t answered = 0;
  for (const AssignedAddress& entry : log.assigns.back().addresses)
    answered += entry.request_id.value() >= 9 ? 1u : 0u;
  EXPECT_EQ(answered, 12u);
}

TEST(GatewayControl, site_subnets_are_limited_and_have_one_owner) {
  PolicySnapshot policy = site_policy();
  policy.clients["bert"].own_subnets = nets({"192.168.7.0/24"});
  GatewayWorld w({.site_subnets_max = 3}, policy);
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  w.send(anna, "03 0a 04 c0a80700 c0a807ff 00");
  w.send(bert, "03 0a 04 c0a80700 c0a807ff 00");
  w.from_tun(make_packet("10.1.1.1", "192.168.7.9"));
  EXPECT_EQ(w.packets(anna).size(), 1u);
  EXPECT_TRUE(w.packets(bert).empty());
  // 192.168.7.1 - 192.168.7.14 are six prefixes: the fourth and the others are refused.
  w.send(anna, "03 0a 04 c0a80701 c0a8070e 00");
  EXPECT_EQ(w.gateway.sessions()[0].site_subnets.size(), 3u);
}

TEST(GatewayControl, snapshot_for_status) {
  GatewayWorld w;
  w.open("anna");
  const auto sessions = w.gateway.sessions();
  ASSERT_EQ(sessions.size(), 1u);
  EXPECT_EQ(sessions[0].identity, "anna");
  EXPECT_EQ(sessions[0].routes, nets({"10.0.0.0/8", "fd00::/16"}));
  EXPECT_EQ(sessions[0].mtu, 1400u);
  EXPECT_EQ(sessions[0].connection, &w.connections.front());
}

// proves: U3
TEST(GatewayControl, rfc9484_7_2_a_client_that_answers_no_pings_is_told_once) {
  GatewayConfig config;
  config.authentication = GatewayConfig::Authentication::CertificateOrToken;
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.tokens.push_back({.hash = test::fake_hash(as_bytes("secret")), .identity = "anna"});
  GatewayWorld w(config, policy);
  // A certificate of ours proves that no intermediary stands between; a token does not.
  w.open("bert");
  auto& anna = w.connect("");
  anna.certificate = {};
  auto fields = test::connect_ip();
  fields.push_back({"authorization", "Bearer secret"});
  w.gateway.on_request(anna, StreamId(0), fields, false);
  w.gateway.flush();
  ASSERT_EQ(w.gateway.session_count(), 2u);
  while (const auto next = w.gateway.next_timeout()) {
    w.turn(*next - test::at(0s));
    w.gateway.on_timeout(*next);
    w.gateway.flush();
  }
  const auto told = w.events<SessionUnproven>();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].identity, "anna");
  EXPECT_EQ(w.gateway.session_count(), 2u);
  EXPECT_EQ(w.gateway.counters().packets.ipv6_probes_unanswered, 1u);
}

}  // namespace
}  // namespace masque
