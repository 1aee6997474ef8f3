// SPDX-License-Identifier: Apache-2.0
// A gateway with fake connections, for gateway_*_test.cc.
#pragma once

#include <deque>

#include "core/capsule/capsule.h"
#include "core/capsule/capsule_reader.h"
#include "core/http/fake_http_connection.h"
#include "core/server/gateway.h"
#include "core/tunnel/test_packets.h"

namespace masque::test {

// What the client reads from the data stream.
struct CapsuleLog final : CapsuleVisitor {
  Result<void> on_address_assign(const AddressAssign& capsule) override {
    assigns.push_back(capsule);
    return {};
  }
  Result<void> on_address_request(const AddressRequest&) override { return {}; }
  Result<void> on_route_advertisement(const RouteAdvertisement& capsule) override {
    routes.push_back(capsule);
    return {};
  }
  void on_datagram_capsule(Bytes) override { ++datagram_capsules; }
  void on_unknown_capsule(CapsuleType, uint64_t) override { ++unknown; }

  std::vector<AddressAssign> assigns;
  std::vector<RouteAdvertisement> routes;
  int datagram_capsules = 0;
  int unknown = 0;
};

inline TokenHash fake_hash(Bytes token) {
  TokenHash hash{};
  for (size_t i = 0; i < token.size(); ++i) hash[i % hash.size()] ^= token[i];
  return hash;
}

inline HeaderFields connect_ip(std::string path = "/.well-known/masque/ip/*/*/") {
  return {{":method", "CONNECT"},        {":protocol", "connect-ip"}, {":scheme", "https"},
          {":authority", "vpn.example"}, {":path", std::move(path)},  {"capsule-protocol", "?1"}};
}

struct GatewayWorld {
  explicit GatewayWorld(GatewayConfig config = {}, PolicySnapshot policy = default_policy())
      : gateway(
            [&] {
              if (config.pools.empty()) config.pools = nets({"10.8.0.0/24", "fd00:8::/64"});
              config.hash_token = &fake_hash;
              return config;
            }(),
            rng, std::make_unique<PolicySnapshot>(std::move(policy))) {
    turn(0s);
  }

  static PolicySnapshot default_policy() {
    PolicySnapshot policy;
    policy.default_routes = nets({"10.0.0.0/8", "fd00::/16"});
    for (const char* name : {"anna", "bert", "carl"}) policy.clients[name] = {};
    return policy;
  }

  void turn(Duration now) { gateway.begin_turn(at(now), transmit, tun); }
  FakeHttpConnection& connect(std::string identity) {
    FakeHttpConnection& connection = connections.emplace_back();
    connection.certificate = {
        .present = true, .common_name = std::move(identity), .names = {}, .fingerprint = {1}};
    gateway.on_settings(connection);
    return connection;
  }
  // A session of `identity` on stream 0 of a connection of its own.
  FakeHttpConnection& open(std::string identity, std::string path = "/.well-known/masque/ip/*/*/") {
    FakeHttpConnection& connection = connect(std::move(identity));
    request(connection, StreamId(0), std::move(path));
    return connection;
  }
  void request(FakeHttpConnection& connection, StreamId stream,
               std::string path = "/.well-known/masque/ip/*/*/") {
    gateway.on_request(connection, stream, connect_ip(std::move(path)), false);
    gateway.flush();
  }
  void send(FakeHttpConnection& connection, std::string_view hex, StreamId stream = StreamId(0)) {
    gateway.on_stream_data(connection, stream, from_hex(hex).value());
    gateway.flush();
  }
  void send(FakeHttpConnection& connection, const Packet& packet, StreamId stream = StreamId(0)) {
    gateway.on_http_datagram(connection, stream, datagram(packet));
    gateway.flush();
  }
  void from_tun(const Packet& packet) {
    gateway.on_tun_packet({.head = packet, .body = {}});
    gateway.flush();
  }
  CapsuleLog capsules(FakeHttpConnection& connection, StreamId stream = StreamId(0)) {
    CapsuleLog log;
    CapsuleReader reader(log);
    EXPECT_TRUE(reader.on_bytes(connection.streams[stream].data));
    return log;
  }
  template <class Event>
  std::vector<Event> events() {
    std::vector<Event> out;
    while (auto event = gateway.poll_event()) pending.push_back(std::move(*event));
    for (auto it = pending.begin(); it != pending.end();) {
      if (const Event* wanted = std::get_if<Event>(&*it)) {
        out.push_back(*wanted);
        it = pending.erase(it);
      } else {
        ++it;
      }
    }
    return out;
  }
  std::vector<Packet>& packets(FakeHttpConnection& connection, StreamId stream = StreamId(0)) {
    return connection.streams[stream].packets;
  }

  SeededRng rng{1};
  FakeTransmit transmit;
  CollectingSink tun;
  std::deque<FakeHttpConnection> connections;
  std::deque<GatewayEvent> pending;
  Gateway gateway;
};

}  // namespace masque::test
