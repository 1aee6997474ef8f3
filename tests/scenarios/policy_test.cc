// SPDX-License-Identifier: Apache-2.0
// Who may do what: isolation, leases, revocation, live changes, site-to-site.
#include <algorithm>

#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

PolicySnapshot policy_for(std::initializer_list<std::pair<const char*, ClientPolicy>> clients) {
  PolicySnapshot out;
  for (const auto& [name, policy] : clients) out.clients.emplace(name, policy);
  return out;
}

const std::vector<IpPrefix>& usual_routes() {
  static const std::vector<IpPrefix> routes = {
      Lab::prefix("10.8.0.0/24"), Lab::prefix("198.51.100.0/24"), Lab::prefix("fd00:8::/64"),
      Lab::prefix("2001:db8:99::/64")};
  return routes;
}

// proves: Z2, K2
SCENARIO(two_clients_isolated_then_allowed, 4,
         "C3: no packet between clients until both may; none again afterwards") {
  const ClientPolicy closed{};
  const ClientPolicy open{.reach_clients = Permission::Allow};
  lab.add_server({.policy = policy_for({{"anna", closed}, {"bert", closed}})});
  SimClient& anna = lab.add_client("anna");
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  const auto change = [&](const ClientPolicy& of_anna, const ClientPolicy& of_bert) {
    PolicySnapshot policy = policy_for({{"anna", of_anna}, {"bert", of_bert}});
    policy.default_routes = usual_routes();
    lab.server().set_policy(std::move(policy));
    lab.run(200ms);
  };
  const auto try_all = [&](PacketLedger::Fate fate) {
    uint64_t arrived = 0;
    for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
      const FlowOptions options{.interval = 50ms, .version = version, .fate = fate};
      Flow& there = lab.stream(anna.inner(), bert.inner(), options);
      Flow& back = lab.stream(bert.inner(), anna.inner(), options);
      lab.run(1s);
      there.stop();
      back.stop();
      lab.run(200ms);
      arrived += std::min(there.arrived(), back.arrived());
    }
    return arrived;
  };
  EXPECT_EQ(try_all(PacketLedger::Fate::MustNotArrive), 0u);
  EXPECT_GE(anna.inner().icmp_errors(IcmpErrorKind::Prohibited), 1u) << "the sender is told";
  change(open, closed);
  EXPECT_EQ(try_all(PacketLedger::Fate::MustNotArrive), 0u) << "one side's wish is not enough";
  change(open, open);
  EXPECT_GE(try_all(PacketLedger::Fate::MayArrive), 30u);
  change(closed, open);
  EXPECT_EQ(try_all(PacketLedger::Fate::MustNotArrive), 0u);
  EXPECT_TRUE(lab.ping_works(anna, 2s));
  lab.finish();
}

// proves: X11
SCENARIO(spoofed_sources, 4,
         "C1: forty kinds of false sources: nothing leaves the gateway, the session lives") {
  lab.add_server();
  SimClient& anna = lab.add_client("anna");
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  const char* sources[] = {"0.0.0.0",
                           "10.8.0.1",
                           "10.8.0.3",
                           "10.8.0.255",
                           "127.0.0.1",
                           "224.0.0.1",
                           "255.255.255.255",
                           "198.51.100.10",
                           "192.0.2.1",
                           "169.254.1.1",
                           "203.0.113.1",
                           "::",
                           "::1",
                           "fd00:8::1",
                           "fd00:8::3",
                           "fd00:8::ffff",
                           "fe80::1",
                           "ff02::1",
                           "2001:db8:99::10",
                           "2001:db8::1",
                           "::ffff:10.8.0.2",
                           "64:ff9b::a08:2"};
  for (const char* text : sources) {
    const IpAddress source = Lab::address(text);
    if (anna.inner().has(source)) continue;
    const IpVersion version = source.version();
    Flow& flow = lab.stream(anna.inner(), lab.internet(),
                            {.interval = 20ms,
                             .version = version,
                             .source = source,
                             .fate = PacketLedger::Fate::MustNotArrive});
    lab.run(100ms);
    flow.stop();
  }
  lab.run(200ms);
  EXPECT_EQ(lab.server().gateway()->session_count(), 2u);
  EXPECT_TRUE(lab.ping_works(anna, 2s));
  EXPECT_TRUE(lab.ping_works(bert, 2s));
  lab.finish();
}

// The client's own filter stops most of these; a client that lies about its own sources is
// scripted.
SCENARIO(spoofed_sources_from_a_lying_client, 4,
         "C1: the same from a client without any checks of its own") {
  lab.add_server();
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(bert));
  ScriptedClient& mallory = lab.add_scripted_client("mallory");
  mallory.dial();
  ASSERT_TRUE(lab.until([&] { return mallory.ready(); }, 5s));
  std::optional<StreamId> stream;
  mallory.act([&](Http3Connection& http, TransmitTarget&) {
    stream = http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
  });
  lab.run(1s);
  ASSERT_EQ(lab.server().gateway()->session_count(), 2u);
  const uint16_t flow = lab.ledger.new_flow([](InnerNode&, const IpPacketView&, Bytes, InnerId) {});
  uint32_t sequence = 0;
  const auto send = [&](const IpAddress& source, const IpAddress& destination) {
    const auto packet = make_udp_packet({.source = source,
                                         .destination = destination,
                                         .id = {.flow = flow, .sequence = sequence++},
                                         .packet_size = 120});
    lab.ledger.sent(packet, "mallory", PacketLedger::Fate::MustNotArrive);
    mallory.send_packet(*stream, packet);
    lab.run(10ms);
  };
  for (const char* text :
       {"0.0.0.0", "10.8.0.1", "10.8.0.2", "10.8.0.200", "127.0.0.1", "224.0.0.1",
        "255.255.255.255", "198.51.100.10", "192.0.2.1", "169.254.1.1"}) {
    send(Lab::address(text), Lab::address("198.51.100.10"));
    send(Lab::address(text), *bert.inner_address(IpVersion::V4));
  }
  for (const char* text :
       {"::", "::1", "fd00:8::1", "fd00:8::2", "fe80::1", "ff02::1", "2001:db8:99::10"}) {
    send(Lab::address(text), Lab::address("2001:db8:99::10"));
    send(Lab::address(text), *bert.inner_address(IpVersion::V6));
  }
  EXPECT_EQ(lab.server().gateway()->session_count(), 2u);
  EXPECT_TRUE(lab.ping_works(bert, 2s));
  lab.finish();
}

SCENARIO(destinations_that_nobody_may_reach, 3,
         "C4: gateway-local, loopback, link-local and denied destinations") {
  PolicySnapshot policy;
  policy.unknown_clients = ClientPolicy{
      .allowed_destinations = std::vector{Lab::prefix("0.0.0.0/0"), Lab::prefix("::/0")},
      .reach_gateway = GatewayReach::None};
  policy.gateway_addresses = {Lab::prefix("192.0.2.0/24"), Lab::prefix("203.0.113.0/24")};
  policy.default_routes = {Lab::prefix("0.0.0.0/0"), Lab::prefix("::/0")};
  lab.add_server({.policy = std::move(policy)});
  ClientSetup setup;
  setup.tunnel.acceptance.defaults = RouteAcceptance::Defaults::Accept;
  SimClient& anna = lab.add_client("anna", std::move(setup));
  ASSERT_TRUE(lab.connect(anna));
  for (const char* text :
       {"10.8.0.1", "127.0.0.1", "169.254.169.254", "192.0.2.1", "203.0.113.1", "255.255.255.255",
        "224.0.0.251", "0.0.0.0", "fd00:8::1", "::1", "fe80::1", "ff02::fb", "ff05::2"}) {
    Flow& flow = lab.stream_to(anna.inner(), Lab::address(text),
                               {.interval = 20ms, .fate = PacketLedger::Fate::MustNotArrive});
    lab.run(100ms);
    flow.stop();
  }
  lab.run(200ms);
  EXPECT_EQ(lab.server().kernel().received(), 0u);
  EXPECT_TRUE(lab.ping_works(anna, 2s));
  lab.finish();
}

SCENARIO(newest_session_wins, 4,
         "B2: the same identity connects again and again: one session, one lease") {
  lab.add_server();
  constexpr int kTimes = 12;
  ScriptedClient* newest = nullptr;
  for (int i = 0; i < kTimes; ++i) {
    ScriptedClient& client = lab.add_scripted_client("anna");
    client.dial();
    ASSERT_TRUE(lab.until([&] { return client.ready(); }, 5s));
    client.act([&](Http3Connection& http, TransmitTarget&) {
      EXPECT_TRUE(
          http.open_request(lab.world.now(), connect_ip_request("vpn.example")).has_value());
    });
    lab.run(200ms + Duration(static_cast<int64_t>(lab.below(300'000'000))));
    newest = &client;
  }
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  EXPECT_EQ(lab.server().sessions_up().size(), static_cast<size_t>(kTimes));
  EXPECT_EQ(lab.server().leases().size(), 1u);
  for (const SessionUp& up : lab.server().sessions_up()) {
    EXPECT_EQ(up.addresses, lab.server().sessions_up()[0].addresses);
  }
  for (const SessionDown& down : lab.server().sessions_down())
    EXPECT_EQ(down.end, SessionEnd::Replaced);
  EXPECT_FALSE(newest->record().streams().begin()->second.closed.has_value());
  lab.finish();
}

SCENARIO(pool_exhausted, 3,
         "B1: six clients, five addresses: one is refused with a reason, and gets in when one "
         "leaves for good") {
  ServerSetup setup;
  setup.gateway.pools = {Lab::prefix("10.8.0.0/29")};  // the gateway and five clients
  setup.gateway.lease_time = 10s;
  lab.add_server(std::move(setup));
  std::vector<SimClient*> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(&lab.add_client("client" + std::to_string(i)));
    clients.back()->start();
    lab.run(300ms);
  }
  const auto connected = [&] {
    return std::ranges::count_if(clients, [](SimClient* client) { return client->connected(); });
  };
  lab.run(5s);
  EXPECT_EQ(connected(), 5);
  EXPECT_GE(lab.server().gateway()->counters().pool_exhausted, 1u);
  EXPECT_FALSE(clients[5]->connected());
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(lab.ping_works(*clients[static_cast<size_t>(i)], 2s));
  clients[2]->stop();
  EXPECT_TRUE(lab.until([&] { return clients[5]->connected(); }, 120s));
  EXPECT_TRUE(lab.ping_works(*clients[5], 2s));
  lab.finish();
}

// proves: Z1
SCENARIO(revocation_under_load, 4,
         "B3, I2: revoked in a transfer: gone within a second, no packet after it, no way back") {
  lab.add_server({.policy = policy_for({{"anna", {}}, {"bert", {}}})});
  SimClient& anna = lab.add_client("anna");
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  Flow& up = lab.stream(anna.inner(), lab.internet(), {.interval = 5ms, .packet_size = 1000});
  Flow& down = lab.stream(lab.internet(), anna.inner(), {.interval = 5ms, .packet_size = 1000});
  Flow& other = lab.stream(bert.inner(), lab.internet(), {.interval = 10ms});
  lab.run(1s + Duration(static_cast<int64_t>(lab.below(300'000'000))));
  PolicySnapshot policy = policy_for({{"bert", {}}});
  policy.default_routes = usual_routes();
  policy.revoked = {null_tls_fingerprint("anna")};
  lab.server().set_policy(std::move(policy));
  lab.server().control([](Gateway& gateway) { gateway.revoke("anna"); });
  lab.run(1ms);
  // What is sent from here on must not arrive; what is under way towards her may.
  up.set_fate(PacketLedger::Fate::MustNotArrive);
  down.set_fate(PacketLedger::Fate::MustNotArrive);
  EXPECT_TRUE(lab.until(
      [&] { return lab.server().gateway()->session_count() == 1 && !anna.connected(); }, 1s));
  lab.run(60s);
  EXPECT_FALSE(anna.connected());
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  EXPECT_GE(lab.server().refused().size(), 1u);
  EXPECT_LE(anna.dials(), 12u) << "no storm";
  EXPECT_GE(other.arrived() + 5, other.sent());
  lab.finish();
}

// proves: L4, A1
SCENARIO(address_change_under_load, 4,
         "Addresses of a live session change by capsule under traffic; the connection stays") {
  lab.add_server();
  SimClient& anna = lab.add_client("anna");
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  Flow& up = lab.ping(anna.inner(), lab.internet(), {.interval = 10ms});
  Flow& down =
      lab.stream(lab.internet(), anna.inner(), {.interval = 10ms, .version = IpVersion::V6});
  lab.stream(bert.inner(), lab.internet(), {.interval = 10ms});
  for (int i = 0; i < 6; ++i) {
    lab.run(1s + Duration(static_cast<int64_t>(lab.below(200'000'000))));
    const auto v4 = IpPrefix::host(IpAddress::v4(0x0a080032 + static_cast<uint32_t>(i)));
    const auto v6 = Lab::prefix("fd00:8::" + std::to_string(100 + i));
    lab.server().control([v4, v6](Gateway& gateway) {
      EXPECT_TRUE(
          gateway.set_session("anna", {.addresses = std::vector{v4, v6}, .routes = std::nullopt})
              .has_value());
    });
    ASSERT_TRUE(lab.until([&] { return anna.inner_address(IpVersion::V4) == v4.address(); }, 1s));
  }
  const uint64_t before_up = up.arrived();
  const uint64_t before_down = down.arrived();
  lab.run(1s);
  EXPECT_GE(up.arrived(), before_up + 90);
  EXPECT_GE(down.arrived(), before_down + 90);
  EXPECT_EQ(anna.dials(), 1u);
  EXPECT_GE(1.0 - up.figures().loss(), 0.95);
  // The address of somebody else cannot be taken.
  const auto theirs = IpPrefix::host(*bert.inner_address(IpVersion::V4));
  lab.server().control([theirs](Gateway& gateway) {
    EXPECT_FALSE(
        gateway.set_session("anna", {.addresses = std::vector{theirs}, .routes = std::nullopt})
            .has_value());
  });
  lab.run(100ms);
  lab.finish();
}

// proves: V1
SCENARIO(route_change_under_load, 4,
         "Routes of a live session change by capsule: withdrawn ones carry nothing more") {
  lab.add_server();
  SimClient& anna = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(anna));
  InnerNode& second = lab.add_inner("second", {Lab::prefix("203.0.113.200")});
  lab.server().add_inner(second);
  Flow& first_flow = lab.stream(anna.inner(), lab.internet(), {.interval = 10ms});
  Flow& second_flow = lab.stream(anna.inner(), second,
                                 {.interval = 10ms, .fate = PacketLedger::Fate::MustNotArrive});
  lab.run(1s);
  EXPECT_EQ(second_flow.arrived(), 0u);
  EXPECT_GE(first_flow.arrived(), 90u);
  second_flow.set_fate(PacketLedger::Fate::MayArrive);
  lab.server().control([](Gateway& gateway) {
    EXPECT_TRUE(gateway
                    .set_session("anna", {.addresses = std::nullopt,
                                          .routes = std::vector{Lab::prefix("203.0.113.0/24")}})
                    .has_value());
  });
  const auto changed = [&] {
    // Those of IPv6, which the change does not name, stay.
    return anna.routes().front() == Lab::prefix("203.0.113.0/24") &&
           anna.routes().at(1).version() == IpVersion::V6;
  };
  ASSERT_TRUE(lab.until(changed, 1s));
  lab.run(100ms);
  first_flow.set_fate(PacketLedger::Fate::MustNotArrive);
  const uint64_t before = first_flow.arrived();
  lab.run(1s);
  EXPECT_LE(first_flow.arrived(), before + 3);
  EXPECT_GE(second_flow.arrived(), 90u);
  EXPECT_EQ(anna.dials(), 1u);
  lab.finish();
}

SCENARIO(
    default_route_beside_narrower_ones, 3,
    "One client takes the default route that the gateway offers, the other the narrower ones") {
  ServerSetup setup;
  setup.policy.default_routes = {Lab::prefix("0.0.0.0/0"), Lab::prefix("198.51.100.0/24"),
                                 Lab::prefix("10.200.0.0/16")};
  lab.add_server(std::move(setup));
  SimClient& split = lab.add_client("anna");
  SimClient& full = lab.add_client(
      "bert", {.tunnel = {.acceptance = {.defaults = RouteAcceptance::Defaults::Accept}}});
  ASSERT_TRUE(lab.connect(split));
  ASSERT_TRUE(lab.connect(full));
  EXPECT_EQ(split.routes(),
            (std::vector{Lab::prefix("10.200.0.0/16"), Lab::prefix("198.51.100.0/24")}));
  EXPECT_EQ(split.refused_routes(), std::vector{Lab::prefix("0.0.0.0/0")});
  EXPECT_EQ(full.routes(), std::vector{Lab::prefix("0.0.0.0/0")});
  EXPECT_TRUE(lab.ping_works(split, 2s));
  EXPECT_TRUE(lab.ping_works(full, 2s));
  lab.finish();
}

SCENARIO(site_to_site, 4,
         "A branch advertises its subnet: hosts behind it and behind the gateway talk, also by "
         "changes") {
  const ClientPolicy branch{.own_subnets = {Lab::prefix("10.20.0.0/16")}};
  lab.add_server({.policy = policy_for({{"branch", branch}, {"anna", {}}})});
  ClientSetup setup;
  setup.tunnel.site_subnets = {Lab::prefix("10.20.1.0/24")};
  SimClient& client = lab.add_client("branch", std::move(setup));
  InnerNode& printer = lab.add_inner("printer", {Lab::prefix("10.20.1.5")});
  client.add_inner(printer);
  ASSERT_TRUE(lab.connect(client));
  SimClient& anna = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.until(
      [&] { return lab.server().kernel_routes() == std::vector{Lab::prefix("10.20.1.0/24")}; },
      2s));
  Flow& in = lab.ping(lab.internet(), printer, {.interval = 20ms});
  Flow& out = lab.ping(printer, lab.internet(), {.interval = 20ms});
  // Another client may not reach the branch, nor send as if it were there.
  Flow& intruder = lab.stream_to(anna.inner(), Lab::address("10.20.1.5"),
                                 {.interval = 50ms, .fate = PacketLedger::Fate::MustNotArrive});
  lab.run(2s);
  EXPECT_GE(in.arrived(), 90u);
  EXPECT_GE(out.arrived(), 90u);
  intruder.stop();
  // Not its own subnet: refused, and the first one stays.
  client.control([](TunnelClient& tunnel) {
    tunnel.set_site_subnets({Lab::prefix("10.20.1.0/24"), Lab::prefix("172.16.0.0/12")});
  });
  lab.run(500ms);
  EXPECT_EQ(lab.server().kernel_routes(), std::vector{Lab::prefix("10.20.1.0/24")});
  client.control([](TunnelClient& tunnel) { tunnel.set_site_subnets({}); });
  ASSERT_TRUE(lab.until([&] { return lab.server().kernel_routes().empty(); }, 1s));
  in.set_fate(PacketLedger::Fate::MustNotArrive);
  lab.run(1s);
  lab.finish();
  EXPECT_TRUE(lab.server().kernel_routes().empty());
}

SCENARIO(branch_comes_and_goes, 3,
         "Kernel routes follow the branch's session, also when it dies without a word") {
  const ClientPolicy branch{.own_subnets = {Lab::prefix("10.20.0.0/16")}};
  lab.add_server({.policy = policy_for({{"branch", branch}})});
  ClientSetup setup;
  setup.tunnel.site_subnets = {Lab::prefix("10.20.1.0/24")};
  SimClient& client = lab.add_client("branch", std::move(setup));
  ASSERT_TRUE(lab.connect(client));
  ASSERT_TRUE(lab.until([&] { return lab.server().kernel_routes().size() == 1; }, 2s));
  client.kill_process();
  EXPECT_TRUE(lab.until([&] { return lab.server().kernel_routes().empty(); }, 40s))
      << "with the idle timeout";
  client.start_again();
  EXPECT_TRUE(lab.until(
      [&] { return client.connected() && lab.server().kernel_routes().size() == 1; }, 5s));
  lab.finish();
}

SCENARIO(unknown_client_is_refused, 2,
         "A certificate whose name is not known: 403 with a reason, no session, no storm") {
  lab.add_server({.policy = policy_for({{"anna", {}}})});
  SimClient& mallory = lab.add_client("mallory");
  EXPECT_FALSE(lab.connect(mallory, 5s));
  EXPECT_EQ(mallory.state(), ClientState::Failed);
  ASSERT_GE(lab.server().refused().size(), 1u);
  EXPECT_EQ(lab.server().refused()[0].status, 403u);
  EXPECT_EQ(lab.server().gateway()->session_count(), 0u);
  lab.run(5min);
  EXPECT_LE(lab.server().refused().size(), 16u);
  lab.finish();
}

// proves: K4, E1
SCENARIO(ttl_expires, 2,
         "C12: packets with TTL 1 between clients are answered with Time Exceeded, not forwarded") {
  const ClientPolicy open{.reach_clients = Permission::Allow};
  lab.add_server({.policy = policy_for({{"anna", open}, {"bert", open}})});
  SimClient& anna = lab.add_client("anna");
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  const uint16_t flow = lab.ledger.new_flow([](InnerNode&, const IpPacketView&, Bytes, InnerId) {});
  uint32_t sequence = 0;
  for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
    for (uint8_t ttl : {uint8_t{0}, uint8_t{1}}) {
      anna.inner().send(make_udp_packet({.source = *anna.inner_address(version),
                                         .destination = *bert.inner_address(version),
                                         .id = {.flow = flow, .sequence = sequence++},
                                         .ttl = ttl}),
                        PacketLedger::Fate::MustNotArrive);
      lab.run(300ms);
    }
  }
  EXPECT_GE(anna.inner().icmp_errors(IcmpErrorKind::TimeExceeded), 2u);
  lab.finish();
}

}  // namespace
}  // namespace masque
