// SPDX-License-Identifier: Apache-2.0
#include "core/client/tunnel_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "core/client/response.h"
#include "core/http/fake_http_connection.h"
#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;
using test::datagram;
using test::FakeHttpConnection;
using test::make_packet;
using test::nets;

const StreamId kStream(0);

// 10.8.0.2/32 and 10.0.0.0/8, as capsules.
constexpr std::string_view kAssign = "0107 00 04 0a080002 20";
constexpr std::string_view kRoutes = "030a 04 0a000000 0affffff 00";

struct World {
  explicit World(TunnelClientConfig config = {}) {
    if (config.uri_template.empty()) {
      config.uri_template = "https://vpn.example:4433/.well-known/masque/ip/{target}/{ipproto}/";
    }
    auto created = TunnelClient::create(std::move(config), rng);
    EXPECT_TRUE(created) << created.error();
    client = std::move(*created);
    turn(0s);
  }
  void turn(Duration now) { client->begin_turn(at(now), transmit, tun); }
  void timeout(Duration now) {
    turn(now);
    client->on_timeout(at(now));
    client->flush();
  }
  FakeHttpConnection& dial() {
    FakeHttpConnection& connection = connections.emplace_back();
    connection.is_usable = false;
    client->on_dialed(connection);
    return connection;
  }
  void settings(FakeHttpConnection& connection) {
    connection.is_usable = true;
    client->on_settings(connection);
  }
  void answer(FakeHttpConnection& connection, std::string status, HeaderFields more = {}) {
    HeaderFields fields = {{":status", std::move(status)}};
    fields.insert(fields.end(), more.begin(), more.end());
    client->on_response(connection, kStream, fields, false);
    client->flush();
  }
  void feed(FakeHttpConnection& connection, std::string_view hex) {
    client->on_stream_data(connection, kStream, from_hex(hex).value());
    client->flush();
  }
  // start() up to Connected.
  FakeHttpConnection& connect() {
    client->start();
    FakeHttpConnection& connection = dial();
    settings(connection);
    answer(connection, "200");
    feed(connection, kAssign);
    feed(connection, kRoutes);
    return connection;
  }
  std::vector<ClientEvent> events() {
    std::vector<ClientEvent> out;
    while (auto event = client->poll_event()) out.push_back(std::move(*event));
    return out;
  }
  template <class Event>
  std::vector<Event> only(const std::vector<ClientEvent>& all) {
    std::vector<Event> out;
    for (const ClientEvent& event : all) {
      if (const Event* wanted = std::get_if<Event>(&event)) out.push_back(*wanted);
    }
    return out;
  }

  SeededRng rng{1};
  test::FakeTransmit transmit;
  test::CollectingSink tun;
  std::deque<FakeHttpConnection> connections;
  std::unique_ptr<TunnelClient> client;
};

std::string error_of(TunnelClientConfig config) {
  SeededRng rng(1);
  const auto created = TunnelClient::create(std::move(config), rng);
  return created ? "" : created.error();
}

// proves: T2, T3, T5, T6, T7
TEST(TunnelClient, rfc9484_3_a_bad_template_is_refused_before_anything_is_sent) {
  EXPECT_NE(error_of({.uri_template = "https://vpn.example/{+target}/"}), "");
  EXPECT_NE(error_of({.uri_template = "http://vpn.example/"}), "");
  EXPECT_NE(error_of({.uri_template = "https://{target}/"}), "");
  EXPECT_NE(error_of({.uri_template = "https://vpn.example/ip", .target = "192.0.2.1"}), "");
  EXPECT_NE(error_of({.uri_template = "https://vpn.example/{target}", .target = "192.0.2.1/24"}),
            "");
  EXPECT_NE(error_of({.uri_template = "https://vpn.example/{ipproto}", .protocol = "256"}), "");
  EXPECT_EQ(error_of({.uri_template = "https://vpn.example/ip"}), "");
}

// proves: Q1, Q2, Q3, C2, C3, T9
TEST(TunnelClient, rfc9484_4_5_the_request_waits_for_settings) {
  World w({.target = "192.0.2.0/24", .protocol = "17"});
  w.client->start();
  auto& connection = w.dial();
  EXPECT_TRUE(connection.streams.empty());
  w.settings(connection);
  ASSERT_EQ(connection.streams.size(), 1u);
  const HeaderFields& fields = connection.streams[kStream].request;
  EXPECT_EQ(find_field(fields, ":method"), "CONNECT");
  EXPECT_EQ(find_field(fields, ":protocol"), "connect-ip");
  EXPECT_EQ(find_field(fields, ":scheme"), "https");
  EXPECT_EQ(find_field(fields, ":authority"),
            "vpn.example:4433");  // the port stays (protocol.md trap 2)
  EXPECT_EQ(find_field(fields, ":path"), "/.well-known/masque/ip/192.0.2.0%2F24/17/");
  EXPECT_EQ(find_field(fields, "capsule-protocol"), "?1");
  EXPECT_FALSE(find_field(fields, "authorization"));
  EXPECT_FALSE(connection.streams[kStream].fin);
}

TEST(TunnelClient, a_bearer_token_goes_with_the_request) {
  World w({.bearer_token = "secret"});
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  EXPECT_EQ(find_field(connection.streams[kStream].request, "authorization"), "Bearer secret");
}

// proves: Q1
TEST(TunnelClient, faults_d14_a_gateway_without_extended_connect_is_no_retry_storm) {
  World w;
  w.client->start();
  auto& connection = w.dial();
  w.client->on_settings(connection);
  EXPECT_EQ(w.client->state(), ClientState::Failed);
  EXPECT_THAT(w.client->last_error(), testing::HasSubstr("no extended CONNECT"));
  EXPECT_TRUE(connection.streams.empty());
  EXPECT_GE(*w.client->next_timeout(), at(15s));

  World lenient({.settings = TunnelClientConfig::Settings::Ignore});  // protocol.md trap 10
  lenient.client->start();
  auto& other = lenient.dial();
  lenient.client->on_settings(other);
  EXPECT_EQ(other.streams.size(), 1u);
}

// proves: Q4, A6
TEST(TunnelClient, connected_is_told_after_addresses_routes_and_mtu) {
  World w;
  auto& connection = w.connect();
  EXPECT_EQ(w.client->state(), ClientState::Connected);
  const auto events = w.events();
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(std::get<ClientStateChanged>(events[0]).state, ClientState::Connecting);
  EXPECT_TRUE(std::holds_alternative<Dial>(events[1]));
  EXPECT_EQ(std::get<MtuChanged>(events[2]).mtu, 1400u);
  EXPECT_EQ(std::get<AddressesChanged>(events[3]).addresses, nets({"10.8.0.2/32"}));
  EXPECT_EQ(std::get<RoutesChanged>(events[4]).routes, nets({"10.0.0.0/8"}));
  EXPECT_EQ(std::get<ClientStateChanged>(events[5]).state, ClientState::Connected);
  EXPECT_TRUE(connection.streams[kStream].datagrams);
  EXPECT_TRUE(connection.streams[kStream].data.empty());  // nothing had to be asked
}

TEST(TunnelClient, trap_10_a_gateway_that_never_sends_routes) {
  World w;
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  w.answer(connection, "200");
  w.feed(connection, kAssign);
  EXPECT_EQ(w.client->state(), ClientState::Connecting);
  w.timeout(1s);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
}

TEST(TunnelClient, a_withdrawn_address_leaves_no_timer_that_fires_for_ever) {
  World w;
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  w.answer(connection, "200");
  w.feed(connection, kAssign);
  w.feed(connection, "0100");
  w.timeout(1s);
  EXPECT_EQ(w.client->state(), ClientState::Connecting);
  EXPECT_EQ(w.client->next_timeout(), at(15s));  // the whole attempt
  w.feed(connection, kAssign);
  w.feed(connection, kRoutes);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
}

// proves: A6, R1
TEST(TunnelClient, rfc9484_4_7_2_asks_when_nothing_is_assigned) {
  World w({.address_wait = 1s});
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  w.answer(connection, "200");
  EXPECT_TRUE(connection.streams[kStream].data.empty());
  w.timeout(1s);
  EXPECT_EQ(to_hex(connection.streams[kStream].data),
            "021a0104000000002002060000000000000000000000000000000080");
  // Both are denied: there is nothing to wait for.
  w.feed(connection, "011a 01 04 00000000 20 02 06 00000000000000000000000000000000 80");
  EXPECT_EQ(w.client->state(), ClientState::Connecting);
  EXPECT_THAT(w.client->last_error(), testing::HasSubstr("no address"));
}

TEST(TunnelClient, trap_8_an_answer_with_request_id_0_counts) {
  World w;
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  w.answer(connection, "200");
  w.timeout(1s);
  w.feed(connection, kAssign);
  w.feed(connection, kRoutes);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
}

TEST(TunnelClient, static_addresses_connect_at_the_answer) {
  World w({.static_addresses = nets({"172.16.0.2/32"})});
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  w.answer(connection, "200");
  w.timeout(1s);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
  EXPECT_EQ(w.client->addresses(), nets({"172.16.0.2/32"}));
  EXPECT_TRUE(connection.streams[kStream].data.empty());
}

// proves: Q5
TEST(TunnelClient, rfc9484_4_5_other_answers_are_failures) {
  struct Case {
    const char* status;
    ClientState state;
  };
  for (const Case& c :
       {Case{"302", ClientState::Failed}, Case{"401", ClientState::Failed},
        Case{"403", ClientState::Failed}, Case{"404", ClientState::Failed},
        Case{"501", ClientState::Failed}, Case{"503", ClientState::Connecting},
        Case{"429", ClientState::Connecting}, Case{"502", ClientState::Connecting}}) {
    World w;
    w.client->start();
    auto& connection = w.dial();
    w.settings(connection);
    w.answer(connection, c.status,
             {{"proxy-status", "vpn1; error=http_request_denied; details=\"not you\""}});
    EXPECT_EQ(w.client->state(), c.state) << c.status;
    EXPECT_TRUE(connection.streams[kStream].aborted) << c.status;
    EXPECT_TRUE(connection.closed) << c.status;
    EXPECT_THAT(w.client->last_error(), testing::HasSubstr("not you")) << c.status;
    EXPECT_EQ(w.only<HangUp>(w.events()).size(), 1u) << c.status;
    // Failed is not for ever: somebody may grant access meanwhile.
    const Duration next = *w.client->next_timeout() - at(0s);
    EXPECT_EQ(next > Duration(10s), c.state == ClientState::Failed) << c.status;
    w.timeout(next);
    EXPECT_EQ(w.only<Dial>(w.events()).size(), 1u) << c.status;
  }
}

// proves: H16, Q4
TEST(TunnelClient, rfc9297_3_2_a_success_that_is_none_is_malformed) {
  for (const auto& [status, field] :
       std::vector<std::pair<const char*, const char*>>{{"204", ""},
                                                        {"205", ""},
                                                        {"206", ""},
                                                        {"200", "content-length"},
                                                        {"200", "content-type"},
                                                        {"200", "transfer-encoding"}}) {
    World w;
    w.client->start();
    auto& connection = w.dial();
    w.settings(connection);
    HeaderFields more;
    if (*field != 0) more.push_back({field, "1"});
    w.answer(connection, status, more);
    EXPECT_EQ(connection.streams[kStream].aborted, HttpError::Message) << status << field;
    EXPECT_EQ(w.client->state(), ClientState::Failed);
  }
}

// proves: Q3, Q4
TEST(Response, any_2xx_without_capsule_protocol_is_a_tunnel) {
  EXPECT_EQ(judge_response({{":status", "200"}}).kind, ResponseVerdict::Kind::Tunnel);
  EXPECT_EQ(judge_response({{":status", "299"}}).kind, ResponseVerdict::Kind::Tunnel);
  for (const char* status : {"", "abc", "20", "2000", "100", "-20"}) {
    EXPECT_EQ(judge_response({{":status", status}}).kind, ResponseVerdict::Kind::Malformed)
        << status;
  }
  EXPECT_EQ(judge_response({}).kind, ResponseVerdict::Kind::Malformed);
}

TEST(TunnelClient, packets_flow_both_ways_and_are_checked) {
  World w;
  auto& connection = w.connect();
  const auto up = make_packet("10.8.0.2", "10.1.1.1");
  w.client->on_tun_packet({.head = up, .body = {}});
  EXPECT_THAT(connection.streams[kStream].packets, testing::ElementsAre(up));
  const auto outside = make_packet("10.8.0.2", "192.0.2.1");
  w.client->on_tun_packet({.head = outside, .body = {}});
  ASSERT_EQ(w.tun.packets.size(), 1u);  // ICMP: no route
  const auto down = make_packet("10.1.1.1", "10.8.0.2");
  w.client->on_http_datagram(connection, kStream, datagram(down));
  w.client->on_http_datagram(connection, kStream, datagram(make_packet("10.1.1.1", "10.8.0.3")));
  EXPECT_EQ(w.tun.packets.size(), 2u);
  EXPECT_EQ(w.tun.packets.back(), down);
  EXPECT_EQ(w.client->counters().packets_sent, 1u);
  EXPECT_EQ(w.client->counters().packets_received, 1u);
  EXPECT_EQ(w.client->counters().dropped(DropReason::NotOurAddress), 1u);
}

TEST(TunnelClient, live_changes_by_capsule_are_told) {
  World w;
  auto& connection = w.connect();
  w.events();
  w.feed(connection, "0107 00 04 0a080063 20");
  w.feed(connection, "030a 04 0a010000 0a01ffff 00");
  connection.limit = 1372;
  w.client->flush();
  const auto events = w.events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(std::get<AddressesChanged>(events[0]).addresses, nets({"10.8.0.99/32"}));
  EXPECT_EQ(std::get<RoutesChanged>(events[1]).routes, nets({"10.1.0.0/16"}));
  EXPECT_EQ(std::get<MtuChanged>(events[2]).mtu, 1372u);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
}

TEST(TunnelClient, faults_c5_routes_that_the_configuration_does_not_take_are_reported) {
  World w({.acceptance = {.exclude = nets({"10.255.0.1/32"})}});
  auto& connection = w.connect();
  w.events();
  w.feed(connection, "030a 04 00000000 ffffffff 00");
  const auto routes = w.only<RoutesChanged>(w.events());
  ASSERT_EQ(routes.size(), 1u);
  EXPECT_TRUE(routes[0].routes.empty());
  EXPECT_EQ(routes[0].refused, nets({"0.0.0.0/0"}));
  const auto up = make_packet("10.8.0.2", "10.1.1.1");
  w.client->on_tun_packet({.head = up, .body = {}});
  EXPECT_TRUE(connection.streams[kStream].packets.empty());  // what is refused is not sent either
}

TEST(TunnelClient, faults_c5_many_lists_of_routes_change_the_host_seldom) {
  World w;
  auto& connection = w.connect();
  w.events();
  for (int i = 0; i < 100; ++i) {
    w.feed(connection, "030a 04 0a010000 0a01ffff 00");
    w.feed(connection, "030a 04 0a020000 0a02ffff 00");
  }
  EXPECT_LE(w.only<RoutesChanged>(w.events()).size(), 8u);
  // The newest of them is not lost.
  w.feed(connection, "030a 04 0a030000 0a03ffff 00");
  ASSERT_TRUE(w.client->next_timeout());
  EXPECT_LE(*w.client->next_timeout(), at(1s));
  w.timeout(1s);
  const auto routes = w.only<RoutesChanged>(w.events());
  ASSERT_EQ(routes.size(), 1u);
  EXPECT_EQ(routes[0].routes, nets({"10.3.0.0/16"}));
}

// proves: X, V6
TEST(TunnelClient, faults_c5_a_gateway_that_breaks_the_protocol_is_left) {
  World w;
  auto& connection = w.connect();
  w.events();
  w.feed(connection, "03 14 04 c0000200 c000020a 00 04 c000020a c0000214 00");
  EXPECT_EQ(connection.streams[kStream].aborted, to_http_error(WireError::RouteOrder));
  EXPECT_EQ(w.client->state(), ClientState::Reconnecting);
  EXPECT_THAT(w.client->last_error(), testing::HasSubstr("protocol"));
}

// proves: L3, I7
TEST(TunnelClient, faults_d13_every_way_to_lose_a_tunnel_leads_to_a_new_one) {
  using End = void (*)(World&, FakeHttpConnection&);
  const std::vector<std::pair<const char*, End>> ends = {
      {"fin", [](World& w, auto& c) { w.client->on_stream_fin(c, kStream); }},
      {"reset", [](World& w, auto& c) { w.client->on_stream_closed(c, kStream, 0x10c); }},
      {"connection",
       [](World& w, auto& c) {
         w.client->on_connection_gone(c);
         w.client->on_connection_lost("idle timeout");
       }},
      {"gone without a word",
       [](World& w, auto& c) {
         w.client->on_connection_gone(c);
         w.client->flush();
       }},
  };
  for (const auto& [name, end] : ends) {
    World w;
    auto& connection = w.connect();
    w.events();
    end(w, connection);
    EXPECT_EQ(w.client->state(), ClientState::Reconnecting) << name;
    EXPECT_EQ(w.client->reconnects(), 1u) << name;
    EXPECT_NE(w.client->last_error(), "") << name;
    EXPECT_EQ(w.client->addresses(), nets({"10.8.0.2/32"})) << name;  // the interface stays
    w.client->on_stream_closed(connection, kStream, 0x10c);           // late news are no news
    w.client->on_connection_lost("late");
    EXPECT_EQ(w.client->reconnects(), 1u) << name;
    w.timeout(500ms);
    EXPECT_EQ(w.only<Dial>(w.events()).size(), 1u) << name;
    auto& next = w.dial();
    w.settings(next);
    w.answer(next, "200");
    w.feed(next, kRoutes);
    EXPECT_EQ(w.client->state(), ClientState::Reconnecting) << name;  // not before addresses
    w.feed(next, kAssign);
    EXPECT_EQ(w.client->state(), ClientState::Connected) << name;
    EXPECT_TRUE(w.only<AddressesChanged>(w.events()).empty()) << name;  // the same as before
  }
}

// proves: W8
TEST(TunnelClient, rfc9114_5_2_goaway_above_our_stream_changes_nothing) {
  World w;
  auto& connection = w.connect();
  w.client->on_goaway(connection, StreamId((uint64_t{1} << 62) - 4));
  w.client->on_goaway(connection, StreamId(4));
  EXPECT_EQ(w.client->state(), ClientState::Connected);
  w.client->on_goaway(connection, StreamId(0));
  EXPECT_EQ(w.client->state(), ClientState::Reconnecting);
}

TEST(TunnelClient, a_silent_gateway_is_given_up_in_time) {
  World w({.answer_timeout = 15s});
  w.client->start();
  w.events();
  w.timeout(15s);  // no connection at all
  EXPECT_EQ(w.client->state(), ClientState::Connecting);
  EXPECT_EQ(w.client->last_error(), "the gateway does not answer");
  auto& late = w.dial();
  EXPECT_TRUE(late.closed);  // the host was too slow
  w.timeout(16s);
  auto& connection = w.dial();
  w.settings(connection);
  w.timeout(31s);
  EXPECT_THAT(w.client->last_error(), testing::HasSubstr("request"));
  EXPECT_TRUE(connection.closed);
}

TEST(TunnelClient, stop_ends_the_stream_and_the_connection) {
  World w;
  auto& connection = w.connect();
  w.events();
  w.client->stop();
  EXPECT_TRUE(connection.streams[kStream].fin);
  EXPECT_EQ(connection.closed, HttpError::NoError);
  EXPECT_EQ(w.client->state(), ClientState::Idle);
  EXPECT_EQ(w.client->next_timeout(), std::nullopt);
  const auto events = w.events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<HangUp>(events[0]));
  w.client->on_connection_gone(connection);
  w.client->on_connection_lost("closed");
  w.client->flush();
  EXPECT_TRUE(w.events().empty());
  w.client->start();
  EXPECT_EQ(w.only<Dial>(w.events()).size(), 1u);
}

TEST(TunnelClient, another_network_skips_the_back_off) {
  World w;
  w.client->start();
  for (int i = 0; i < 5; ++i) {
    w.client->on_connection_lost("unreachable");
    w.turn(100s * i);
    w.client->on_network_changed();
    EXPECT_LE(w.client->next_timeout(), at(100s * i));
    w.timeout(100s * i);
  }
  EXPECT_EQ(w.only<Dial>(w.events()).size(), 6u);
}

// proves: L4, V1
TEST(TunnelClient, site_subnets_are_advertised_and_can_change) {
  World w({.site_subnets = nets({"192.168.7.0/24"})});
  auto& connection = w.connect();
  EXPECT_EQ(to_hex(connection.streams[kStream].data), "030a04c0a80700c0a807ff00");
  const auto up = make_packet("192.168.7.4", "10.1.1.1");
  w.client->on_tun_packet({.head = up, .body = {}});
  EXPECT_EQ(connection.streams[kStream].packets.size(), 1u);
  connection.streams[kStream].data.clear();
  w.client->set_site_subnets(nets({"192.168.7.0/24"}));
  w.client->flush();
  EXPECT_EQ(to_hex(connection.streams[kStream].data), "") << "nothing changed";
  w.client->set_site_subnets({});
  w.client->flush();
  EXPECT_EQ(to_hex(connection.streams[kStream].data), "0300");
}

bool is_sent(World& w, FakeHttpConnection& connection, std::string_view destination) {
  auto& sent = connection.streams[kStream].packets;
  sent.clear();
  const auto packet = make_packet("10.8.0.2", destination);
  w.client->on_tun_packet({.head = packet, .body = {}});
  return !sent.empty();
}

// proves: L4, V8
TEST(TunnelClient, accepted_routes_change_on_a_live_tunnel) {
  World w;
  auto& connection = w.connect();
  EXPECT_TRUE(is_sent(w, connection, "10.1.1.1"));
  w.events();
  w.client->set_acceptance({.exclude = nets({"10.0.0.0/9"})});
  auto changed = w.only<RoutesChanged>(w.events());
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].routes, nets({"10.128.0.0/9"}));
  EXPECT_FALSE(is_sent(w, connection, "10.1.1.1"));
  EXPECT_TRUE(is_sent(w, connection, "10.200.1.1"));

  w.client->set_acceptance({.only = nets({"192.168.0.0/16"})});
  changed = w.only<RoutesChanged>(w.events());
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_TRUE(changed[0].routes.empty());
  EXPECT_EQ(changed[0].refused, nets({"10.0.0.0/8"}));

  w.client->set_acceptance({});
  EXPECT_EQ(w.client->routes(), nets({"10.0.0.0/8"}));
  EXPECT_TRUE(is_sent(w, connection, "10.1.1.1"));
  EXPECT_EQ(w.client->reconnects(), 0u);
}

TEST(TunnelClient, accepted_routes_change_while_it_dials_again) {
  World w;
  auto& connection = w.connect();
  w.client->on_stream_fin(connection, kStream);
  w.events();
  w.client->set_acceptance({.exclude = nets({"10.0.0.0/9"})});
  EXPECT_EQ(w.client->routes(), nets({"10.128.0.0/9"})) << "the routing table is kept meanwhile";
  EXPECT_EQ(w.only<RoutesChanged>(w.events()).size(), 1u);
  w.timeout(1s);
  auto& second = w.dial();
  w.settings(second);
  w.answer(second, "200");
  w.client->set_acceptance({});  // before this gateway has said what it has
  EXPECT_EQ(w.client->routes(), nets({"10.0.0.0/8"}));
  w.feed(second, kAssign);
  EXPECT_FALSE(is_sent(w, second, "10.1.1.1"));
  w.feed(second, kRoutes);
  EXPECT_TRUE(is_sent(w, second, "10.1.1.1"));
}

// proves: R4, R5
TEST(TunnelClient, rfc9484_4_7_2_a_gateway_that_asks_gets_a_denial) {
  World w;
  auto& connection = w.connect();
  w.feed(connection, "0207 01 04 00000000 20");
  EXPECT_EQ(to_hex(connection.streams[kStream].data), "010701040000000020");
}

// proves: U4
TEST(TunnelClient, rfc9484_7_2_ipv6_on_a_small_path_ends_with_a_reason) {
  World w;
  w.client->start();
  auto& connection = w.dial();
  connection.limit = 1166;
  w.settings(connection);
  w.answer(connection, "200");
  w.feed(connection, "0113 00 06 fd000000000000000000000000000002 80");
  w.feed(connection, kRoutes);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
  w.timeout(15s);
  EXPECT_EQ(w.client->state(), ClientState::Reconnecting);
  EXPECT_THAT(w.client->last_error(), testing::HasSubstr("1280"));
  EXPECT_TRUE(connection.streams[kStream].aborted);
  EXPECT_TRUE(w.only<Ipv6Dropped>(w.events()).empty()) << "there is no IPv4 to go on with";
}

// proves: U4
TEST(TunnelClient, rfc9484_7_2_a_small_path_is_used_for_ipv4_alone) {
  constexpr std::string_view kBoth =
      "011a 00 04 0a080002 20 00 06 fd000000000000000000000000000002 80";
  World w;
  w.client->start();
  auto& first = w.dial();
  first.limit = 1166;
  w.settings(first);
  w.answer(first, "200");
  w.feed(first, kBoth);
  w.feed(first,
         "032c 04 0a000000 0affffff 00 06 fd000000000000000000000000000000 "
         "fd00ffffffffffffffffffffffffffff 00");
  w.client->flush();
  // The gateway is the first to notice.
  w.turn(15s);
  w.client->on_stream_closed(first, kStream, static_cast<uint64_t>(HttpError::RequestCancelled));
  EXPECT_THAT(w.client->last_error(), testing::HasSubstr("1280"));
  const auto dropped = w.only<Ipv6Dropped>(w.events());
  ASSERT_EQ(dropped.size(), 1u);
  EXPECT_EQ(dropped[0].mtu, 1166u);
  EXPECT_EQ(dropped[0].retry_after, 10min);

  w.timeout(16s);
  auto& second = w.dial();
  second.limit = 1166;
  w.settings(second);
  EXPECT_THAT(*find_field(second.streams[kStream].request, ":path"),
              testing::HasSubstr("0.0.0.0%2F0"));
  w.answer(second, "200");
  w.feed(second, kBoth);  // a gateway that does not care
  w.feed(second, kRoutes);
  w.client->flush();
  EXPECT_EQ(w.client->state(), ClientState::Connected);
  EXPECT_EQ(w.client->addresses(), nets({"10.8.0.2/32"}));
  EXPECT_EQ(w.client->routes(), nets({"10.0.0.0/8", "fd00::/16"})) << "IPv6 leaves not past it";
  w.client->set_acceptance({.exclude = nets({"fd00::/17"})});
  EXPECT_EQ(w.client->routes(), nets({"10.0.0.0/8", "fd00:8000::/17"})) << "but where it is to";
  w.timeout(5min);
  EXPECT_EQ(w.client->state(), ClientState::Connected) << "nothing asks for 1280 bytes";
  w.timeout(11min);
  w.dial();
  EXPECT_THAT(w.client->last_error(), testing::HasSubstr("IPv6 again"));
}

// Both families, over a path that QUIC finds wide enough.
FakeHttpConnection& connect_both(World& w) {
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  w.answer(connection, "200");
  w.feed(connection, "011a 00 04 0a080002 20 00 06 fd000000000000000000000000000002 80");
  w.feed(connection, kRoutes);
  return connection;
}

// Lets time pass until `end`, with answers to echo requests of up to `size_max`.
void answer_pings(World& w, FakeHttpConnection& connection, size_t size_max, Duration end) {
  while (w.client->next_timeout() && *w.client->next_timeout() < at(end) &&
         w.client->state() == ClientState::Connected) {
    w.timeout(*w.client->next_timeout() - at(0s));
    for (const auto& packet : std::exchange(connection.streams[kStream].packets, {})) {
      if (packet.size() > size_max) continue;
      w.client->on_http_datagram(connection, kStream, datagram(test::answer_to(packet, "fd00::1")));
    }
  }
}

// proves: U3
TEST(TunnelClient, rfc9484_7_2_a_gateway_that_answers_no_pings_is_told) {
  World w;
  auto& connection = connect_both(w);
  answer_pings(w, connection, 0, 16s);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
  EXPECT_EQ(w.only<Ipv6Unproven>(w.events()).size(), 1u);
  EXPECT_EQ(w.client->figures().ipv6_probe, MtuProbe::State::Unanswered);
  EXPECT_EQ(w.client->counters().ipv6_probes_unanswered, 1u);
}

TEST(TunnelClient, answered_pings_of_1280_bytes_are_nothing_to_tell) {
  World w;
  auto& connection = connect_both(w);
  answer_pings(w, connection, 1280, 16s);
  EXPECT_EQ(w.client->state(), ClientState::Connected);
  EXPECT_TRUE(w.only<Ipv6Unproven>(w.events()).empty());
  EXPECT_EQ(w.client->figures().ipv6_probe, MtuProbe::State::Confirmed);
}

// proves: U3
TEST(TunnelClient, rfc9484_7_2_small_answers_alone_end_the_tunnel_and_ipv4_goes_on) {
  for (const bool gateway_is_first : {false, true}) {
    World w;
    auto& connection = connect_both(w);
    answer_pings(w, connection, 100, gateway_is_first ? 14s : 16s);
    if (gateway_is_first) {
      w.turn(15s);
      w.client->on_stream_closed(connection, kStream,
                                 static_cast<uint64_t>(HttpError::RequestCancelled));
    }
    EXPECT_EQ(w.client->state(), ClientState::Reconnecting);
    EXPECT_THAT(w.client->last_error(), testing::HasSubstr("1280"));
    const auto dropped = w.only<Ipv6Dropped>(w.events());
    ASSERT_EQ(dropped.size(), 1u);
    EXPECT_GE(dropped[0].mtu, 1280u);
    // QUIC finds the path wide enough all the time: that is no reason to ask for IPv6 again soon.
    w.timeout(17s);
    auto& second = w.dial();
    w.settings(second);
    EXPECT_THAT(*find_field(second.streams[kStream].request, ":path"),
                testing::HasSubstr("0.0.0.0%2F0"));
    w.answer(second, "200");
    w.feed(second, kAssign);
    w.feed(second, kRoutes);
    w.timeout(5min);
    EXPECT_EQ(w.client->state(), ClientState::Connected);
  }
}

// proves: Q8
TEST(TunnelClient, nothing_is_sent_before_the_answer) {
  World w;
  w.client->start();
  auto& connection = w.dial();
  w.settings(connection);
  const auto up = make_packet("10.8.0.2", "10.1.1.1");
  w.client->on_tun_packet({.head = up, .body = {}});
  w.client->on_http_datagram(connection, kStream, datagram(make_packet("10.1.1.1", "10.8.0.2")));
  EXPECT_TRUE(connection.streams[kStream].packets.empty());
  EXPECT_TRUE(w.tun.packets.empty());
  EXPECT_EQ(w.client->counters().dropped(DropReason::NotReady), 1u);
}

TEST(TunnelClient, a_slow_path_holds_the_tun_back) {
  World w({.queue_bytes_max = 64 * 1024});
  auto& connection = w.connect();
  connection.blocked = true;
  const auto up = make_packet("10.8.0.2", "10.1.1.1", {.size = 1000});
  for (int i = 0; i < 40; ++i) w.client->on_tun_packet({.head = up, .body = {}});
  EXPECT_FALSE(w.client->wants_more());
  connection.blocked = false;
  w.client->flush();
  EXPECT_TRUE(w.client->wants_more());
  EXPECT_EQ(connection.streams[kStream].packets.size(), 40u);
}

}  // namespace
}  // namespace masque
