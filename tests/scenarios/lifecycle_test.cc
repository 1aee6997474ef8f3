// SPDX-License-Identifier: Apache-2.0
// Beginnings and ends: restarts of either side, stateless resets, idle timeouts, keep-alive,
// GOAWAY, and every way in which a request stream can end.
#include <algorithm>

#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

constexpr uint64_t kCancelled = static_cast<uint64_t>(HttpError::RequestCancelled);

// proves: I7, I4
SCENARIO(server_restart_same_secret, 5,
         "A1: killed and started with its secret: stateless reset, same lease, back in a second") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  const auto address = client.inner_address(IpVersion::V4);
  Flow& flow = lab.ping(client.inner(), lab.internet(), {.interval = 20ms});
  lab.run(1s + Duration(static_cast<int64_t>(lab.below(500'000'000))));
  lab.kill_server();
  lab.run(300ms);
  lab.server().start(SimServer::Secret::Kept);
  const Instant back = lab.world.now();
  const uint64_t before = flow.arrived();
  ASSERT_TRUE(lab.until([&] { return flow.arrived() > before; }, 10s));
  EXPECT_LE(lab.world.now() - back, 1500ms) << "reset, back-off of at most 0.5 s, handshake";
  EXPECT_EQ(client.dials(), 2u);
  EXPECT_EQ(client.inner_address(IpVersion::V4), address);
  EXPECT_GE(lab.server().endpoint().counters().stateless_resets, 1u);
  ASSERT_TRUE(client.last_close().has_value());
  EXPECT_EQ(client.last_close()->cause, CloseReason::Cause::StatelessReset);
  lab.finish();
}

SCENARIO(server_restart_client_idle, 4,
         "A2: restart while the client is idle: the next keep-alive finds out") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  lab.run(5s);
  lab.kill_server();
  lab.run(1s);
  lab.server().start(SimServer::Secret::Kept);
  EXPECT_TRUE(lab.until([&] { return client.dials() == 2 && client.connected(); }, 25s));
  EXPECT_TRUE(lab.ping_works(client, 1s));
  lab.finish();
}

SCENARIO(
    server_restart_new_secret, 3,
    "A3: the secret is lost: no reset can be proven; the idle timeout brings the client back") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  const auto address = client.inner_address(IpVersion::V4);
  lab.kill_server();
  lab.server().start(SimServer::Secret::New);
  EXPECT_TRUE(lab.until([&] { return client.dials() >= 2 && client.connected(); }, 60s));
  EXPECT_EQ(client.inner_address(IpVersion::V4), address);
  EXPECT_TRUE(lab.ping_works(client, 1s));
  lab.finish();
}

SCENARIO(
    network_change_ends_the_back_off, 4,
    "C10: the only network is gone for minutes; when another comes, the client dials at once") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  lab.network.set_links(client.id(), {.path = LinkOptions::Path::Blackhole});
  ASSERT_TRUE(lab.until([&] { return client.dials() >= 6; }, 600s));
  // Between two attempts: the next one is half a minute away.
  ASSERT_TRUE(lab.until([&] { return client.connection() == nullptr; }, 60s));
  lab.run(100ms);
  ASSERT_EQ(client.connection(), nullptr);
  lab.network.set_links(client.id(), {});
  const Instant back = lab.world.now();
  client.control([](TunnelClient& tunnel) { tunnel.on_network_changed(); });
  ASSERT_TRUE(lab.until([&] { return client.connected(); }, 60s));
  EXPECT_LE(lab.world.now() - back, 1s);
  // A storm of changes is no storm of attempts.
  lab.network.set_links(client.id(), {.path = LinkOptions::Path::Blackhole});
  ASSERT_TRUE(lab.until([&] { return !client.connected(); }, 120s));
  const uint64_t dials = client.dials();
  for (int i = 0; i < 100; ++i) {
    client.control([](TunnelClient& tunnel) { tunnel.on_network_changed(); });
    lab.run(100ms);
  }
  EXPECT_LE(client.dials() - dials, 4u);
  lab.network.set_links(client.id(), {});
  lab.finish();
}

SCENARIO(server_restart_many_clients, 3,
         "L10: twenty clients come back after a restart, few dials each") {
  lab.add_server();
  std::vector<SimClient*> clients;
  std::vector<std::optional<IpAddress>> addresses;
  for (int i = 0; i < 20; ++i) clients.push_back(&lab.add_client("client" + std::to_string(i)));
  for (SimClient* client : clients) client->start();
  const auto all_connected = [&] {
    return std::ranges::all_of(clients, [](SimClient* client) { return client->connected(); });
  };
  ASSERT_TRUE(lab.until(all_connected, 10s));
  for (SimClient* client : clients) {
    addresses.push_back(client->inner_address(IpVersion::V6));
    lab.ping(client->inner(), lab.internet(), {.interval = 100ms});
  }
  lab.run(2s);
  lab.kill_server();
  lab.run(3s);
  lab.server().start(SimServer::Secret::Kept);
  EXPECT_TRUE(lab.until(
      [&] { return all_connected() && lab.server().gateway()->session_count() == 20; }, 10s));
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(clients[i]->inner_address(IpVersion::V6), addresses[i]);
    EXPECT_LE(clients[i]->dials(), 4u);
  }
  lab.finish();
}

SCENARIO(
    client_restart, 4,
    "A4: the client's process is killed and started: same address, the old session is replaced") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  const auto v4 = client.inner_address(IpVersion::V4);
  const auto v6 = client.inner_address(IpVersion::V6);
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 50ms});
  lab.run(1s);
  client.kill_process();
  lab.run(500ms + Duration(static_cast<int64_t>(lab.below(2'000'000'000))));
  client.start_again();
  ASSERT_TRUE(lab.until([&] { return client.connected(); }, 5s));
  EXPECT_EQ(client.inner_address(IpVersion::V4), v4);
  EXPECT_EQ(client.inner_address(IpVersion::V6), v6);
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  ASSERT_EQ(lab.server().sessions_down().size(), 1u);
  EXPECT_EQ(lab.server().sessions_down()[0].end, SessionEnd::Replaced);
  const uint64_t before = down.arrived();
  lab.run(1s);
  EXPECT_GT(down.arrived(), before + 15);
  lab.finish();
}

// proves: I1
SCENARIO(idle_timeout_closes_once, 3,
         "Q20: without keep-alive an idle connection ends on both sides, silently and once") {
  lab.add_server();
  ScriptedClient& client = lab.add_scripted_client("anna", {.quic = {.keep_alive = 0s}});
  ASSERT_TRUE(client.dial());
  ASSERT_TRUE(lab.until([&] { return client.ready(); }, 5s));
  client.act([&](Http3Connection& http, TransmitTarget&) {
    EXPECT_TRUE(http.open_request(lab.world.now(), connect_ip_request("vpn.example")).has_value());
  });
  lab.run(2s);
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  const uint64_t sent = lab.network.datagrams_sent();
  lab.run(40s);
  EXPECT_EQ(client.connection(), nullptr);
  ASSERT_TRUE(client.last_close().has_value());
  EXPECT_EQ(client.last_close()->cause, CloseReason::Cause::IdleTimeout);
  EXPECT_TRUE(lab.server().endpoint().idle());
  EXPECT_EQ(lab.server().sessions_down().size(), 1u);
  EXPECT_LE(lab.network.datagrams_sent() - sent,
            12u);  // the MTU search may still have been under way
  lab.finish();
}

// proves: W11, I2
SCENARIO(keep_alive_for_24_hours, 2,
         "Q20: an idle tunnel lives for a day: one connection, few packets, no storm of wake-ups") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  lab.network.add_nat(client.id(), Lab::address("198.18.7.1"));
  ASSERT_TRUE(lab.connect(client));
  lab.run(60s);
  const uint64_t sent = lab.network.datagrams_sent();
  const uint64_t turns = client.turns() + lab.server().turns();
  const uint64_t events = lab.world.events();
  lab.run(24h);
  EXPECT_EQ(client.dials(), 1u);
  EXPECT_TRUE(client.connected());
  // One keep-alive each 20 s, its acknowledgement, and nothing else of weight.
  constexpr uint64_t kKeepAlives = 24 * 3600 / 20;
  EXPECT_LE(lab.network.datagrams_sent() - sent, 3 * kKeepAlives);
  EXPECT_GE(lab.network.datagrams_sent() - sent, kKeepAlives);
  EXPECT_LE(client.turns() + lab.server().turns() - turns, 12 * kKeepAlives);
  EXPECT_LE(lab.world.events() - events, 40 * kKeepAlives);
  EXPECT_TRUE(lab.ping_works(client, 1s));
  lab.finish();
}

// proves: W8, W10
SCENARIO(goaway_mid_tunnel, 4,
         "D13: a planned end: GOAWAY, the tunnel goes on a moment, requests are rejected, FIN, "
         "CONNECTION_CLOSE") {
  lab.add_server();
  ScriptedClient& anna = lab.add_scripted_client("anna");
  ScriptedClient& bert = lab.add_scripted_client("bert");
  for (ScriptedClient* client : {&anna, &bert}) {
    client->dial();
    ASSERT_TRUE(lab.until([&] { return client->ready(); }, 5s));
  }
  const auto request_of = [&](ScriptedClient& client) {
    std::optional<StreamId> stream;
    client.act([&](Http3Connection& http, TransmitTarget&) {
      stream = http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
    });
    lab.until([&] { return stream.has_value(); }, 100ms);
    return stream;
  };
  const StreamId tunnel = request_of(anna).value();
  ASSERT_TRUE(lab.until([&] { return anna.record().find(tunnel) != nullptr; }, 5s));
  lab.server().control([](Gateway& gateway) { gateway.shut_down(); });
  const Instant asked = lab.world.now();
  // Under way while the GOAWAY is.
  const StreamId crossing = request_of(bert).value();
  ASSERT_TRUE(lab.until([&] { return !anna.record().goaways().empty(); }, 1s));
  EXPECT_FALSE(anna.record().find(tunnel)->fin);
  EXPECT_FALSE(request_of(anna).has_value()) << "a client that keeps RFC 9114 5.2 asks no more";
  ASSERT_TRUE(lab.until([&] { return lab.server().is_shut_down(); }, 1s));
  EXPECT_EQ(lab.world.now() - asked, 2 * Gateway::kShutdownStep);
  lab.run(200ms);
  constexpr uint64_t kNoLimit = (uint64_t{1} << 62) - 4;
  EXPECT_EQ(anna.record().goaways(), (std::vector{kNoLimit, tunnel.value() + 4}));
  EXPECT_TRUE(anna.record().find(tunnel)->fin);
  EXPECT_EQ(bert.record().find(crossing)->closed,
            static_cast<uint64_t>(HttpError::RequestRejected));
  for (ScriptedClient* client : {&anna, &bert}) {
    ASSERT_TRUE(client->last_close().has_value());
    EXPECT_EQ(client->last_close()->cause, CloseReason::Cause::Peer);
    EXPECT_EQ(client->last_close()->code, static_cast<uint64_t>(HttpError::NoError));
  }
  lab.finish();
}

// proves: L1
SCENARIO(gateway_shuts_down, 3,
         "A5: shut_down: the clients know at once and come back when it is there again") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  Flow& flow = lab.ping(client.inner(), lab.internet(), {.interval = 10ms});
  lab.run(1s);
  const uint64_t before = flow.arrived();
  lab.server().control([](Gateway& gateway) { gateway.shut_down(); });
  EXPECT_TRUE(lab.until([&] { return !client.connected(); }, 1s));
  EXPECT_GT(flow.arrived(), before) << "a live tunnel goes on until its FIN";
  lab.run(200ms);
  lab.kill_server();
  lab.run(5s);
  lab.server().start(SimServer::Secret::Kept);
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 40s));
  EXPECT_TRUE(lab.ping_works(client, 2s));
  lab.finish();
}

// --- every end of a request stream, from the client ---

struct OpenTunnel {
  ScriptedClient& client;
  std::optional<StreamId> stream;
};

// A scripted client with one tunnel.
OpenTunnel open_tunnel(Lab& lab, const std::string& name, const ClientSetup& setup = {}) {
  ScriptedClient& client = lab.add_scripted_client(name, setup);
  OpenTunnel out{.client = client, .stream = std::nullopt};
  client.dial();
  EXPECT_TRUE(lab.until([&] { return client.ready(); }, 5s));
  std::optional<StreamId> stream;
  client.act([&](Http3Connection& http, TransmitTarget&) {
    stream = http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
  });
  EXPECT_TRUE(lab.until([&] { return stream && client.record().find(*stream) != nullptr; }, 5s));
  EXPECT_EQ(client.record().find(*stream)->status(), 200u);
  out.stream = stream;
  return out;
}

using Ending = void (*)(Http3Connection& http, StreamId stream);

void client_ends(Lab& lab, Ending ending) {
  lab.add_server();
  const OpenTunnel tunnel = open_tunnel(lab, "anna");
  lab.run(500ms);
  ASSERT_EQ(lab.server().gateway()->session_count(), 1u);
  const auto leases = lab.server().leases();
  tunnel.client.act([&](Http3Connection& http, TransmitTarget&) { ending(http, *tunnel.stream); });
  lab.run(1s);
  EXPECT_EQ(lab.server().gateway()->session_count(), 0u);
  EXPECT_EQ(lab.server().sessions_down().size(), 1u) << "released once";
  EXPECT_EQ(lab.server().leases(), leases) << "the lease stays reserved";
  // The connection lives, and a new request on it gets the same address.
  ASSERT_NE(tunnel.client.connection(), nullptr);
  tunnel.client.act([&](Http3Connection& http, TransmitTarget&) {
    EXPECT_TRUE(http.open_request(lab.world.now(), connect_ip_request("vpn.example")).has_value());
  });
  lab.run(1s);
  ASSERT_EQ(lab.server().sessions_up().size(), 2u);
  EXPECT_EQ(lab.server().sessions_up()[0].addresses, lab.server().sessions_up()[1].addresses);
  lab.finish();
}

// proves: L3
SCENARIO(client_fin, 2, "D13: the client ends its stream with FIN") {
  client_ends(lab, [](Http3Connection& http, StreamId stream) { http.finish_stream(stream); });
}
SCENARIO(client_reset, 2, "D13: the client resets its stream") {
  client_ends(lab, [](Http3Connection& http, StreamId stream) {
    http.quic().shutdown_stream(stream, kCancelled);
  });
}
SCENARIO(client_stop_sending, 2, "D13: the client stops reading its stream") {
  client_ends(lab, [](Http3Connection& http, StreamId stream) {
    http.quic().shutdown_stream_read(stream, kCancelled);
  });
}
SCENARIO(client_fin_then_reset, 2, "D13: FIN and reset in one flight") {
  client_ends(lab, [](Http3Connection& http, StreamId stream) {
    http.finish_stream(stream);
    http.quic().shutdown_stream(stream, kCancelled);
  });
}

// proves: L1
SCENARIO(client_says_goodbye, 2,
         "A1: the session ends with the client's CONNECTION_CLOSE, not three PTO later") {
  lab.add_server();
  const OpenTunnel tunnel = open_tunnel(lab, "anna");
  lab.run(500ms);
  ASSERT_EQ(lab.server().gateway()->session_count(), 1u);
  const Duration rtt = tunnel.client.connection()->quic().stats().smoothed_rtt;
  tunnel.client.act([&](Http3Connection& http, TransmitTarget&) {
    http.close(lab.world.now(), HttpError::NoError, "closing time");
  });
  // One way, while a PTO is a round trip and more (RFC 9002 6.2.1).
  EXPECT_TRUE(lab.until([&] { return lab.server().gateway()->session_count() == 0; }, rtt));
  ASSERT_EQ(lab.server().sessions_down().size(), 1u);
  EXPECT_EQ(lab.server().sessions_down()[0].end, SessionEnd::ClientClosed);
  EXPECT_EQ(lab.server().sessions_down()[0].detail, "closing time");
  lab.finish();
}

// --- and from the proxy ---

void assign_all(HttpConnection& connection, StreamId stream) {
  connection.respond(stream, connect_ip_response(), StreamEnd::KeepOpen);
  connection.enable_datagrams(Instant{}, stream);  // nothing came early
  connection.send_stream_data(stream, raw_address_assign({{.prefix = Lab::prefix("10.9.0.7/32")}}));
  connection.send_stream_data(
      stream, raw_route_advertisement({IpRange::of(Lab::prefix("198.51.100.0/24"))}));
}

using ProxyEnding = void (*)(HttpConnection& http, StreamId stream);

void proxy_ends(Lab& lab, ProxyEnding ending) {
  ScriptedServer& server =
      lab.add_scripted_server([](HttpConnection& connection, StreamId stream, const HeaderFields&) {
        assign_all(connection, stream);
      });
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  EXPECT_EQ(client.inner_address(IpVersion::V4), Lab::address("10.9.0.7"));
  lab.run(500ms);
  server.act([&](HttpConnection& connection, TransmitTarget&) {
    ending(connection, *server.newest_stream());
  });
  EXPECT_TRUE(lab.until([&] { return !client.connected(); }, 1s));
  // Back within the first back-off; an honest proxy answers again.
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 5s));
  EXPECT_EQ(server.requests(), 2u);
  EXPECT_EQ(client.inner_address(IpVersion::V4), Lab::address("10.9.0.7"));
  lab.finish();
}

SCENARIO(proxy_fin, 2, "D13: the proxy ends the stream with FIN: the client comes back") {
  proxy_ends(lab, [](HttpConnection& http, StreamId stream) { http.finish_stream(stream); });
}
SCENARIO(proxy_reset, 2, "D13: the proxy aborts the stream") {
  proxy_ends(lab, [](HttpConnection& http, StreamId stream) {
    http.abort_stream(stream, HttpError::RequestCancelled);
  });
}
SCENARIO(proxy_stop_sending, 2, "D13: the proxy stops reading the stream") {
  proxy_ends(lab, [](HttpConnection& http, StreamId stream) {
    static_cast<Http3Connection&>(http).quic().shutdown_stream_read(stream, kCancelled);
  });
}
SCENARIO(proxy_closes_connection, 2, "The proxy closes the connection with an error") {
  ScriptedServer* the_server = nullptr;
  ScriptedServer& server =
      lab.add_scripted_server([](HttpConnection& connection, StreamId stream, const HeaderFields&) {
        assign_all(connection, stream);
      });
  the_server = &server;
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  the_server->act([&](HttpConnection& connection, TransmitTarget&) {
    connection.close(lab.world.now(), HttpError::Internal, "scripted");
  });
  EXPECT_TRUE(lab.until([&] { return !client.connected(); }, 1s));
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 5s));
  EXPECT_EQ(client.dials(), 2u);
  lab.finish();
}

// proves: X6, Q5
SCENARIO(proxy_refuses, 2,
         "A refusal is reported with its status and not asked again at once: no storm") {
  ScriptedServer& server =
      lab.add_scripted_server([](HttpConnection& connection, StreamId stream, const HeaderFields&) {
        connection.respond(stream, {{":status", "403"}}, StreamEnd::Fin);
      });
  SimClient& client = lab.add_client("anna");
  EXPECT_FALSE(lab.connect(client, 5s));
  EXPECT_EQ(client.state(), ClientState::Failed);
  const bool told =
      std::ranges::any_of(client.states(), [](const auto& record) { return record.status == 403; });
  EXPECT_TRUE(told);
  lab.run(10min);
  EXPECT_LE(server.requests(), 31u) << "once in 20 s at most";
  EXPECT_GE(server.requests(), 2u);
  lab.finish();
}

SCENARIO(proxy_never_answers, 2,
         "A proxy that accepts the request and says nothing: the attempt ends and is repeated") {
  ScriptedServer& server = lab.add_scripted_server({});
  SimClient& client = lab.add_client("anna");
  EXPECT_FALSE(lab.connect(client, 14s));
  EXPECT_TRUE(lab.until([&] { return server.requests() >= 2; }, 60s));
  lab.run(10min);
  EXPECT_LE(server.requests(), 60u);
  lab.finish();
}

}  // namespace
}  // namespace masque
