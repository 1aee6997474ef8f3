// SPDX-License-Identifier: Apache-2.0
// Capsules in every order, on a live tunnel, in both directions: what may be said at any time must
// be understood at any time (RFC 9484 4.7).
#include "core/capsule/capsule.h"

#include <algorithm>
#include <map>

#include "core/capsule/capsule_reader.h"
#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

using Bytesv = std::vector<uint8_t>;

// --- a proxy that speaks as the scenario wants, before our client ---

struct ProxyScript {
  // (delay after the response, capsule)
  std::vector<std::pair<Duration, Bytesv>> capsules;
};

ScriptedServer& proxy_that_says(Lab& lab, const ProxyScript& script) {
  const auto self = std::make_shared<ScriptedServer*>(nullptr);
  ScriptedServer& server = lab.add_scripted_server(
      [&lab, script, self](HttpConnection& connection, StreamId stream, const HeaderFields&) {
        connection.respond(stream, connect_ip_response(), StreamEnd::KeepOpen);
        connection.enable_datagrams(lab.world.now(), stream);
        for (const auto& [delay, capsule] : script.capsules) {
          if (delay == Duration::zero()) {
            connection.send_stream_data(stream, capsule);
            continue;
          }
          lab.world.after(delay, [self, capsule, of_request = (*self)->requests()] {
            (*self)->act([self, capsule, of_request](HttpConnection& newest, TransmitTarget&) {
              if ((*self)->requests() == of_request)
                newest.send_stream_data(*(*self)->newest_stream(), capsule);
            });
          });
        }
      });
  *self = &server;
  return server;
}

Bytesv assign(std::initializer_list<std::string_view> prefixes, uint64_t request_id = 0) {
  std::vector<RawAddress> out;
  for (const std::string_view text : prefixes)
    out.push_back({.request_id = request_id, .prefix = Lab::prefix(text)});
  return raw_address_assign(out);
}
Bytesv routes(std::initializer_list<std::string_view> prefixes) {
  std::vector<IpRange> out;
  for (const std::string_view text : prefixes) out.push_back(IpRange::of(Lab::prefix(text)));
  return raw_route_advertisement(out);
}

// The request IDs in what the client has said.
std::vector<RequestedAddress> requests_in(Bytes data) {
  class Visitor final : public CapsuleVisitor {
   public:
    std::vector<RequestedAddress> all;
    Result<void> on_address_request(const AddressRequest& capsule) override {
      all.insert(all.end(), capsule.addresses.begin(), capsule.addresses.end());
      return {};
    }
    Result<void> on_address_assign(const AddressAssign&) override { return {}; }
    Result<void> on_route_advertisement(const RouteAdvertisement&) override { return {}; }
    void on_datagram_capsule(Bytes) override {}
  } visitor;
  EXPECT_TRUE(CapsuleReader(visitor).on_bytes(data).has_value());
  return visitor.all;
}

// proves: A7
SCENARIO(assign_before_request, 2,
         "The proxy assigns unasked: the client takes it and asks for nothing") {
  ScriptedServer& server = proxy_that_says(
      lab, {{{0ms, assign({"10.9.0.7", "2001:db8:9::7"})}, {0ms, routes({"198.51.100.0/24"})}}});
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  lab.run(3s);
  EXPECT_EQ(client.tunnel().addresses().size(), 2u);
  EXPECT_TRUE(requests_in(server.record().find(*server.newest_stream())->data).empty());
  EXPECT_EQ(client.routes().size(), 1u);
  lab.finish();
}

// proves: A6, R1
SCENARIO(request_then_assign, 2,
         "The proxy waits to be asked: the client asks after a second and takes the answer") {
  ScriptedServer& server = proxy_that_says(lab, {});
  SimClient& client = lab.add_client("anna");
  client.start();
  ASSERT_TRUE(lab.until([&] { return server.newest_stream().has_value(); }, 5s));
  lab.run(3s);
  const auto asked = requests_in(server.record().find(*server.newest_stream())->data);
  ASSERT_EQ(asked.size(), 2u) << "any IPv4 and any IPv6";
  for (const RequestedAddress& one : asked) EXPECT_NE(one.request_id.value(), 0u);
  EXPECT_NE(asked[0].request_id, asked[1].request_id);
  server.act([&](HttpConnection& connection, TransmitTarget&) {
    const auto is_v4 = [](const RequestedAddress& one) {
      return one.prefix.version() == IpVersion::V4;
    };
    const auto v4 = std::ranges::find_if(asked, is_v4)->request_id.value();
    const auto v6 = std::ranges::find_if_not(asked, is_v4)->request_id.value();
    connection.send_stream_data(
        *server.newest_stream(),
        raw_address_assign({{.request_id = v4, .prefix = Lab::prefix("10.9.0.8")},
                            {.request_id = v6, .prefix = Lab::prefix("2001:db8:9::8")}}));
    connection.send_stream_data(*server.newest_stream(), routes({"198.51.100.0/24"}));
  });
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 3s));
  EXPECT_EQ(client.inner_address(IpVersion::V4), Lab::address("10.9.0.8"));
  lab.finish();
}

// proves: R5
SCENARIO(one_family_denied, 2,
         "IPv6 is refused with the all-zero address: the tunnel carries IPv4 alone") {
  ScriptedServer& server = proxy_that_says(lab, {});
  SimClient& client = lab.add_client("anna");
  client.start();
  ASSERT_TRUE(lab.until(
      [&] {
        return server.newest_stream() &&
               requests_in(server.record().find(*server.newest_stream())->data).size() == 2;
      },
      5s));
  server.act([&](HttpConnection& connection, TransmitTarget&) {
    std::vector<RawAddress> answer;
    for (const RequestedAddress& one :
         requests_in(server.record().find(*server.newest_stream())->data)) {
      const bool v4 = one.prefix.version() == IpVersion::V4;
      answer.push_back(
          {.request_id = one.request_id.value(),
           .prefix = v4 ? Lab::prefix("10.9.0.9") : IpPrefix::host(IpAddress::any(IpVersion::V6))});
    }
    connection.send_stream_data(*server.newest_stream(), raw_address_assign(answer));
    connection.send_stream_data(*server.newest_stream(), routes({"198.51.100.0/24"}));
  });
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 3s));
  EXPECT_EQ(client.tunnel().addresses(), std::vector{Lab::prefix("10.9.0.9")});
  lab.finish();
}

// proves: L4
SCENARIO(routes_before_addresses, 2,
         "ROUTE_ADVERTISEMENT first, ADDRESS_ASSIGN half a second later") {
  proxy_that_says(lab, {{{0ms, routes({"198.51.100.0/24"})}, {500ms, assign({"10.9.0.7"})}}});
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  EXPECT_EQ(client.inner_address(IpVersion::V4), Lab::address("10.9.0.7"));
  lab.run(1s);
  EXPECT_EQ(client.routes(), std::vector{Lab::prefix("198.51.100.0/24")});
  lab.finish();
}

SCENARIO(capsules_byte_by_byte, 2, "D2: capsules cut at every byte, with unknown ones between") {
  Bytesv all = raw_capsule(0x17 + 0x29 * 1000, Bytesv(300, 0xee));
  const auto append = [&all](const Bytesv& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  append(assign({"10.9.0.7"}));
  append(raw_capsule(0x3fffffff, {}));
  append(routes({"198.51.100.0/24", "203.0.113.0/24"}));
  ProxyScript script;
  for (size_t i = 0; i < all.size(); ++i)
    script.capsules.emplace_back(Duration(1ms) * static_cast<int>(i + 1), Bytesv{all[i]});
  proxy_that_says(lab, script);
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  lab.run(1s);
  EXPECT_EQ(client.routes().size(), 2u);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: A1, V2
SCENARIO(withdraw_and_assign_again, 2,
         "Addresses and routes are replaced, withdrawn by empty lists, and given anew") {
  ProxyScript script;
  script.capsules = {{0ms, assign({"10.9.0.7", "2001:db8:9::7"})},
                     {0ms, routes({"198.51.100.0/24"})},
                     {1s, assign({"10.9.0.7"})},
                     {2s, routes({})},
                     {3s, assign({})},
                     {4s, assign({"10.9.0.99"})},
                     {5s, routes({"203.0.113.0/24"})}};
  ScriptedServer& server = proxy_that_says(lab, script);
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  lab.run(1500ms);
  EXPECT_EQ(client.tunnel().addresses(), std::vector{Lab::prefix("10.9.0.7")});
  lab.run(1s);
  EXPECT_TRUE(client.routes().empty());
  lab.run(3s);
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 3s));
  EXPECT_EQ(client.tunnel().addresses(), std::vector{Lab::prefix("10.9.0.99")});
  EXPECT_EQ(client.routes(), std::vector{Lab::prefix("203.0.113.0/24")});
  EXPECT_EQ(server.requests(), 1u) << "all of it on one request";
  lab.finish();
}

// Malformed capsules end the attempt with H3_MESSAGE_ERROR; the connection itself is not to blame.
void malformed(Lab& lab, Bytesv capsule) {
  ScriptedServer& server = proxy_that_says(lab, {{{0ms, assign({"10.9.0.7"})},
                                                  {0ms, routes({"198.51.100.0/24"})},
                                                  {1s, std::move(capsule)}}});
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  std::optional<StreamId> stream = server.newest_stream();
  EXPECT_TRUE(lab.until([&] { return !client.connected(); }, 2s));
  lab.run(200ms);
  const StreamRecord* record = server.record().find(*stream);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->closed, static_cast<uint64_t>(HttpError::Message));
  lab.run(20s);
  EXPECT_LE(server.requests(), 16u) << "no storm";
  lab.finish();
}

// proves: X1
SCENARIO(malformed_assignment, 2, "Host bits in an assigned prefix: the stream is aborted") {
  const Bytesv value = {0, 4, 10, 9, 0, 7, 24};
  malformed(lab, raw_capsule(0x01, value));
}
// proves: X3, V6
SCENARIO(unordered_routes, 2, "Routes out of order: the stream is aborted") {
  malformed(lab, routes({"203.0.113.0/24", "198.51.100.0/24"}));
}
// proves: H18
SCENARIO(trailing_bytes, 2, "A capsule with a byte too many: the stream is aborted") {
  malformed(lab, raw_capsule(0x01, Bytesv{0, 4, 10, 9, 0, 7, 32, 0xff}));
}

SCENARIO(hostile_routes, 2,
         "C5: default routes in halves, loopback, multicast and the gateway itself are not taken") {
  proxy_that_says(
      lab, {{{0ms, assign({"10.9.0.7"})},
             {0ms, raw_route_advertisement({IpRange{.first = Lab::address("0.0.0.0"),
                                                    .last = Lab::address("127.255.255.255")},
                                            IpRange{.first = Lab::address("128.0.0.0"),
                                                    .last = Lab::address("255.255.255.255")}})}}});
  ClientSetup setup;
  setup.tunnel.acceptance.exclude = {Lab::prefix("192.0.2.1/32")};
  SimClient& client = lab.add_client("anna", std::move(setup));
  ASSERT_TRUE(lab.connect(client));
  lab.run(1s);
  for (const IpPrefix& route : client.routes()) {
    EXPECT_GE(route.length(), 2) << route.to_string();
    EXPECT_FALSE(route.contains(Lab::address("192.0.2.1"))) << route.to_string();
    EXPECT_FALSE(route.contains(Lab::address("127.0.0.1"))) << route.to_string();
    EXPECT_FALSE(route.contains(Lab::address("224.0.0.1"))) << route.to_string();
  }
  lab.finish();
}

// --- a client that speaks as the scenario wants, before our gateway ---

struct Dialogue {
  ScriptedClient& client;
  StreamId stream{0};
};

Dialogue begin(Lab& lab, const std::string& name) {
  ScriptedClient& client = lab.add_scripted_client(name);
  client.dial();
  EXPECT_TRUE(lab.until([&] { return client.ready(); }, 5s));
  std::optional<StreamId> stream;
  client.act([&](Http3Connection& http, TransmitTarget&) {
    stream = http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
  });
  EXPECT_TRUE(lab.until([&] { return stream && client.record().find(*stream) != nullptr; }, 5s));
  return {.client = client, .stream = *stream};
}

void say(const Dialogue& talk, const Bytesv& capsule) {
  talk.client.act([&talk, capsule](Http3Connection& http, TransmitTarget&) {
    http.send_stream_data(talk.stream, capsule);
  });
}

std::vector<AssignedAddress> assignments_in(Bytes data) {
  class Visitor final : public CapsuleVisitor {
   public:
    std::vector<AssignedAddress> newest;
    Result<void> on_address_request(const AddressRequest&) override { return {}; }
    Result<void> on_address_assign(const AddressAssign& capsule) override {
      newest = capsule.addresses;
      return {};
    }
    Result<void> on_route_advertisement(const RouteAdvertisement&) override { return {}; }
    void on_datagram_capsule(Bytes) override {}
  } visitor;
  EXPECT_TRUE(CapsuleReader(visitor).on_bytes(data).has_value());
  return visitor.newest;
}

// Every Request ID that was answered, with what.
std::map<uint64_t, IpPrefix> answers_in(Bytes data) {
  class Visitor final : public CapsuleVisitor {
   public:
    std::map<uint64_t, IpPrefix> all;
    Result<void> on_address_request(const AddressRequest&) override { return {}; }
    Result<void> on_address_assign(const AddressAssign& capsule) override {
      for (const AssignedAddress& one : capsule.addresses)
        all.insert_or_assign(one.request_id.value(), one.prefix);
      return {};
    }
    Result<void> on_route_advertisement(const RouteAdvertisement&) override { return {}; }
    void on_datagram_capsule(Bytes) override {}
  } visitor;
  EXPECT_TRUE(CapsuleReader(visitor).on_bytes(data).has_value());
  return visitor.all;
}

// proves: R4, R4b, A2
SCENARIO(gateway_answers_every_request, 3,
         "The gateway answers each requested address by its Request ID, whatever was asked") {
  lab.add_server();
  const Dialogue talk = begin(lab, "anna");
  lab.run(500ms);
  const auto first = assignments_in(talk.client.record().find(talk.stream)->data);
  EXPECT_EQ(first.size(), 2u) << "unasked, both families";
  say(talk, raw_address_request({{.request_id = 7, .prefix = Lab::prefix("0.0.0.0/32")},
                                 {.request_id = 9, .prefix = Lab::prefix("10.8.0.77/32")},
                                 {.request_id = 12, .prefix = Lab::prefix("::/128")}}));
  lab.run(500ms);
  const auto answer = assignments_in(talk.client.record().find(talk.stream)->data);
  for (const uint64_t id : {7u, 9u, 12u}) {
    EXPECT_TRUE(std::ranges::any_of(answer, [id](const AssignedAddress& one) {
      return one.request_id.value() == id;
    })) << id;
  }
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  lab.finish();
}

// proves: R7, X2
SCENARIO(gateway_refuses_empty_request, 2,
         "An empty ADDRESS_REQUEST ends that stream and nothing else") {
  lab.add_server();
  const Dialogue talk = begin(lab, "anna");
  say(talk, raw_capsule(0x02, {}));
  lab.run(1s);
  EXPECT_EQ(lab.server().gateway()->session_count(), 0u);
  ASSERT_EQ(lab.server().sessions_down().size(), 1u);
  EXPECT_EQ(lab.server().sessions_down()[0].end, SessionEnd::ProtocolError);
  EXPECT_EQ(talk.client.record().find(talk.stream)->closed,
            static_cast<uint64_t>(HttpError::Message));
  EXPECT_NE(talk.client.connection(), nullptr);
  lab.finish();
}

SCENARIO(
    gateway_ignores_assignments, 2,
    "C6: a client's ADDRESS_ASSIGN and ROUTE_ADVERTISEMENT change nothing without permission") {
  lab.add_server();
  const Dialogue talk = begin(lab, "anna");
  say(talk, assign({"10.8.0.1", "198.51.100.10"}));
  say(talk, routes({"0.0.0.0/0"}));
  lab.run(1s);
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  EXPECT_TRUE(lab.server().kernel_routes().empty());
  EXPECT_GE(lab.server().gateway()->counters().assignments_refused +
                lab.server().gateway()->counters().routes_refused,
            1u);
  // Packets for the internet still do not go to it.
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(bert));
  EXPECT_TRUE(lab.ping_works(bert, 2s));
  lab.finish();
}

// proves: H20
SCENARIO(datagram_capsules, 3,
         "D5: packets in DATAGRAM capsules and in datagram frames, mixed, mean the same") {
  lab.add_server();
  const Dialogue talk = begin(lab, "anna");
  lab.run(500ms);
  const auto addresses = assignments_in(talk.client.record().find(talk.stream)->data);
  const auto v4 = std::ranges::find_if(
      addresses, [](const AssignedAddress& one) { return one.prefix.version() == IpVersion::V4; });
  ASSERT_NE(v4, addresses.end());
  uint64_t arrived = 0;
  const uint16_t flow =
      lab.ledger.new_flow([&](InnerNode&, const IpPacketView&, Bytes, InnerId) { ++arrived; });
  for (uint32_t i = 0; i < 40; ++i) {
    const Bytesv packet = make_udp_packet({.source = v4->prefix.address(),
                                           .destination = Lab::address("198.51.100.10"),
                                           .id = {.flow = flow, .sequence = i},
                                           .packet_size = 200});
    lab.ledger.sent(packet, "anna");
    if (i % 2 == 0) {
      talk.client.send_packet(talk.stream, packet);
    } else {
      Bytesv payload{0};  // Context ID
      payload.insert(payload.end(), packet.begin(), packet.end());
      say(talk, raw_capsule(0x00, payload));
    }
    lab.run(5ms);
  }
  lab.run(500ms);
  EXPECT_EQ(arrived, 40u);
  lab.finish();
}

// --- any order ---

enum class Said : uint8_t { Assign, Routes, Request, Datagram, Unknown, Grease };

// Each kind twice, in an order of the seed's.
std::vector<Said> any_order(Lab& lab) {
  std::vector<Said> out;
  for (const Said one :
       {Said::Assign, Said::Routes, Said::Request, Said::Datagram, Said::Unknown, Said::Grease}) {
    out.push_back(one);
    out.push_back(one);
  }
  for (size_t i = out.size() - 1; i > 0; --i) std::swap(out[i], out[lab.below(i + 1)]);
  return out;
}

Bytesv meaningless(Lab& lab, Said kind) {
  Bytesv value(lab.below(200));
  lab.world.rng().fill(value);
  return raw_capsule(kind == Said::Grease ? 0x17 + 0x29 * lab.below(100'000)  // RFC 9297 5.4
                                          : 0x40 + lab.below(1'000'000),
                     value);
}

// In pieces that respect no bound, some together and some after a while.
template <class Send>
void say_in_pieces(Lab& lab, Bytes all, const Send& send) {
  while (!all.empty()) {
    const size_t size = std::min<size_t>(1 + lab.below(60), all.size());
    send(Bytesv(all.begin(), all.begin() + static_cast<ptrdiff_t>(size)));
    all = all.subspan(size);
    if (lab.below(3) == 0) lab.run(Duration(1ms) * static_cast<int>(lab.below(40)));
  }
}

void append(Bytesv& to, const Bytesv& more) { to.insert(to.end(), more.begin(), more.end()); }

// proves: L4, H12, H13, H20, R4
SCENARIO(capsules_in_any_order_to_the_gateway, 10,
         "Every kind of capsule twice, in any order, in pieces: each is understood") {
  lab.add_server();
  const Dialogue talk = begin(lab, "anna");
  lab.run(500ms);
  const auto addresses = assignments_in(talk.client.record().find(talk.stream)->data);
  const auto v4 = std::ranges::find_if(
      addresses, [](const AssignedAddress& one) { return one.prefix.version() == IpVersion::V4; });
  ASSERT_NE(v4, addresses.end());
  uint64_t arrived = 0;
  const uint16_t flow =
      lab.ledger.new_flow([&](InnerNode&, const IpPacketView&, Bytes, InnerId) { ++arrived; });
  uint32_t sequence = 0;
  uint64_t request_id = 0;
  Bytesv all;
  for (const Said kind : any_order(lab)) {
    switch (kind) {
      case Said::Assign:
        append(all, assign({"10.8.0.1"}));
        break;
      case Said::Routes:
        append(all, routes({"198.51.100.0/24"}));
        break;
      case Said::Request:
        append(all, raw_address_request(
                        {{.request_id = ++request_id,
                          .prefix = Lab::prefix(request_id == 1 ? "0.0.0.0/32" : "::/128")}}));
        break;
      case Said::Datagram: {
        const Bytesv packet = make_udp_packet({.source = v4->prefix.address(),
                                               .destination = Lab::address("198.51.100.10"),
                                               .id = {.flow = flow, .sequence = sequence++},
                                               .packet_size = 100});
        lab.ledger.sent(packet, "anna");
        Bytesv payload{0};  // Context ID
        append(payload, packet);
        append(all, raw_capsule(0x00, payload));
        break;
      }
      case Said::Unknown:
      case Said::Grease:
        append(all, meaningless(lab, kind));
        break;
    }
  }
  say_in_pieces(lab, all, [&](const Bytesv& piece) { say(talk, piece); });
  lab.run(2s);
  EXPECT_EQ(arrived, 2u);
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  EXPECT_TRUE(lab.server().kernel_routes().empty());
  EXPECT_FALSE(talk.client.record().find(talk.stream)->closed);
  const auto answered = answers_in(talk.client.record().find(talk.stream)->data);
  EXPECT_TRUE(answered.contains(1));
  EXPECT_TRUE(answered.contains(2));
  lab.finish();
}

// proves: L4, A1, V2, R4, R5, H12, H13, H20
SCENARIO(capsules_in_any_order_to_the_client, 10,
         "The same from a proxy: the newest lists count, requests are answered, packets arrive") {
  ScriptedServer& server = proxy_that_says(lab, {});
  SimClient& client = lab.add_client("anna");
  client.start();
  ASSERT_TRUE(lab.until([&] { return server.newest_stream().has_value(); }, 5s));
  uint64_t arrived = 0;
  const uint16_t flow =
      lab.ledger.new_flow([&](InnerNode&, const IpPacketView&, Bytes, InnerId) { ++arrived; });
  uint32_t sequence = 0;
  uint64_t request_id = 0;
  uint8_t assigned = 0, advertised = 0;
  // A packet for an address that is not there yet is dropped; one that comes after it arrives.
  uint64_t must_arrive = 0;
  Bytesv all;
  for (const Said kind : any_order(lab)) {
    switch (kind) {
      case Said::Assign:
        append(all, ++assigned == 1 ? assign({"10.9.0.7"}) : assign({"10.9.0.7", "10.9.0.8"}));
        break;
      case Said::Routes:
        append(all, ++advertised == 1 ? routes({"198.51.100.0/24"}) : routes({"203.0.113.0/24"}));
        break;
      case Said::Request:
        append(all, raw_address_request(
                        {{.request_id = ++request_id, .prefix = Lab::prefix("0.0.0.0/32")}}));
        break;
      case Said::Datagram: {
        const Bytesv packet = make_udp_packet({.source = Lab::address("198.51.100.10"),
                                               .destination = Lab::address("10.9.0.7"),
                                               .id = {.flow = flow, .sequence = sequence++},
                                               .packet_size = 100});
        if (assigned > 0) ++must_arrive;
        lab.ledger.sent(packet, "proxy");
        Bytesv payload{0};
        append(payload, packet);
        append(all, raw_capsule(0x00, payload));
        break;
      }
      case Said::Unknown:
      case Said::Grease:
        append(all, meaningless(lab, kind));
        break;
    }
  }
  say_in_pieces(lab, all, [&](const Bytesv& piece) {
    server.act([&server, piece](HttpConnection& connection, TransmitTarget&) {
      connection.send_stream_data(*server.newest_stream(), piece);
    });
  });
  ASSERT_TRUE(lab.until([&] { return client.connected(); }, 10s));
  lab.run(2s);
  EXPECT_EQ(client.tunnel().addresses(),
            (std::vector{Lab::prefix("10.9.0.7"), Lab::prefix("10.9.0.8")}));
  EXPECT_EQ(client.routes(), std::vector{Lab::prefix("203.0.113.0/24")});
  EXPECT_GE(arrived, must_arrive);
  // A client has no address to give: it refuses, by the Request ID.
  const auto answered = answers_in(server.record().find(*server.newest_stream())->data);
  for (const uint64_t id : {1u, 2u}) {
    ASSERT_TRUE(answered.contains(id)) << id;
    EXPECT_EQ(answered.at(id), Lab::prefix("0.0.0.0/32"));
  }
  EXPECT_EQ(server.requests(), 1u);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// Protocol vectors 15.2: what must be rejected.
struct BadCapsule {
  const char* name;
  const char* hex;
};
const BadCapsule kBadCapsules[] = {
    {"host bits", "01 07 00 04 01020304 1c"},
    {"version 5", "01 07 00 05 01020304 20"},
    {"prefix length 33", "01 07 00 04 01020304 21"},
    {"a byte too many", "01 08 00 04 01020304 20 ff"},
    {"a byte too few", "01 06 00 04 01020304"},
    {"start above end", "03 0a 04 c0000209 c0000201 00"},
    {"ranges that touch", "03 14 04 c0000200 c000020a 00 04 c000020a c0000214 00"},
    {"IPv6 before IPv4",
     "03 2c 06 20010db8000000000000000000000000 20010db800000000000000000000000f 00"
     " 04 c0000200 c0000201 00"},
    {"protocol 17 before 6", "03 14 04 c0000200 c0000201 11 04 c0000300 c0000301 06"},
    {"Request ID 0", "02 07 00 04 00000000 20"},
    {"an empty request", "02 00"},
};

// proves: A5, X1, X2, X3, R7, V6, H18
SCENARIO(every_bad_capsule_to_the_gateway, 1,
         "Each malformed capsule costs its stream H3_MESSAGE_ERROR and nothing else") {
  lab.add_server();
  ScriptedClient& client = lab.add_scripted_client("anna");
  client.dial();
  ASSERT_TRUE(lab.until([&] { return client.ready(); }, 5s));
  for (const BadCapsule& bad : kBadCapsules) {
    SCOPED_TRACE(bad.name);
    std::optional<StreamId> stream;
    client.act([&](Http3Connection& http, TransmitTarget&) {
      stream = http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
    });
    ASSERT_TRUE(lab.until([&] { return stream && client.record().find(*stream) != nullptr; }, 5s));
    client.act([&](Http3Connection& http, TransmitTarget&) {
      http.send_stream_data(*stream, from_hex(bad.hex).value());
    });
    lab.run(500ms);
    EXPECT_EQ(client.record().find(*stream)->closed, static_cast<uint64_t>(HttpError::Message));
    EXPECT_EQ(lab.server().gateway()->session_count(), 0u);
    EXPECT_NE(client.connection(), nullptr);
  }
  EXPECT_EQ(lab.server().sessions_down().size(), std::size(kBadCapsules));
  lab.finish();
}

// proves: A5, X1, X2, X3, R7, V6, H18
SCENARIO(every_bad_capsule_to_the_client, 1,
         "Each malformed capsule costs its stream H3_MESSAGE_ERROR; the client comes again") {
  size_t next = 0;
  std::vector<StreamId> streams;
  ScriptedServer& server = lab.add_scripted_server(
      [&](HttpConnection& connection, StreamId stream, const HeaderFields&) {
        connection.respond(stream, connect_ip_response(), StreamEnd::KeepOpen);
        connection.enable_datagrams(Instant{}, stream);
        connection.send_stream_data(stream, assign({"10.9.0.7"}));
        connection.send_stream_data(stream, routes({"198.51.100.0/24"}));
        if (next < std::size(kBadCapsules))
          connection.send_stream_data(stream, from_hex(kBadCapsules[next++].hex).value());
      });
  SimClient& client = lab.add_client("anna");
  client.start();
  for (size_t i = 1; i <= std::size(kBadCapsules); ++i) {
    SCOPED_TRACE(kBadCapsules[i - 1].name);
    ASSERT_TRUE(lab.until([&] { return server.requests() == i; }, 120s));
    const StreamId stream = *server.newest_stream();
    lab.run(100ms);
    const StreamRecord* record = server.record().find(stream);
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->closed, static_cast<uint64_t>(HttpError::Message));
    EXPECT_FALSE(client.connected());
  }
  // One without such a capsule works.
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 120s));
  lab.finish();
}

// --- header fields ---

// proves: H1, X9
SCENARIO(a_datagram_of_a_get, 3,
         "A GET gets 405; datagrams for it go nowhere, and the connection goes on") {
  lab.add_server();
  ScriptedClient& client = lab.add_scripted_client("anna");
  client.dial();
  ASSERT_TRUE(lab.until([&] { return client.ready(); }, 5s));
  std::optional<StreamId> get;
  const auto datagram = [&] {
    client.send_raw_datagram(
        from_hex("00 00 45000014 00000000 40fd 0000 0a080002 c6336464").value());
  };
  client.act([&](Http3Connection& http, TransmitTarget&) {
    get = http.open_request(lab.world.now(), {{":method", "GET"},
                                              {":scheme", "https"},
                                              {":authority", "vpn.example"},
                                              {":path", "/.well-known/masque/ip/*/*/"}});
  });
  // Ahead of the answer and behind it.
  datagram();
  lab.run(500ms);
  datagram();
  lab.run(500ms);
  ASSERT_TRUE(get);
  ASSERT_EQ(get->value(), 0u);
  const StreamRecord* record = client.record().find(*get);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->status(), 405u);
  // The answer is whole and final, so the request is over before there is anything to abort.
  EXPECT_TRUE(record->fin);
  EXPECT_EQ(record->closed, static_cast<uint64_t>(HttpError::NoError));
  EXPECT_EQ(lab.server().gateway()->session_count(), 0u);
  EXPECT_EQ(lab.internet().received(), 0u);
  EXPECT_NE(client.connection(), nullptr);
  begin(lab, "bert");
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  lab.finish();
}

// proves: H19, Q3
SCENARIO(capsule_protocol_of_every_kind, 2,
         "Capsule-Protocol true, false, of another type, twice or missing: no error either way") {
  lab.add_server();
  ScriptedClient& client = lab.add_scripted_client("anna");
  client.dial();
  ASSERT_TRUE(lab.until([&] { return client.ready(); }, 5s));
  const std::vector<std::vector<std::string>> kinds = {
      {"?1"}, {"?0"}, {"?1;a=b"}, {"1"}, {"\"1\""}, {"?1, ?1"}, {"?1", "?1"}, {"~"}, {}};
  for (const auto& values : kinds) {
    SCOPED_TRACE(values.empty() ? "none" : values[0]);
    HeaderFields fields = connect_ip_request("vpn.example");
    std::erase_if(fields,
                  [](const HeaderField& field) { return field.name == "capsule-protocol"; });
    HeaderFields refused = fields;
    for (const std::string& value : values) {
      fields.push_back({"capsule-protocol", value});
      refused.push_back({"capsule-protocol", value});
    }
    for (HeaderField& field : refused) {
      if (field.name == ":path") field.value = "/";
    }
    std::optional<StreamId> stream, wrong;
    client.act([&](Http3Connection& http, TransmitTarget&) {
      stream = http.open_request(lab.world.now(), fields);
      wrong = http.open_request(lab.world.now(), refused);
    });
    lab.run(500ms);
    ASSERT_TRUE(stream && wrong);
    const StreamRecord* record = client.record().find(*stream);
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->status(), 200u);
    EXPECT_EQ(find_field(record->fields, "capsule-protocol"), "?1");
    EXPECT_FALSE(assignments_in(record->data).empty()) << "capsules are in use all the same";
    const StreamRecord* refusal = client.record().find(*wrong);
    ASSERT_NE(refusal, nullptr);
    EXPECT_EQ(refusal->status(), 404u);
    EXPECT_FALSE(find_field(refusal->fields, "capsule-protocol")) << "not on a refusal";
    client.act([&](Http3Connection& http, TransmitTarget&) { http.finish_stream(*stream); });
    lab.run(500ms);
  }
  lab.finish();
}

// proves: H19, Q3
SCENARIO(capsule_protocol_of_an_answer, 2,
         "The same in the answer of a proxy: the client takes its capsules") {
  const std::vector<std::optional<std::string>> kinds = {"?1", "?0", "?1;a=b", "1", std::nullopt};
  size_t next = 0;
  ScriptedServer& server = lab.add_scripted_server(
      [&](HttpConnection& connection, StreamId stream, const HeaderFields&) {
        HeaderFields answer = {{":status", "200"}};
        if (const auto& value = kinds[next++ % kinds.size()])
          answer.push_back({"capsule-protocol", *value});
        connection.respond(stream, answer, StreamEnd::KeepOpen);
        connection.enable_datagrams(Instant{}, stream);
        connection.send_stream_data(stream, assign({"10.9.0.7"}));
        connection.send_stream_data(stream, routes({"198.51.100.0/24"}));
      });
  SimClient& client = lab.add_client("anna");
  client.start();
  for (size_t i = 1; i <= kinds.size(); ++i) {
    EXPECT_TRUE(lab.until([&] { return server.requests() == i && client.connected(); }, 120s)) << i;
    server.act([&](HttpConnection& connection, TransmitTarget&) {
      connection.finish_stream(*server.newest_stream());
    });
    EXPECT_TRUE(lab.until([&] { return !client.connected(); }, 5s));
  }
  lab.finish();
}

}  // namespace
}  // namespace masque
