// SPDX-License-Identifier: Apache-2.0
// From requests to sessions and their ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/server/gateway_test_support.h"

namespace masque {
namespace {

using test::at;
using test::CapsuleLog;
using test::connect_ip;
using test::GatewayWorld;
using test::ip;
using test::net;
using test::nets;
using test::route;

const StreamId kStream(0);

// proves: Q3, Q4, L4, A7, A2, H15
TEST(GatewayRequests, rfc9484_4_a_request_becomes_a_session) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  EXPECT_EQ(anna.status(kStream), "200");
  EXPECT_EQ(anna.response(kStream, "capsule-protocol"), "?1");
  EXPECT_FALSE(anna.streams[kStream].fin);
  EXPECT_TRUE(anna.streams[kStream].datagrams);
  const CapsuleLog log = w.capsules(anna);
  ASSERT_EQ(log.assigns.size(), 1u);
  EXPECT_EQ(
      log.assigns[0].addresses,
      (std::vector<AssignedAddress>{{.request_id = RequestId(0), .prefix = net("10.8.0.2/32")},
                                    {.request_id = RequestId(0), .prefix = net("fd00:8::2/128")}}));
  ASSERT_EQ(log.routes.size(), 1u);
  EXPECT_EQ(log.routes[0].ranges, (std::vector{route("10.0.0.0/8"), route("fd00::/16")}));
  EXPECT_EQ(log.unknown, 0);  // protocol.md trap 1: nothing that a plain peer does not know
  const auto up = w.events<SessionUp>();
  ASSERT_EQ(up.size(), 1u);
  EXPECT_EQ(up[0].identity, "anna");
  EXPECT_EQ(w.events<LeaseChanged>().size(), 1u);
}

// proves: R4, R5
TEST(GatewayRequests, rfc9484_4_7_2_address_requests_are_answered) {
  GatewayWorld w({.pools = nets({"10.8.0.0/24"})});
  auto& anna = w.open("anna");
  w.send(anna, "02 1a 01 04 00000000 20 02 06 00000000000000000000000000000000 80");
  const CapsuleLog log = w.capsules(anna);
  ASSERT_EQ(log.assigns.size(), 2u);
  EXPECT_EQ(
      log.assigns[1].addresses,
      (std::vector<AssignedAddress>{{.request_id = RequestId(1), .prefix = net("10.8.0.2/32")},
                                    AssignedAddress::denial(RequestId(2), IpVersion::V6)}));
}

// proves: Z1, PS1
TEST(GatewayRequests, refusals_end_the_stream_and_are_told) {
  GatewayWorld w;
  auto& nobody = w.open("nobody");
  EXPECT_EQ(nobody.status(kStream), "403");
  EXPECT_TRUE(nobody.streams[kStream].fin);
  EXPECT_THAT(nobody.response(kStream, "proxy-status"),
              testing::HasSubstr("error=http_request_denied"));
  const auto refused = w.events<RequestRefused>();
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].status, 403u);
  EXPECT_EQ(refused[0].identity, "nobody") << "as the certificate has it";
  EXPECT_EQ(w.gateway.session_count(), 0u);
  // Datagrams and capsules of a refused request go nowhere.
  w.send(nobody, test::make_packet("10.8.0.2", "10.1.1.1"));
  w.send(nobody, "0200");
  EXPECT_TRUE(w.tun.packets.empty());
}

// proves: H9
TEST(GatewayRequests, rfc9297_2_1_1_a_client_that_takes_no_datagrams_is_refused) {
  GatewayWorld w;
  auto& anna = w.open("anna");  // its request overtook its SETTINGS
  anna.is_usable = false;
  w.gateway.on_settings(anna);
  EXPECT_TRUE(anna.streams[kStream].aborted);
  EXPECT_EQ(w.gateway.session_count(), 0u);
  w.request(anna, StreamId(4));
  EXPECT_EQ(anna.status(StreamId(4)), "400");
  EXPECT_THAT(anna.response(StreamId(4), "proxy-status"),
              testing::HasSubstr("error=http_request_error"));
}

TEST(GatewayRequests, faults_b1_an_exhausted_pool_is_503_and_others_live) {
  GatewayWorld w({.pools = nets({"10.8.0.0/30"})});
  auto& anna = w.open("anna");
  auto& bert = w.open("bert");
  EXPECT_EQ(anna.status(kStream), "200");
  EXPECT_EQ(bert.status(kStream), "503");
  EXPECT_THAT(bert.response(kStream, "proxy-status"), testing::HasSubstr("exhausted"));
  EXPECT_EQ(w.gateway.session_count(), 1u);
  EXPECT_EQ(w.gateway.counters().pool_exhausted, 1u);
  EXPECT_EQ(w.events<RequestRefused>().back().shortage, Shortage::Addresses);
}

TEST(GatewayRequests, faults_b2_the_newest_session_of_an_identity_wins) {
  GatewayWorld w;
  auto& first = w.open("anna");
  auto& second = w.open("anna");
  EXPECT_EQ(first.streams[kStream].aborted, HttpError::RequestCancelled);
  EXPECT_EQ(second.status(kStream), "200");
  EXPECT_EQ(w.capsules(second).assigns[0].addresses[0].prefix, net("10.8.0.2/32"));
  EXPECT_EQ(w.gateway.session_count(), 1u);
  const auto down = w.events<SessionDown>();
  ASSERT_EQ(down.size(), 1u);
  EXPECT_EQ(down[0].end, SessionEnd::Replaced);
  // The late end of the old stream changes nothing.
  w.gateway.on_stream_closed(first, kStream, 0x10c);
  w.gateway.on_connection_gone(first);
  EXPECT_EQ(w.gateway.session_count(), 1u);
  for (int i = 0; i < 1000; ++i) w.open("anna");
  EXPECT_EQ(w.gateway.session_count(), 1u);
  EXPECT_EQ(w.capsules(w.connections.back()).assigns[0].addresses[0].prefix, net("10.8.0.2/32"));
}

// proves: L1, L3, C5
TEST(GatewayRequests, rfc9484_4_1_the_session_lives_as_long_as_its_stream) {
  struct Case {
    const char* name;
    void (*end)(GatewayWorld&, test::FakeHttpConnection&);
    SessionEnd expected;
  };
  for (const Case& c : {
           Case{"fin", [](GatewayWorld& w, auto& c2) { w.gateway.on_stream_fin(c2, kStream); },
                SessionEnd::ClientClosed},
           Case{"reset",
                [](GatewayWorld& w, auto& c2) { w.gateway.on_stream_closed(c2, kStream, 0x10c); },
                SessionEnd::StreamAborted},
           Case{"connection", [](GatewayWorld& w, auto& c2) { w.gateway.on_connection_gone(c2); },
                SessionEnd::StreamAborted},
           Case{"goodbye",
                [](GatewayWorld& w, auto& c2) {
                  c2.ended = {.by = ConnectionEnd::By::Goodbye, .why = "closing time"};
                  w.gateway.on_connection_gone(c2);
                },
                SessionEnd::ClientClosed},
       }) {
    GatewayWorld w;
    auto& anna = w.open("anna");
    c.end(w, anna);
    const auto down = w.events<SessionDown>();
    ASSERT_EQ(down.size(), 1u) << c.name;
    EXPECT_EQ(down[0].end, c.expected) << c.name;
    EXPECT_EQ(down[0].detail, anna.ended.why) << c.name;
    EXPECT_EQ(anna.streams[kStream].fin, std::string_view(c.name) == "fin") << c.name;
    w.from_tun(test::make_packet("10.1.1.1", "10.8.0.2"));
    EXPECT_TRUE(w.packets(anna).empty()) << c.name;
    // faults.md D13: the lease was released once and waits for its identity.
    auto& again = w.open("anna");
    EXPECT_EQ(w.capsules(again).assigns[0].addresses[0].prefix, net("10.8.0.2/32"));
  }
}

// proves: X, R7
TEST(GatewayRequests, rfc9484_4_7_a_broken_capsule_aborts_the_stream_with_the_right_code) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.send(anna, "02 00");
  EXPECT_EQ(anna.streams[kStream].aborted, to_http_error(WireError::EmptyAddressRequest));
  EXPECT_FALSE(anna.closed);  // the connection lives
  const auto down = w.events<SessionDown>();
  ASSERT_EQ(down.size(), 1u);
  EXPECT_EQ(down[0].end, SessionEnd::ProtocolError);
}

// proves: H18
TEST(GatewayRequests, rfc9297_3_3_fin_inside_a_capsule_is_an_error) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.send(anna, "02 07 01");
  w.gateway.on_stream_fin(anna, kStream);
  EXPECT_TRUE(anna.streams[kStream].aborted);
  EXPECT_EQ(w.events<SessionDown>()[0].end, SessionEnd::ProtocolError);
}

// proves: S1, S4, S8, V4
TEST(GatewayRequests, rfc9484_4_6_a_scope_limits_routes_and_families) {
  GatewayWorld w;
  auto& anna = w.open("anna", "/.well-known/masque/ip/10.1.0.0%2F16/17/");
  const CapsuleLog log = w.capsules(anna);
  EXPECT_EQ(log.routes[0].ranges, std::vector{route("10.1.0.0/16", 17)});
  ASSERT_EQ(log.assigns[0].addresses.size(), 1u);
  EXPECT_EQ(log.assigns[0].addresses[0].prefix, net("10.8.0.2/32"));

  auto& wide = w.open("bert", "/.well-known/masque/ip/0.0.0.0%2F0/*/");
  EXPECT_EQ(w.capsules(wide).routes[0].ranges, std::vector{route("10.0.0.0/8")});

  auto& outside = w.open("carl", "/.well-known/masque/ip/192.0.2.0%2F24/*/");
  EXPECT_EQ(outside.status(kStream), "403");
}

// proves: Z5
TEST(GatewayRequests, rfc9298_7_targets_that_nobody_may_reach) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.default_routes = nets({"0.0.0.0/0", "::/0"});
  GatewayWorld w({}, std::move(policy));
  for (const char* target :
       {"127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "%3A%3A1", "fe80%3A%3A1"}) {
    auto& anna = w.open("anna", std::format("/.well-known/masque/ip/{}/*/", target));
    EXPECT_EQ(anna.status(kStream), "502") << target;
    EXPECT_THAT(anna.response(kStream, "proxy-status"),
                testing::HasSubstr("error=destination_ip_prohibited"));
  }
}

// proves: Z5
TEST(GatewayRequests, rfc9298_7_targets_that_are_the_gateway_itself) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.default_routes = nets({"0.0.0.0/0", "::/0"});
  policy.gateway_addresses = nets({"198.51.100.0/25"});
  policy.clients["bert"].reach_gateway = GatewayReach::None;
  policy.clients["carl"].reach_gateway = GatewayReach::All;
  GatewayWorld w({}, std::move(policy));
  const auto ask = [&](const char* who, std::string_view target,
                       const std::vector<IpAddress>& resolved = {}) {
    auto& client = w.connect(who);
    client.local = ip("203.0.113.9");
    w.request(client, kStream, std::format("/.well-known/masque/ip/{}/*/", target));
    if (!resolved.empty()) w.gateway.on_resolved(w.events<ResolveName>().at(0).ticket, resolved);
    if (client.status(kStream) == "200") return std::string();
    EXPECT_EQ(client.status(kStream), "502");
    return client.response(kStream, "proxy-status");
  };
  const auto prohibited = testing::HasSubstr("error=destination_ip_prohibited");
  EXPECT_THAT(ask("anna", "198.51.100.7"), prohibited);
  EXPECT_THAT(ask("anna", "198.51.100.64%2F26"), prohibited);
  EXPECT_EQ(ask("anna", "198.51.100.0%2F24"), "") << "half of it is somebody else";
  EXPECT_THAT(ask("anna", "203.0.113.9"), prohibited);
  EXPECT_EQ(ask("anna", "203.0.113.8"), "");
  EXPECT_THAT(ask("anna", "self.example", {ip("203.0.113.9"), ip("127.0.0.1")}), prohibited);
  EXPECT_EQ(ask("anna", "self.example", {ip("203.0.113.9"), ip("203.0.113.8")}), "");
  // Its inner addresses are for those who may.
  EXPECT_EQ(ask("anna", "10.8.0.1"), "");
  EXPECT_THAT(ask("bert", "10.8.0.1"), prohibited);
  EXPECT_THAT(ask("bert", "fd00%3A8%3A%3A1"), prohibited);
  // All its addresses are for those whose policy says so.
  EXPECT_EQ(ask("carl", "198.51.100.7"), "");
  EXPECT_EQ(ask("carl", "203.0.113.9"), "");
  EXPECT_THAT(ask("carl", "127.0.0.1"), prohibited);
}

// proves: S6, S7
TEST(GatewayRequests, rfc9484_4_6_a_name_is_resolved_before_the_answer) {
  GatewayWorld w;
  auto& anna = w.open("anna", "/.well-known/masque/ip/db.example/6/");
  EXPECT_EQ(anna.status(kStream), "");
  const auto resolve = w.events<ResolveName>();
  ASSERT_EQ(resolve.size(), 1u);
  EXPECT_EQ(resolve[0].name, "db.example");
  w.send(anna, "02 07 05 04 00000000 20");  // a client that does not wait
  w.gateway.on_resolved(resolve[0].ticket, {ip("10.1.1.1"), ip("192.0.2.1"), ip("fd00:1::1")});
  w.gateway.flush();
  EXPECT_EQ(anna.status(kStream), "200");
  const CapsuleLog log = w.capsules(anna);
  EXPECT_EQ(log.routes[0].ranges,
            (std::vector{route("10.1.1.1/32", 6), route("fd00:1::1/128", 6)}));
  EXPECT_EQ(log.assigns.back().addresses[0].request_id, RequestId(5));
  w.gateway.on_resolved(resolve[0].ticket, {ip("10.1.1.1")});  // twice: nothing
  EXPECT_EQ(w.gateway.session_count(), 1u);
}

// proves: S6, PS1
TEST(GatewayRequests, rfc9484_4_6_a_name_that_does_not_resolve) {
  GatewayWorld w({.resolve_timeout = 10s});
  auto& none = w.open("anna", "/.well-known/masque/ip/none.example/*/");
  w.gateway.on_resolved(w.events<ResolveName>()[0].ticket, {});
  EXPECT_EQ(none.status(kStream), "502");
  EXPECT_THAT(none.response(kStream, "proxy-status"), testing::HasSubstr("error=dns_error"));

  auto& late = w.open("bert", "/.well-known/masque/ip/late.example/*/");
  EXPECT_EQ(w.gateway.next_timeout(), at(10s));
  w.turn(10s);
  w.gateway.on_timeout(at(10s));
  EXPECT_EQ(late.status(kStream), "504");

  auto& gone = w.open("carl", "/.well-known/masque/ip/gone.example/*/");
  w.gateway.on_connection_gone(gone);
  for (const auto& event : w.events<ResolveName>())
    w.gateway.on_resolved(event.ticket, {ip("10.1.1.1")});
  EXPECT_EQ(w.gateway.session_count(), 0u);
}

// proves: L1
TEST(GatewayRequests, rfc9484_4_1_a_stream_that_ends_while_its_name_is_resolved_is_no_tunnel) {
  GatewayWorld w;
  auto& anna = w.open("anna", "/.well-known/masque/ip/db.example/*/");
  w.gateway.on_stream_data(anna, kStream, std::vector<uint8_t>{0x17, 0});
  w.gateway.on_stream_fin(anna, kStream);
  EXPECT_EQ(anna.status(kStream), "400");
  EXPECT_TRUE(anna.streams[kStream].fin);
  w.gateway.on_resolved(w.events<ResolveName>().at(0).ticket, {ip("10.1.1.1")});
  EXPECT_EQ(anna.status(kStream), "400");
  EXPECT_EQ(w.gateway.session_count(), 0u);
  EXPECT_EQ(w.gateway.next_timeout(), std::nullopt);
}

TEST(GatewayRequests, faults_b3_who_is_revoked_while_a_name_is_resolved_is_refused) {
  GatewayWorld w;
  auto& anna = w.open("anna", "/.well-known/masque/ip/db.example/*/");
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["anna"].enabled = Permission::Deny;
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(policy));
  w.gateway.on_resolved(w.events<ResolveName>().at(0).ticket, {ip("10.1.1.1")});
  EXPECT_EQ(anna.status(kStream), "403");
  EXPECT_EQ(w.gateway.session_count(), 0u);
}

TEST(GatewayRequests, limits_on_sessions_names_and_requests) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  for (int i = 0; i < 100; ++i) {
    policy.clients[std::format("c{}", i)] = {};
    const std::string token = std::format("t{}", i);
    policy.tokens.push_back(
        {.hash = test::fake_hash(as_bytes(token)), .identity = std::format("c{}", i)});
  }
  GatewayWorld w({.authentication = GatewayConfig::Authentication::Token,
                  .sessions_max = 5,
                  .sessions_per_connection_max = 4,
                  .resolves_pending_max = 2},
                 std::move(policy));
  auto& one = w.connect("");
  const auto open = [&](test::FakeHttpConnection& connection, uint64_t stream, int who,
                        const char* path = "/.well-known/masque/ip/*/*/") {
    HeaderFields fields = connect_ip(path);
    fields.push_back({"authorization", std::format("Bearer t{}", who)});
    w.gateway.on_request(connection, StreamId(stream), fields, false);
    return connection.status(StreamId(stream));
  };
  for (int i = 0; i < 4; ++i) EXPECT_EQ(open(one, static_cast<uint64_t>(i) * 4, i), "200");
  EXPECT_EQ(open(one, 16, 4), "503");  // of this connection
  auto& two = w.connect("");
  EXPECT_EQ(open(two, 0, 5, "/.well-known/masque/ip/a.example/*/"), "");
  EXPECT_EQ(open(two, 4, 6, "/.well-known/masque/ip/b.example/*/"), "");
  EXPECT_EQ(open(two, 8, 7, "/.well-known/masque/ip/c.example/*/"), "503");
  EXPECT_EQ(open(two, 12, 8), "200");
  EXPECT_EQ(open(two, 16, 9), "503");  // of the gateway
}

TEST(GatewayRequests, names_that_do_not_resolve_take_only_their_clients_places) {
  GatewayConfig config;
  config.authentication = GatewayConfig::Authentication::CertificateOrToken;
  PolicySnapshot policy = GatewayWorld::default_policy();
  for (int i = 0; i < 5; ++i) {
    policy.clients[std::format("c{}", i)] = {};
    policy.tokens.push_back({.hash = test::fake_hash(as_bytes(std::format("t{}", i))),
                             .identity = std::format("c{}", i)});
  }
  GatewayWorld w(config, std::move(policy));
  const char* kSlow = "/.well-known/masque/ip/slow.example/*/";
  // One identity over many connections.
  for (int i = 0; i < 40; ++i) {
    auto& anna = w.open("anna", kSlow);
    EXPECT_EQ(anna.status(kStream), i < 4 ? "" : "503") << i;
  }
  // Many identities over one connection.
  auto& shared = w.connect("");
  shared.certificate = {};
  for (int i = 0; i < 5; ++i) {
    HeaderFields fields = connect_ip(kSlow);
    fields.push_back({"authorization", std::format("Bearer t{}", i)});
    const StreamId stream(static_cast<uint64_t>(i) * 4);
    w.gateway.on_request(shared, stream, fields, false);
    EXPECT_EQ(shared.status(stream), i < 4 ? "" : "503") << i;
  }
  EXPECT_EQ(w.open("bert", kSlow).status(kStream), "");
  // A place is free again when its connection is gone.
  w.gateway.on_connection_gone(w.connections.front());
  EXPECT_EQ(w.open("anna", kSlow).status(kStream), "");
  EXPECT_EQ(w.open("anna", kSlow).status(kStream), "503");
}

TEST(GatewayRequests, faults_d10_rapid_requests_close_the_connection) {
  GatewayWorld w;
  auto& anna = w.connect("anna");
  for (uint64_t i = 0; i < 101; ++i) w.request(anna, StreamId(i * 4), "/nowhere");
  EXPECT_EQ(anna.closed, HttpError::ExcessiveLoad);
}

TEST(GatewayRequests, early_data_before_the_answer_is_bounded) {
  GatewayWorld w;
  auto& anna = w.open("anna", "/.well-known/masque/ip/db.example/*/");
  w.gateway.on_stream_data(anna, kStream, std::vector<uint8_t>(4096, 0x17));
  EXPECT_FALSE(anna.streams[kStream].aborted);
  w.gateway.on_stream_data(anna, kStream, std::vector<uint8_t>(1, 0x17));
  EXPECT_EQ(anna.streams[kStream].aborted, HttpError::ExcessiveLoad);
}

TEST(GatewayRequests, a_request_with_fin_is_no_tunnel) {
  GatewayWorld w;
  auto& anna = w.connect("anna");
  w.gateway.on_request(anna, kStream, connect_ip(), true);
  EXPECT_EQ(anna.status(kStream), "400");
  EXPECT_EQ(w.gateway.session_count(), 0u);
}

// proves: U4
TEST(GatewayRequests, rfc9484_7_2_ipv6_on_a_small_path_ends_the_request) {
  GatewayWorld w({.ipv6_mtu_grace = 15s});
  auto& anna = w.connect("anna");
  anna.limit = 1166;
  w.request(anna, kStream);
  EXPECT_EQ(w.gateway.next_timeout(), at(15s));
  w.turn(15s);
  w.gateway.on_timeout(at(15s));
  EXPECT_TRUE(anna.streams[kStream].aborted);
  EXPECT_EQ(w.events<SessionDown>()[0].end, SessionEnd::MtuTooSmall);
}

TEST(GatewayRequests, a_full_stream_buffer_is_tried_again) {
  GatewayWorld w;
  auto& anna = w.connect("anna");
  anna.buffer_full = true;
  w.request(anna, kStream);
  EXPECT_TRUE(anna.streams[kStream].data.empty());
  anna.buffer_full = false;
  w.gateway.flush();
  EXPECT_EQ(w.capsules(anna).assigns.size(), 1u);
}

TEST(GatewayRequests, what_is_longer_than_the_stream_buffer_leaves_in_pieces) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  std::vector<IpPrefix> routes;
  for (uint32_t i = 0; i < kAddressRangesMax; ++i)
    routes.push_back(IpPrefix::host(IpAddress::v4(0x0a000000 + 2 * i)));
  policy.clients["anna"].routes = routes;
  GatewayWorld w({}, policy);
  auto& anna = w.connect("anna");
  constexpr size_t kRoom = 24 * 1024;
  anna.buffer_room = kRoom;
  w.request(anna, kStream);
  for (int i = 0; i < 10; ++i) {
    anna.buffer_room = kRoom;
    w.gateway.flush();
  }
  ASSERT_EQ(w.capsules(anna).routes.size(), 1u);
  EXPECT_EQ(w.capsules(anna).routes[0].ranges.size(), kAddressRangesMax);
}

// The next step of a shutdown, when it is due and not before.
void step(GatewayWorld& w, Duration now) {
  EXPECT_EQ(w.gateway.next_timeout(), test::at(now));
  w.turn(now);
  w.gateway.on_timeout(test::at(now));
}

// proves: W8, W10
TEST(GatewayRequests, rfc9114_5_2_a_planned_end_is_told_in_steps) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  auto& carl = w.connect("carl");
  w.request(carl, kStream, "/.well-known/masque/ip/host.example/*/");
  w.gateway.shut_down();
  EXPECT_EQ(anna.goaways, 1);
  w.send(anna, test::make_packet("10.8.0.2", "10.1.1.1"));
  EXPECT_EQ(w.tun.packets.size(), 1u) << "a live tunnel goes on";
  EXPECT_EQ(carl.streams[kStream].aborted, HttpError::RequestRejected) << "a name was waited for";
  auto& bert = w.open("bert");
  EXPECT_EQ(bert.goaways, 1);
  EXPECT_EQ(bert.streams[kStream].aborted, HttpError::RequestRejected);
  EXPECT_EQ(bert.status(kStream), "");

  step(w, Gateway::kShutdownStep);
  EXPECT_EQ(anna.goaways, 2);
  EXPECT_TRUE(anna.streams[kStream].fin);
  EXPECT_FALSE(anna.closed);
  EXPECT_EQ(w.events<SessionDown>()[0].end, SessionEnd::ShuttingDown);
  EXPECT_TRUE(w.events<ShutDown>().empty());

  step(w, 2 * Gateway::kShutdownStep);
  for (const auto* connection : {&anna, &bert, &carl})
    EXPECT_EQ(connection->closed, HttpError::NoError);
  EXPECT_EQ(w.events<ShutDown>().size(), 1u);
  EXPECT_EQ(w.gateway.next_timeout(), std::nullopt);
}

TEST(GatewayRequests, a_planned_end_without_clients_or_asked_twice_is_at_once) {
  GatewayWorld nobody;
  nobody.gateway.shut_down();
  EXPECT_EQ(nobody.events<ShutDown>().size(), 1u);
  GatewayWorld w;
  auto& anna = w.open("anna");
  w.gateway.shut_down();
  w.gateway.shut_down();
  EXPECT_EQ(anna.closed, HttpError::NoError);
  EXPECT_EQ(w.events<SessionDown>().size(), 1u);
  EXPECT_EQ(w.events<ShutDown>().size(), 1u);
  EXPECT_EQ(w.gateway.next_timeout(), std::nullopt);
}

}  // namespace
}  // namespace masque
