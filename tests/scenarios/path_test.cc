// SPDX-License-Identifier: Apache-2.0
// What links and middleboxes do to a living tunnel: loss, damage, order, rates, MTU, holes, NATs.
#include <algorithm>

#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

// I-8: after healing, ping passes within 5 s and three probe timeouts.
constexpr Duration kRecovery = 8s;

SimClient& connected_client(Lab& lab, ClientSetup setup = {}, ServerSetup server = {}) {
  lab.add_server(std::move(server));
  SimClient& client = lab.add_client("anna", std::move(setup));
  EXPECT_TRUE(lab.connect(client));
  return client;
}

// Traffic both ways while the link misbehaves, then a healed link. `share`: what must get through.
void survives(Lab& lab, const LinkOptions& bad, Duration length, double share) {
  SimClient& client = connected_client(lab);
  lab.network.set_links(client.id(), bad);
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 10ms, .packet_size = 700});
  Flow& down = lab.stream(lab.internet(), client.inner(),
                          {.interval = 10ms, .packet_size = 700, .version = IpVersion::V6});
  lab.run(length);
  lab.network.set_links(client.id(), {});
  up.stop();
  down.stop();
  // RFC 9002 6.2: a run of lost probes has doubled the probe timeout each time; the next one is
  // awaited.
  EXPECT_TRUE(lab.ping_works(client, kRecovery + 15s)) << lab.describe(client);
  EXPECT_TRUE(client.connected());
  EXPECT_EQ(client.dials(), 1u) << "the connection was given up";
  EXPECT_GE(1.0 - up.figures().loss(), share);
  EXPECT_GE(1.0 - down.figures().loss(), share);
  lab.finish();
}

SCENARIO(path_duplication, 4,
         "L: a third of all datagrams twice: nothing arrives twice inside (I-2)") {
  survives(lab, {.delay = 20ms, .duplicate_ppm = 333'333, .duplicate_delay = 7ms}, 10s, 1.0);
}

SCENARIO(path_corruption_30, 4,
         "L4: 30 % of all datagrams damaged: none gets in, the tunnel lives") {
  survives(lab, {.delay = 20ms, .corrupt_ppm = 300'000}, 10s, 0.05);
}

SCENARIO(path_reordering, 4,
         "L7: 200 ms of jitter without order: no spurious close; late packets still count") {
  survives(lab, {.delay = 20ms, .jitter = 200ms, .order = LinkOptions::Order::Free}, 10s, 0.6);
}

SCENARIO(path_jitter_in_order, 3, "Jitter of 100 ms in order") {
  survives(lab, {.delay = 20ms, .jitter = 100ms}, 10s, 0.97);
}

SCENARIO(path_wandering_delay, 3, "The base delay walks between 25 and 125 ms with 2 % loss") {
  survives(lab, {.delay = 25ms, .walk_width = 100ms, .walk_step = 3ms, .loss_ppm = 20'000}, 20s,
           0.5);
}

SCENARIO(path_burst_loss, 4, "5 % loss in bursts of four") {
  survives(lab, {.delay = 20ms, .burst_enter_ppm = 13'000, .burst_leave_ppm = kPpm / 4}, 15s, 0.6);
}

SCENARIO(path_round_trip_falls, 3,
         "A round trip of 40 ms falls to 0.4: a stream right after it is not held back") {
  SimClient& client = connected_client(lab, {.up = {.delay = 20ms}, .down = {.delay = 20ms}});
  lab.ping(client.inner(), lab.internet(), {.interval = 50ms});
  lab.run(2s);
  lab.network.set_links(client.id(), {.delay = 200us});
  lab.run(3s);
  constexpr FlowOptions kFast{.interval = 240us, .packet_size = 1200};  // 40 Mbit/s
  Flow& up = lab.stream(client.inner(), lab.internet(), kFast);
  Flow& down = lab.stream(lab.internet(), client.inner(), kFast);
  lab.run(3s);
  EXPECT_LE(up.figures().loss(), 0.05);
  EXPECT_LE(down.figures().loss(), 0.05);
  lab.finish();
}

// proves: I1
SCENARIO(path_blackhole_and_heal, 5,
         "Nothing passes for 5, 12 or 20 s, then everything: the same connection goes on") {
  SimClient& client = connected_client(lab);
  Flow& flow = lab.ping(client.inner(), lab.internet(), {.interval = 100ms});
  lab.run(2s);
  const Duration holes[] = {5s, 12s, 20s};
  const Duration hole = holes[lab.seed() % 3];
  lab.network.set_links(client.id(), {.path = LinkOptions::Path::Blackhole});
  lab.run(hole);
  lab.network.set_links(client.id(), {});
  const uint64_t before = flow.arrived();
  EXPECT_TRUE(lab.until([&] { return flow.arrived() > before + 10; }, kRecovery));
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: I7
SCENARIO(path_blackhole_beyond_idle, 3,
         "A hole longer than the idle timeout: the client connects anew with its address") {
  SimClient& client = connected_client(lab);
  const auto address = client.inner_address(IpVersion::V4);
  lab.network.set_links(client.id(), {.path = LinkOptions::Path::Blackhole});
  lab.run(100s);
  EXPECT_FALSE(client.connected());
  EXPECT_EQ(lab.server().gateway()->session_count(), 0u);
  lab.network.set_links(client.id(), {});
  // The back-off is at most 30 s and a dial takes its 10 s.
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 45s));
  EXPECT_EQ(client.inner_address(IpVersion::V4), address);
  EXPECT_TRUE(lab.ping_works(client, kRecovery)) << lab.describe(client);
  lab.finish();
}

SCENARIO(path_one_way_blackhole, 4, "Only one direction dies for 10 s") {
  SimClient& client = connected_client(lab);
  Flow& flow = lab.ping(client.inner(), lab.internet(), {.interval = 100ms});
  lab.run(1s);
  const LinkOptions dead{.path = LinkOptions::Path::Blackhole};
  if (lab.seed() % 2 == 0) {
    lab.network.set_links(client.id(), {}, dead);
  } else {
    lab.network.set_links(client.id(), dead, {});
  }
  lab.run(10s);
  lab.network.set_links(client.id(), {});
  const uint64_t before = flow.arrived();
  EXPECT_TRUE(lab.until([&] { return flow.arrived() > before + 10; }, kRecovery));
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: J2
SCENARIO(mtu_is_found, 3, "Links of 1500, 1452 and 1400: the tunnel takes what fits") {
  const size_t mtus[] = {1500, 1452, 1400};
  const size_t mtu = mtus[lab.seed() % 3];
  SimClient& client = connected_client(lab, {.up = {.mtu = mtu}, .down = {.mtu = mtu}});
  lab.run(20s);  // the search takes a few round trips and probe timeouts
  // IP and UDP 28, short header 1 + 8 + 4, AEAD 16, frame type 1, quarter stream id and context 2.
  const size_t best = mtu - 28 - 13 - 16 - 1 - 2;
  EXPECT_LE(client.tunnel().mtu(), best + 3);  // shorter packet numbers
  EXPECT_GE(client.tunnel().mtu() + 60, best) << "the search stopped early";
  EXPECT_GE(client.tunnel().mtu(), 1280u);
  Flow& flow = lab.ping(client.inner(), lab.internet(),
                        {.interval = 50ms, .packet_size = client.tunnel().mtu()});
  lab.run(2s);
  EXPECT_GE(flow.arrived(), 35u);
  lab.finish();
}

// proves: U5, E2
SCENARIO(packet_too_big_both_ways, 3,
         "C13: packets beyond the limit are answered with the limit now, both ways, v4 and v6") {
  SimClient& client = connected_client(lab);
  lab.run(5s);
  const size_t limit = client.tunnel().mtu();
  for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
    client.inner().forget_path_mtu();
    lab.internet().forget_path_mtu();
    const FlowOptions big{.interval = 200ms, .packet_size = 1600, .version = version};
    Flow& up = lab.stream(client.inner(), lab.internet(), big);
    Flow& down = lab.stream(lab.internet(), client.inner(), big);
    lab.run(2s);
    up.stop();
    down.stop();
    EXPECT_EQ(up.arrived() + down.arrived(), 0u);
    ASSERT_TRUE(client.inner().path_mtu().has_value());
    ASSERT_TRUE(lab.internet().path_mtu().has_value());
    EXPECT_EQ(*client.inner().path_mtu(), limit);
    EXPECT_GE(*lab.internet().path_mtu(), 1280u);
    // What they say fits, does.
    Flow& fits = lab.stream(
        client.inner(), lab.internet(),
        {.interval = 100ms, .packet_size = *client.inner().path_mtu(), .version = version});
    lab.run(1s);
    fits.stop();
    lab.run(100ms);
    EXPECT_EQ(fits.arrived(), fits.sent());
  }
  lab.finish();
}

// proves: U1
SCENARIO(mtu_drop_to_1400_and_back, 5,
         "C14: the path shrinks to 1400 in a transfer: it stalls for less than 3 s of recovery") {
  const LinkOptions link{.rate_bits_per_second = 5'000'000, .delay = 20ms};
  SimClient& client = connected_client(lab, {.up = link, .down = link});
  lab.run(5s);
  const size_t before = client.tunnel().mtu();
  Transfer& transfer =
      lab.transfer(client.inner(), lab.internet(), {.bytes = 3'000'000, .packet_size = before});
  lab.run(2s);
  EXPECT_FALSE(transfer.done());
  LinkOptions narrow = link;
  narrow.mtu = 1400;
  lab.network.set_links(client.id(), narrow);
  lab.run(30s);
  EXPECT_TRUE(transfer.done());
  // Persistent congestion is what tells ngtcp2 that the large packets die: a few probe timeouts.
  EXPECT_LE(transfer.stall_max(), 4s);
  EXPECT_LT(client.tunnel().mtu(), 1400u - 60u);
  EXPECT_EQ(client.dials(), 1u);
  lab.network.set_links(client.id(), {});
  EXPECT_TRUE(lab.ping_works(client, kRecovery, IpVersion::V6));
  lab.finish();
}

// proves: U1
SCENARIO(
    probes_of_a_narrow_path_cost_no_packet, 5,
    "C14: after the path has shrunk, the search for a larger size loses nothing of the users'") {
  SimClient& client = connected_client(lab);
  lab.run(2s);
  LinkOptions narrow;
  narrow.mtu = 1400;
  lab.network.set_links(client.id(), narrow);
  const auto settled = [&] { return client.tunnel().mtu() < 1400u - 60u; };
  Flow& finding =
      lab.stream(client.inner(), lab.internet(), {.interval = 20ms, .packet_size = 1400});
  EXPECT_TRUE(lab.until(settled, 60s));
  lab.run(3s);
  finding.stop();
  // As sparse as a sender that backs off: were a probe made of its packets, each would be one.
  Flow& sparse = lab.stream(client.inner(), lab.internet(),
                            {.interval = 500ms, .packet_size = client.tunnel().mtu()});
  lab.run(60s);
  sparse.stop();
  lab.run(1s);
  EXPECT_EQ(sparse.figures().loss(), 0.0);
  EXPECT_LT(client.tunnel().mtu(), 1400u - 60u);
  lab.finish();
}

// proves: U4, X5, J5
SCENARIO(
    mtu_drop_to_1280_aborts_ipv6, 5,
    "C14: an outer path of 1280 cannot carry IPv6: abort with a reason, come back when it heals") {
  SimClient& client = connected_client(lab, {.tunnel = {.ipv4_only_first = 20s}});
  lab.run(2s);
  lab.network.set_links(client.id(), {.mtu = 1280});
  Flow& large = lab.stream(client.inner(), lab.internet(),
                           {.interval = 20ms, .packet_size = 1280, .version = IpVersion::V6});
  const auto aborted = [&] {
    return std::ranges::any_of(
               lab.server().sessions_down(),
               [](const SessionDown& down) { return down.end == SessionEnd::MtuTooSmall; }) ||
           std::ranges::any_of(client.states(), [](const SimClient::StateRecord& record) {
             return record.reason.find("1280") != std::string::npos;
           });
  };
  // 15 s of grace after the limit has fallen.
  EXPECT_TRUE(lab.until(aborted, 60s));
  large.stop();
  lab.network.set_links(client.id(), {});
  // The wider path is noticed once there is a new connection over it.
  const auto back = [&] {
    return client.connected() && client.inner_address(IpVersion::V6) &&
           client.tunnel().mtu() >= 1280;
  };
  EXPECT_TRUE(lab.until(back, 60s));
  EXPECT_TRUE(lab.ping_works(client, kRecovery, IpVersion::V6));
  lab.finish();
}

// proves: U4
SCENARIO(narrow_path_keeps_ipv4, 4,
         "A path of 1280 from the start: after the grace IPv4 alone, for as long as it stays so") {
  SimClient& client = connected_client(
      lab, {.tunnel = {.ipv4_only_first = 120s}, .up = {.mtu = 1280}, .down = {.mtu = 1280}});
  ASSERT_TRUE(lab.until([&] { return client.ipv6_drops() == 1; }, 30s));
  ASSERT_TRUE(lab.until([&] { return client.connected(); }, 5s));
  EXPECT_FALSE(client.inner_address(IpVersion::V6));
  const uint64_t dials = client.dials();
  Flow& flow = lab.ping(client.inner(), lab.internet(), {.interval = 100ms});
  lab.run(100s);
  EXPECT_EQ(client.dials(), dials) << "it is content";
  EXPECT_LT(flow.figures().loss(), 0.01);
  // It asks again when the time is over, and once more learns that IPv6 does not fit.
  ASSERT_TRUE(lab.until([&] { return client.ipv6_drops() == 2; }, 60s));
  ASSERT_TRUE(lab.until([&] { return client.connected(); }, 5s));
  EXPECT_EQ(client.dials(), dials + 2);
  // Another network may be wider.
  lab.network.set_links(client.id(), {});
  client.control([](TunnelClient& tunnel) { tunnel.on_network_changed(); });
  lab.run(1s);
  lab.kill_server();
  lab.server().start(SimServer::Secret::Kept);
  ASSERT_TRUE(lab.until([&] { return client.dials() > dials + 2 && client.connected(); }, 60s));
  EXPECT_TRUE(lab.ping_works(client, 5s, IpVersion::V6));
  lab.finish();
}

// proves: J1
SCENARIO(mtu_1228_carries_ipv4, 4,
         "An outer path of 1228 (1200 bytes of UDP): an IPv4 tunnel works") {
  ServerSetup server;
  server.gateway.pools = {Lab::prefix("10.8.0.0/24")};
  ClientSetup setup{.up = {.mtu = 1228}, .down = {.mtu = 1228}};
  SimClient& client = connected_client(lab, std::move(setup), std::move(server));
  Transfer& transfer = lab.transfer(client.inner(), lab.internet(), {.bytes = 300'000});
  EXPECT_TRUE(lab.until([&] { return transfer.done(); }, 20s));
  EXPECT_LT(client.tunnel().mtu(), 1200u);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

SimClient& client_behind_nat(Lab& lab, ServerSetup server = {}) {
  lab.add_server(std::move(server));
  SimClient& client = lab.add_client("anna");
  lab.network.add_nat(client.id(), Lab::address("198.18.7.1"));
  EXPECT_TRUE(lab.connect(client));
  return client;
}

// proves: M3
SCENARIO(nat_rebinding_of_the_port, 5,
         "The NAT gives another port under traffic: the connection follows, little is lost") {
  SimClient& client = client_behind_nat(lab);
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 20ms});
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 20ms});
  for (int i = 0; i < 4; ++i) {
    lab.run(3s);
    lab.network.rebind_port(client.id());
  }
  lab.run(3s);
  EXPECT_EQ(client.dials(), 1u);
  EXPECT_LE(up.figures().loss(), 0.02);
  EXPECT_LE(down.figures().loss(), 0.05);
  EXPECT_LE(down.figures().gap_max, 1s);
  lab.finish();
}

SCENARIO(nat_rebinding_of_the_address, 5, "The NAT's public address changes under traffic") {
  SimClient& client = client_behind_nat(lab);
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 20ms});
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 20ms});
  lab.run(3s);
  lab.network.rebind_address(client.id(), Lab::address("198.18.7.2"));
  lab.run(5s);
  EXPECT_EQ(client.dials(), 1u);
  EXPECT_LE(up.figures().loss(), 0.05);
  EXPECT_LE(down.figures().gap_max, 1500ms);
  EXPECT_TRUE(lab.ping_works(client, kRecovery)) << lab.describe(client);
  lab.finish();
}

SCENARIO(nat_rebinding_while_idle, 4,
         "Q18: the NAT forgets an idle client; its next packet finds the way, the gateway's too") {
  SimClient& client = client_behind_nat(lab);
  lab.run(60s);
  lab.network.rebind_port(client.id());
  // Nothing reaches the client before its own keep-alive has passed the NAT: 20 s at most.
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 500ms});
  EXPECT_TRUE(lab.until([&] { return down.arrived() > 0; }, 25s));
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: N3
SCENARIO(nat_rebinding_twenty_times, 3,
         "Connection IDs do not run out: twenty rebindings on one connection") {
  SimClient& client = client_behind_nat(lab);
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 50ms});
  for (int i = 0; i < 20; ++i) {
    lab.run(1s + Duration(static_cast<int64_t>(lab.below(1'000'000'000))));
    lab.network.rebind_port(client.id());
  }
  lab.run(3s);
  EXPECT_EQ(client.dials(), 1u);
  EXPECT_LE(up.figures().loss(), 0.05);
  EXPECT_TRUE(lab.ping_works(client, kRecovery)) << lab.describe(client);
  lab.finish();
}

SCENARIO(path_responses_lost, 5,
         "Every answer to a path challenge is lost while the window is small: service comes back") {
  SimClient& client = client_behind_nat(lab);
  lab.run(2s);
  // Persistent congestion brings the window down to its minimum ...
  Flow& flood = lab.stream(client.inner(), lab.internet(), {.interval = 5ms, .packet_size = 1000});
  lab.run(300ms);
  lab.network.set_links(client.id(), {.path = LinkOptions::Path::Blackhole});
  lab.run(3s);
  flood.stop();
  lab.network.set_links(client.id(), {});
  lab.run(4s);
  // ... then the gateway challenges a new path, and no datagram of a path response comes through.
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 20ms});
  uint64_t lost = 0;
  const Instant until = lab.world.now() + 1s;
  lab.network.set_filter([&](const Network::Packet& packet) {
    const bool response = packet.to == lab.server().listen_address() &&
                          (packet.bytes.size() == 1200 || packet.bytes.size() == 1208);
    if (response) ++lost;
    return response && lab.world.now() < until;
  });
  lab.network.rebind_port(client.id());
  Flow& one = lab.ping(client.inner(), lab.internet(), {.interval = 20ms});
  lab.run(60ms);
  one.stop();
  lab.run(2s);
  lab.network.set_filter(nullptr);
  EXPECT_GE(lost, 2u);
  down.stop();
  EXPECT_TRUE(lab.ping_works(client, 20s)) << lab.describe(client);
  lab.finish();
}

SCENARIO(key_update_under_load, 4,
         "Both ends change their keys again and again in a transfer: nothing is lost or wrong") {
  SimClient& client = connected_client(lab);
  Transfer& transfer = lab.transfer(client.inner(), lab.internet(), {.bytes = 2'000'000});
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 10ms});
  size_t updates = 0;
  lab.world.every(700ms, [&] {
    if (client.connection() == nullptr) return false;
    client.connection()->quic().initiate_key_update(lab.world.now());
    client.schedule_turn();
    ++updates;
    return updates < 12;
  });
  lab.run(10s);
  EXPECT_EQ(updates, 12u);
  EXPECT_TRUE(transfer.done());
  down.stop();
  lab.run(200ms);
  EXPECT_EQ(down.figures().arrived, down.figures().sent);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

SCENARIO_WITH(key_update_openssl, Crypto::Real, 2, "Key updates with real keys") {
  SimClient& client = connected_client(lab);
  Flow& down = lab.ping(client.inner(), lab.internet(), {.interval = 20ms});
  for (int i = 0; i < 5; ++i) {
    lab.run(1s);
    client.connection()->quic().initiate_key_update(lab.world.now());
    client.schedule_turn();
  }
  lab.run(1s);
  EXPECT_GE(down.arrived() + 5, down.sent());
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

SCENARIO(rate_10_megabit, 3,
         "L1: 15 ms, 10 Mbit/s, 25 packets of queue: a transfer gets most of the link") {
  const LinkOptions link{
      .rate_bits_per_second = 10'000'000, .queue_bytes_max = 25 * 1500, .delay = 15ms};
  SimClient& client = connected_client(lab, {.up = link, .down = link});
  Transfer& transfer = lab.transfer(lab.internet(), client.inner(), {.bytes = 5'000'000});
  const Instant start = lab.world.now();
  EXPECT_TRUE(lab.until([&] { return transfer.done(); }, 30s));
  const Duration took = lab.world.now() - start;
  // 5 MB in segments of 1000 in packets of up to 1400: 5.6 s at best (4 MB/s / 1.4).
  EXPECT_LE(took, 10s);
  lab.finish();
}

SCENARIO(rate_drop_and_back, 3,
         "L8: the rate falls 100:1 with two seconds of buffer and comes back") {
  LinkOptions link{.rate_bits_per_second = 50'000'000, .queue_bytes_max = 1'000'000, .delay = 20ms};
  SimClient& client = connected_client(lab, {.up = link, .down = link});
  Flow& flow = lab.stream(lab.internet(), client.inner(),
                          {.interval = 4ms, .packet_size = 1200});  // 2.4 Mbit/s
  lab.run(5s);
  link.rate_bits_per_second = 500'000;
  link.queue_bytes_max = 125'000;  // 2 s
  lab.network.set_links(client.id(), link);
  lab.run(15s);
  link.rate_bits_per_second = 50'000'000;
  lab.network.set_links(client.id(), link);
  lab.run(5s);
  flow.restart_figures();
  lab.run(3s);
  EXPECT_LE(flow.figures().loss(), 0.02);
  EXPECT_LE(flow.figures().delay_percentile(0.99), 300ms);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

SCENARIO(
    congested_link_bounded_queue, 3,
    "C15: 20 Mbit/s for a client with 2: bounded queue and delay; another client feels nothing") {
  lab.add_server();
  const LinkOptions slow{
      .rate_bits_per_second = 2'000'000, .queue_bytes_max = 50'000, .delay = 20ms};
  SimClient& anna = lab.add_client("anna", {.up = slow, .down = slow});
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  Flow& steady = lab.stream(lab.internet(), bert.inner(), {.interval = 10ms, .packet_size = 500});
  lab.run(3s);
  const Duration calm = steady.figures().delay_percentile(0.99);
  steady.restart_figures();
  Flow& flood = lab.stream(lab.internet(), anna.inner(), {.interval = 500us, .packet_size = 1250});
  lab.run(10s);
  flood.stop();
  EXPECT_GE(steady.figures().arrived + 3, steady.figures().sent);
  EXPECT_LE(steady.figures().delay_percentile(0.99), 2 * calm + 1ms);
  // It waits at most half a second in our queue (and 0.2 s in the link's); most of the link is
  // used.
  EXPECT_LE(flood.figures().delay_percentile(0.99), 1500ms);
  const double used = static_cast<double>(flood.figures().bytes_arrived) * 8 / 10 / 2'000'000;
  EXPECT_GE(used, 0.6);
  for (const SessionSnapshot& session : lab.server().gateway()->sessions()) {
    if (session.identity == "anna") {
      EXPECT_GT(session.counters.dropped(DropReason::QueueFull) +
                    session.counters.dropped(DropReason::QueueExpired) +
                    session.counters.dropped(DropReason::QueueManaged),
                100u);
    }
  }
  EXPECT_TRUE(lab.ping_works(anna, kRecovery));
  lab.finish();
}

SCENARIO(client_stops_acknowledging, 3,
         "C15: a client whose acknowledgements vanish holds nobody up and no memory") {
  lab.add_server();
  SimClient& anna = lab.add_client("anna");
  SimClient& bert = lab.add_client("bert");
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  Flow& steady = lab.stream(lab.internet(), bert.inner(), {.interval = 10ms});
  lab.stream(lab.internet(), anna.inner(), {.interval = 1ms, .packet_size = 1200});
  lab.run(1s);
  lab.network.set_links(anna.id(), {.path = LinkOptions::Path::Blackhole}, {});
  lab.run(15s);
  EXPECT_GE(steady.figures().arrived + 5, steady.figures().sent);
  lab.network.set_links(anna.id(), {});
  EXPECT_TRUE(lab.until([&] { return anna.connected(); }, 45s));
  // RFC 9002 6.2: the gateway's probe timeout has doubled all the time, so its next probe, and with
  // it the acknowledgement that frees its window, may take as long as the silence was.
  EXPECT_TRUE(lab.ping_works(anna, kRecovery + 15s));
  lab.finish();
}

}  // namespace
}  // namespace masque
