// SPDX-License-Identifier: Apache-2.0
// The gateway's packet path: who reaches whom.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/server/gateway_test_support.h"

namespace masque {
namespace {

using test::GatewayWorld;
using test::ip;
using test::make_packet;
using test::nets;
using test::Packet;
using test::view_of;

const StreamId kStream(0);

std::pair<int, int> icmp_of(const Packet& packet) {
  const size_t at_icmp = view_of(packet).transport_offset;
  return {packet[at_icmp], packet[at_icmp + 1]};
}

TEST(GatewayPackets, from_client_to_tun_and_back) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  const Packet up4 = make_packet("10.8.0.2", "10.1.1.1");
  const Packet up6 = make_packet("fd00:8::2", "fd00:1::1");
  w.send(anna, up4);
  w.send(anna, up6);
  EXPECT_THAT(w.tun.packets, testing::ElementsAre(up4, up6));
  const Packet down4 = make_packet("10.1.1.1", "10.8.0.2");
  const Packet down6 = make_packet("fd00:1::1", "fd00:8::2");
  w.from_tun(down4);
  w.from_tun(down6);
  // With a kernel on the way the TTL is the kernel's affair (RFC 9484 7.2).
  EXPECT_THAT(w.packets(anna), testing::ElementsAre(down4, down6));
}

// proves: Z2
TEST(GatewayPackets, faults_c1_a_client_sends_only_from_its_lease) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.open("bert");
  for (const char* source : {"10.8.0.3", "10.8.0.1", "10.8.0.77", "192.0.2.1", "0.0.0.0",
                             "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"}) {
    w.send(anna, make_packet(source, "10.1.1.1"));
  }
  for (const char* source : {"fd00:8::3", "fd00:8::1", "::", "::1", "fe80::1", "ff02::1"}) {
    w.send(anna, make_packet(source, "fd00:1::1"));
  }
  EXPECT_TRUE(w.tun.packets.empty());
}

TEST(GatewayPackets, faults_c3_clients_do_not_reach_each_other_by_default) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  w.send(anna, make_packet("10.8.0.2", "10.8.0.3"));
  w.send(anna, make_packet("fd00:8::2", "fd00:8::3"));
  EXPECT_TRUE(w.packets(bert).empty());
  EXPECT_TRUE(w.tun.packets.empty());
  ASSERT_EQ(w.packets(anna).size(), 2u);
  EXPECT_EQ(icmp_of(w.packets(anna)[0]), std::pair(3, 13));
  EXPECT_EQ(icmp_of(w.packets(anna)[1]), std::pair(1, 1));
  // Nor over the kernel (DNAT, hairpin), nor to the pool's broadcast address.
  w.from_tun(make_packet("10.8.0.2", "10.8.0.3"));
  w.send(anna, make_packet("10.8.0.2", "10.8.0.255"));
  EXPECT_TRUE(w.packets(bert).empty());
  EXPECT_EQ(w.gateway.counters().packets.dropped(DropReason::ClientToClient), 3u);
}

PolicySnapshot talkative() {
  PolicySnapshot policy = GatewayWorld::default_policy();
  for (auto& [name, client] : policy.clients) client.reach_clients = Permission::Allow;
  policy.clients["carl"].reach_clients = Permission::Deny;
  return policy;
}

// proves: K4
TEST(GatewayPackets, rfc9484_7_2_client_to_client_costs_one_hop) {
  GatewayWorld w({}, talkative());
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  w.open("carl");
  w.send(anna, make_packet("10.8.0.2", "10.8.0.3", {.ttl = 64}));
  w.send(anna, make_packet("fd00:8::2", "fd00:8::3", {.ttl = 9}));
  ASSERT_EQ(w.packets(bert).size(), 2u);
  EXPECT_EQ(view_of(w.packets(bert)[0]).ttl, 63);  // parsing checks the checksum
  EXPECT_EQ(view_of(w.packets(bert)[1]).ttl, 8);
  EXPECT_TRUE(w.tun.packets.empty());
  w.send(anna, make_packet("10.8.0.2", "10.8.0.4"));  // carl may not, so nobody talks to him
  ASSERT_EQ(w.packets(anna).size(), 1u);
  EXPECT_EQ(icmp_of(w.packets(anna)[0]), std::pair(3, 13));
}

// proves: E1, E2, U5
TEST(GatewayPackets, errors_between_clients_come_back_to_the_sender) {
  GatewayWorld w({}, talkative());
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  bert.limit = 1290;
  w.gateway.flush();
  w.send(anna, make_packet("10.8.0.2", "10.8.0.3", {.ttl = 1}));
  w.send(anna, make_packet("10.8.0.2", "10.8.0.3",
                           {.size = 1350, .dont_fragment = test::PacketShape::DontFragment::Yes}));
  ASSERT_EQ(w.packets(anna).size(), 2u);
  EXPECT_EQ(icmp_of(w.packets(anna)[0]), std::pair(11, 0));
  EXPECT_EQ(view_of(w.packets(anna)[0]).source, ip("10.8.0.1"));
  EXPECT_EQ(icmp_of(w.packets(anna)[1]), std::pair(3, 4));
  EXPECT_EQ(load_be16(&w.packets(anna)[1][26]), 1290);
  EXPECT_TRUE(w.packets(bert).empty());
}

// proves: E1, U5
TEST(GatewayPackets, what_became_too_big_in_a_queue_is_answered_to_its_sender) {
  GatewayWorld w({}, talkative());
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  const auto df = test::PacketShape::DontFragment::Yes;
  bert.blocked = true;
  w.send(anna, make_packet("10.8.0.2", "10.8.0.3", {.size = 1350, .dont_fragment = df}));
  w.from_tun(make_packet("10.1.1.1", "10.8.0.3", {.size = 1350, .dont_fragment = df}));
  EXPECT_TRUE(w.packets(anna).empty());
  bert.limit = 1290;
  bert.blocked = false;
  w.gateway.flush();
  EXPECT_TRUE(w.packets(bert).empty());
  ASSERT_EQ(w.packets(anna).size(), 1u);
  EXPECT_EQ(icmp_of(w.packets(anna)[0]), std::pair(3, 4));
  EXPECT_EQ(load_be16(&w.packets(anna)[0][26]), 1290);
  EXPECT_EQ(view_of(w.packets(anna)[0]).source, ip("10.8.0.1"));
  ASSERT_EQ(w.tun.packets.size(), 1u);
  EXPECT_EQ(icmp_of(w.tun.packets[0]), std::pair(3, 4));
  EXPECT_EQ(view_of(w.tun.packets[0]).destination, ip("10.1.1.1"));
}

// proves: Z5
TEST(GatewayPackets, faults_c4_gateway_services_are_its_inner_addresses_only) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.default_routes = nets({"0.0.0.0/0", "::/0"});
  policy.gateway_addresses = nets({"198.51.100.7/32", "172.16.0.0/12"});
  policy.clients["bert"].reach_gateway = GatewayReach::None;
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  w.send(anna, make_packet("10.8.0.2", "10.8.0.1"));
  w.send(anna, make_packet("fd00:8::2", "fd00:8::1"));
  EXPECT_EQ(w.tun.packets.size(), 2u);
  w.send(bert, make_packet("10.8.0.3", "10.8.0.1"));
  for (const char* destination :
       {"127.0.0.1", "169.254.169.254", "0.0.0.0", "198.51.100.7", "172.20.1.1", "224.0.0.1",
        "239.1.1.1", "255.255.255.255", "10.8.0.77"}) {
    w.send(anna, make_packet("10.8.0.2", destination));
  }
  for (const char* destination :
       {"::1", "fe80::1", "ff02::2", "ff0e::1", "::", "::ffff:127.0.0.1"}) {
    w.send(anna, make_packet("fd00:8::2", destination));
  }
  EXPECT_EQ(w.tun.packets.size(), 2u);
  w.send(anna, make_packet("10.8.0.2", "203.0.113.1"));
  EXPECT_EQ(w.tun.packets.size(), 3u);
}

// proves: Z5
TEST(GatewayPackets, faults_c4_each_level_of_reach_opens_what_it_says) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.default_routes = nets({"0.0.0.0/0", "::/0"});
  policy.gateway_addresses = nets({"198.51.100.7/32", "198.51.100.255/32", "2001:db8:7::7/128"});
  struct Case {
    GatewayReach reach;
    bool ping, service, host;
  };
  for (const Case& test :
       {Case{GatewayReach::None, false, false, false}, Case{GatewayReach::Ping, true, false, false},
        Case{GatewayReach::Tunnel, true, true, false}, Case{GatewayReach::All, true, true, true}}) {
    policy.clients["anna"].reach_gateway = test.reach;
    GatewayWorld w({}, policy);
    auto& anna = w.connect("anna");
    anna.local = ip("203.0.113.9");
    w.request(anna, kStream);
    const auto passes = [&](const char* source, const char* target, uint8_t protocol) {
      const size_t before = w.tun.packets.size();
      w.packets(anna).clear();
      w.send(anna, make_packet(source, target, {.protocol = protocol}));
      const bool passed = w.tun.packets.size() > before;
      // Refused by a policy, and said so: 3/13, or 1/1 of ICMPv6.
      const bool v4 = std::string_view(source).find(':') == std::string_view::npos;
      const auto prohibited = v4 ? std::pair(3, 13) : std::pair(1, 1);
      if (!passed && protocol == 17) {
        EXPECT_EQ(icmp_of(w.packets(anna).at(0)), prohibited);
      }
      return passed;
    };
    const auto name = to_string(test.reach);
    EXPECT_EQ(passes("10.8.0.2", "10.8.0.1", 1), test.ping) << name;
    EXPECT_EQ(passes("fd00:8::2", "fd00:8::1", 58), test.ping) << name;
    EXPECT_EQ(passes("10.8.0.2", "10.8.0.1", 17), test.service) << name;
    EXPECT_EQ(passes("fd00:8::2", "fd00:8::1", 17), test.service) << name;
    for (const uint8_t protocol : {uint8_t{1}, uint8_t{17}}) {
      EXPECT_EQ(passes("10.8.0.2", "198.51.100.7", protocol), test.host) << name;
      EXPECT_EQ(passes("10.8.0.2", "198.51.100.255", protocol), test.host) << name;
      EXPECT_EQ(passes("10.8.0.2", "203.0.113.9", protocol), test.host) << name << ": dialled";
      EXPECT_TRUE(passes("10.8.0.2", "198.51.100.8", protocol)) << name << ": somebody else";
    }
    EXPECT_EQ(passes("fd00:8::2", "2001:db8:7::7", 17), test.host) << name;
  }
}

// Addresses that the host gets are shut on live sessions, too, and those it loses are open.
TEST(GatewayPackets, faults_c4_new_addresses_of_the_host_count_at_once) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.default_routes = nets({"0.0.0.0/0"});
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  w.send(anna, make_packet("10.8.0.2", "198.51.100.7"));
  EXPECT_EQ(w.tun.packets.size(), 1u);
  PolicySnapshot later = policy;
  later.gateway_addresses = nets({"198.51.100.7/32"});
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(later));
  w.send(anna, make_packet("10.8.0.2", "198.51.100.7"));
  EXPECT_EQ(w.tun.packets.size(), 1u);
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(policy));
  w.send(anna, make_packet("10.8.0.2", "198.51.100.7"));
  EXPECT_EQ(w.tun.packets.size(), 2u);
}

// proves: Z5
TEST(GatewayPackets, faults_c4_the_address_that_a_client_is_connected_to_is_no_destination) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.default_routes = nets({"0.0.0.0/0", "::/0"});
  GatewayWorld w({}, policy);
  auto& anna = w.connect("anna");
  anna.local = ip("203.0.113.9");  // the gateway listens on all its addresses
  w.request(anna, kStream);
  w.send(anna, make_packet("10.8.0.2", "203.0.113.9"));
  EXPECT_TRUE(w.tun.packets.empty());
  w.send(anna, make_packet("10.8.0.2", "203.0.113.8"));
  EXPECT_EQ(w.tun.packets.size(), 1u);
}

TEST(GatewayPackets, allowed_destinations_narrow_what_is_advertised) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["anna"].allowed_destinations = nets({"10.1.0.0/16"});
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  w.send(anna, make_packet("10.8.0.2", "10.1.2.3"));
  w.send(anna, make_packet("10.8.0.2", "10.2.2.3"));
  w.send(anna, make_packet("10.8.0.2", "10.8.0.1"));
  EXPECT_EQ(w.tun.packets.size(), 2u);
  EXPECT_EQ(icmp_of(w.packets(anna).back()), std::pair(3, 13));
}

// proves: S9, S10
TEST(GatewayPackets, rfc9484_4_8_a_scoped_session_carries_its_protocol_and_icmp) {
  GatewayWorld w;
  auto& anna = w.open("anna", "/.well-known/masque/ip/10.1.1.1/17/");
  w.send(anna, make_packet("10.8.0.2", "10.1.1.1", {.protocol = 17}));
  w.send(anna, make_packet("10.8.0.2", "10.1.1.1", {.protocol = 1}));
  EXPECT_EQ(w.tun.packets.size(), 2u);
  w.send(anna, make_packet("10.8.0.2", "10.1.1.1", {.protocol = 6}));
  w.send(anna, make_packet("10.8.0.2", "10.1.1.2", {.protocol = 17}));
  EXPECT_EQ(w.tun.packets.size(), 2u);
  w.packets(anna).clear();
  w.from_tun(make_packet("10.1.1.1", "10.8.0.2", {.protocol = 17}));
  w.from_tun(make_packet("10.1.1.1", "10.8.0.2", {.protocol = 6}));
  w.from_tun(make_packet("10.1.1.9", "10.8.0.2", {.protocol = 17}));
  EXPECT_EQ(w.packets(anna).size(), 1u);
}

// proves: S9, E3
TEST(GatewayPackets, rfc9484_7_2_1_a_scoped_session_hears_of_its_path) {
  GatewayWorld w;
  auto& anna = w.open("anna", "/.well-known/masque/ip/10.1.1.1/17/");
  // TCP to the gateway itself is outside; a ping of it is not.
  w.send(anna, make_packet("10.8.0.2", "10.8.0.1", {.protocol = 6}));
  EXPECT_TRUE(w.tun.packets.empty());
  w.send(anna, make_packet("10.8.0.2", "10.8.0.1", {.protocol = 1}));
  EXPECT_EQ(w.tun.packets.size(), 1u);
  w.packets(anna).clear();
  const Packet error = test::make_icmp_error({.kind = IcmpErrorKind::TimeExceeded}, "198.51.100.1",
                                             make_packet("10.8.0.2", "10.1.1.1"));
  w.from_tun(error);
  EXPECT_THAT(w.packets(anna), testing::ElementsAre(error));
  w.from_tun(test::make_icmp_error({.kind = IcmpErrorKind::TimeExceeded}, "198.51.100.1",
                                   make_packet("10.8.0.2", "10.1.1.9")));
  EXPECT_EQ(w.packets(anna).size(), 1u);
}

TEST(GatewayPackets, what_belongs_to_nobody_is_answered_on_the_tun) {
  GatewayWorld w;
  w.from_tun(make_packet("10.1.1.1", "10.8.0.2"));
  ASSERT_EQ(w.tun.packets.size(), 1u);
  EXPECT_EQ(icmp_of(w.tun.packets[0]), std::pair(3, 0));
  w.from_tun(make_packet("10.1.1.1", "224.0.0.251"));
  w.from_tun(make_packet("fe80::1", "ff02::16", {.protocol = 58}));
  w.from_tun(Packet{0x45});
  EXPECT_EQ(w.tun.packets.size(), 1u);
}

// proves: U5
TEST(GatewayPackets, faults_c13_too_big_from_the_tun_is_answered_there) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  anna.limit = 1333;
  w.gateway.flush();
  w.from_tun(make_packet("10.1.1.1", "10.8.0.2",
                         {.size = 1400, .dont_fragment = test::PacketShape::DontFragment::Yes}));
  ASSERT_EQ(w.tun.packets.size(), 1u);
  EXPECT_EQ(icmp_of(w.tun.packets[0]), std::pair(3, 4));
  EXPECT_EQ(load_be16(&w.tun.packets[0][26]), 1333);
}

TEST(GatewayPackets, a_full_batch_is_flushed_in_the_middle) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  anna.fill_batch = true;
  for (int i = 0; i < 400; ++i)
    w.gateway.on_tun_packet({.head = make_packet("10.1.1.1", "10.8.0.2"), .body = {}});
  EXPECT_EQ(w.packets(anna).size(), 400u);
  EXPECT_GE(w.transmit.flushes, 2);
}

TEST(GatewayPackets, faults_c15_a_blocked_client_holds_only_its_own_packets) {
  GatewayWorld w({.queue_bytes_max = 256 * 1024});
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  anna.blocked = true;
  for (int i = 0; i < 2000; ++i) {
    w.from_tun(make_packet("10.1.1.1", "10.8.0.2", {.size = 1000}));
    w.from_tun(make_packet("10.1.1.1", "10.8.0.3", {.size = 1000}));
  }
  EXPECT_EQ(w.packets(bert).size(), 2000u);
  EXPECT_TRUE(w.gateway.wants_more());
  anna.blocked = false;
  w.gateway.flush();
  EXPECT_GT(w.packets(anna).size(), 200u);
  EXPECT_LE(w.packets(anna).size(), 256u);
}

TEST(GatewayPackets, a_single_blocked_client_stops_the_reading_of_the_tun) {
  GatewayWorld w({.queue_bytes_max = 256 * 1024});
  auto& anna = w.open("anna");
  anna.blocked = true;
  for (int i = 0; i < 300; ++i) w.from_tun(make_packet("10.1.1.1", "10.8.0.2", {.size = 1000}));
  EXPECT_FALSE(w.gateway.wants_more());
  anna.blocked = false;
  w.gateway.flush();
  EXPECT_TRUE(w.gateway.wants_more());
}

TEST(GatewayPackets, faults_c2_a_spoof_flood_costs_ten_answers) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  for (int i = 0; i < 5000; ++i) w.send(anna, make_packet("192.0.2.1", "10.1.1.1"));
  EXPECT_EQ(w.packets(anna).size(), 10u);
  EXPECT_EQ(w.gateway.counters().packets.dropped(DropReason::SourceNotAllowed), 5000u);
}

// proves: H6
TEST(GatewayPackets, datagrams_of_streams_without_session_go_nowhere) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.send(anna, make_packet("10.8.0.2", "10.1.1.1"), StreamId(4));
  EXPECT_TRUE(w.tun.packets.empty());
  w.send(anna, make_packet("10.8.0.2", "10.1.1.1"), kStream);
  EXPECT_EQ(w.tun.packets.size(), 1u);
}

}  // namespace
}  // namespace masque
