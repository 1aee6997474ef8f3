// SPDX-License-Identifier: Apache-2.0
// How tunnels come up: over bad links, with large hellos, through Retry, past floods and version
// negotiation.
#include <algorithm>

#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

LinkOptions lossy(double share) {
  return {.delay = 15ms, .loss_ppm = static_cast<uint32_t>(share * kPpm)};
}

// Connected within `limit` over that link; then the link heals and a ping passes (I-8).
void connects(Lab& lab, const LinkOptions& link, Duration limit, ClientSetup setup = {},
              ServerSetup server = {}) {
  lab.add_server(std::move(server));
  setup.up = setup.down = link;
  SimClient& client = lab.add_client("anna", std::move(setup));
  ASSERT_TRUE(lab.connect(client, limit)) << "not connected after " << limit / 1ms << " ms";
  lab.network.set_links(client.id(), {});
  EXPECT_TRUE(lab.ping_works(client, 5s));
  EXPECT_TRUE(lab.ping_works(client, 5s, IpVersion::V6));
  lab.finish();
}

SCENARIO(handshake_clean, 3, "No faults: connected after three round trips, at the first attempt") {
  lab.add_server();
  SimClient& client = lab.add_client("anna", {.up = {.delay = 50ms}, .down = {.delay = 50ms}});
  ASSERT_TRUE(lab.connect(client));
  // QUIC: one round trip; request and answer: another; the rest is for the assignment.
  EXPECT_LE(lab.world.now() - Instant(1s), 350ms);
  EXPECT_EQ(client.dials(), 1u);
  EXPECT_EQ(client.inner_address(IpVersion::V4), Lab::address("10.8.0.2"));
  EXPECT_TRUE(lab.ping_works(client, 1s));
  EXPECT_TRUE(lab.ping_works(client, 1s, IpVersion::V6));
  lab.finish();
}

SCENARIO(handshake_loss_10, 6, "L3: 10 % loss while connecting") { connects(lab, lossy(0.1), 15s); }
SCENARIO(handshake_loss_30, 8, "L3: 30 % loss while connecting") { connects(lab, lossy(0.3), 30s); }
SCENARIO(handshake_loss_50, 6, "L3: 50 % loss while connecting") { connects(lab, lossy(0.5), 60s); }

SCENARIO(handshake_burst_loss, 6, "L3: 30 % loss in bursts of three while connecting") {
  connects(lab, {.delay = 15ms, .burst_enter_ppm = 140'000, .burst_leave_ppm = kPpm / 3}, 60s);
}

SCENARIO(handshake_corruption_30, 6,
         "L4: every third packet damaged while connecting; nothing damaged gets in") {
  connects(lab, {.delay = 15ms, .corrupt_ppm = 300'000}, 30s);
}

SCENARIO(handshake_satellite, 2, "L2: 750 ms one way: connected within 8 s") {
  // Six one-way trips at least; the client waits for both families' addresses.
  connects(lab, {.delay = 750ms}, 8s);
}

SCENARIO(handshake_large_hello_shuffled, 10,
         "A ClientHello over two Initials that arrive in any order, and twice") {
  connects(
      lab,
      {.delay = 10ms, .jitter = 20ms, .order = LinkOptions::Order::Free, .duplicate_ppm = 200'000},
      10s, {.hello_size = 1900});
  EXPECT_EQ(lab.server().endpoint().counters().connections_created, 1u);
}

SCENARIO(handshake_every_packet_twice, 3, "All datagrams are duplicated; there is one session") {
  lab.add_server();
  const LinkOptions link{.delay = 10ms, .duplicate_ppm = kPpm};
  SimClient& client = lab.add_client("anna", {.up = link, .down = link});
  ASSERT_TRUE(lab.connect(client));
  EXPECT_TRUE(lab.ping_works(client, 2s));
  EXPECT_EQ(lab.server().sessions_up().size(), 1u);
  lab.finish();
}

// proves: V3t
SCENARIO(retry_always, 4,
         "Every client must prove its address first: one Retry each, then connected") {
  lab.add_server({.retry = RetryPolicy::Always});
  SimClient& anna = lab.add_client("anna", {.up = lossy(0.02), .down = lossy(0.02)});
  SimClient& bert = lab.add_client("bert", {.hello_size = 1900});
  ASSERT_TRUE(lab.connect(anna));
  ASSERT_TRUE(lab.connect(bert));
  EXPECT_GE(lab.server().endpoint().counters().retries, 2u);
  EXPECT_EQ(lab.server().endpoint().counters().bad_tokens, 0u);
  EXPECT_TRUE(lab.ping_works(bert, 2s));
  lab.finish();
}

// proves: V6t
SCENARIO(a_token_spares_the_retry, 4,
         "A restarted gateway with its secret takes the token of the connection before: no Retry") {
  lab.add_server({.retry = RetryPolicy::Always});
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  lab.run(1s);
  lab.kill_server();
  lab.server().start(SimServer::Secret::Kept);
  ASSERT_TRUE(lab.until([&] { return client.dials() == 2 && client.connected(); }, 60s));
  EXPECT_EQ(lab.server().endpoint().counters().retries, 0u);
  EXPECT_EQ(lab.server().endpoint().counters().bad_tokens, 0u);
  // The token is spent, and the new connection brought another.
  lab.kill_server();
  lab.server().start(SimServer::Secret::New);
  ASSERT_TRUE(lab.until([&] { return client.dials() >= 3 && client.connected(); }, 120s));
  EXPECT_GE(lab.server().endpoint().counters().retries, 1u) << "a new secret knows no old token";
  lab.finish();
}

SCENARIO_WITH(retry_always_openssl, Crypto::Real, 2,
              "Retry with real TLS and a post-quantum ClientHello") {
  lab.add_server({.retry = RetryPolicy::Always});
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  EXPECT_GE(lab.server().endpoint().counters().retries, 1u);
  EXPECT_TRUE(lab.ping_works(client, 2s));
  lab.finish();
}

SCENARIO_WITH(handshake_loss_30_openssl, Crypto::Real, 3, "L3 with real TLS") {
  connects(lab, lossy(0.3), 30s);
}

// The first flight of a client that never answers, as an attacker would send it from a false
// address.
std::vector<std::vector<uint8_t>> first_flight(Lab& lab, TlsContext& tls, const SocketAddress& from,
                                               const SocketAddress& to) {
  class Nothing final : public RequestHandler {
  } handler;
  auto quic = QuicConnection::create_client(lab.world.now(), {}, tls, lab.world.rng(),
                                            {.path = {.local = from, .remote = to}, .token = {}});
  Http3Connection http(Http3Connection::Role::Client, std::move(quic), handler);
  TransmitBatch batch;
  http.poll_transmit(lab.world.now(), batch);
  std::vector<std::vector<uint8_t>> out;
  for (const TransmitRun& run : batch.runs()) {
    const Bytes all = batch.bytes(run);
    for (size_t at = 0; at < all.size(); at += run.segment_size) {
      const Bytes one = all.subspan(at, std::min<size_t>(run.segment_size, all.size() - at));
      out.emplace_back(one.begin(), one.end());
    }
  }
  return out;
}

// proves: V1t
SCENARIO(retry_auto_under_flood, 3,
         "Q2: spoofed Initials turn Retry on; state stays bounded; the honest get in") {
  lab.add_server({.half_open_before_retry = 16});
  SimClient& client = lab.add_client("anna");
  const auto tls = lab.client_tls("mallory");
  const SocketAddress server = lab.server().listen_address();
  uint32_t next = 0;
  size_t half_open_max = 0;
  lab.world.every(2ms, [&] {
    const SocketAddress from{.address = IpAddress::v4(0xc6120000 + ++next), .port = 1234};
    for (auto& bytes : first_flight(lab, *tls, from, server)) {
      lab.network.inject({.from = from,
                          .to = server,
                          .ecn = Ecn::NotEct,
                          .bytes = std::move(bytes),
                          .sent_at = {}});
    }
    half_open_max = std::max(half_open_max, lab.server().endpoint().connection_count());
    return next < 1500;
  });
  lab.run(1s);
  client.start();
  EXPECT_TRUE(lab.until([&] { return client.connected(); }, 3s));
  lab.run(3s);
  EXPECT_GT(lab.server().endpoint().counters().retries, 1000u);
  EXPECT_LE(half_open_max, 18u);
  EXPECT_TRUE(lab.ping_works(client, 2s));
  // The half-open ones end by themselves.
  EXPECT_TRUE(lab.until([&] { return lab.server().endpoint().connection_count() == 1; }, 30s));
  lab.finish();
}

// First flights of an address that never answers. The account is kept by the network for every
// address (I-7): more is a violation.
void spoof_first_flights(Lab& lab, std::string_view address, int copies) {
  const auto tls = lab.client_tls("mallory");
  const SocketAddress server = lab.server().listen_address();
  const SocketAddress victim{.address = Lab::address(address), .port = 1234};
  for (int i = 0; i < 3; ++i) {
    for (const auto& bytes : first_flight(lab, *tls, victim, server)) {
      for (int copy = 0; copy < copies; ++copy) {
        lab.network.inject(
            {.from = victim, .to = server, .ecn = Ecn::NotEct, .bytes = bytes, .sent_at = {}});
      }
    }
    lab.run(7s);  // probe timeouts and the close of the handshake are in it
  }
  lab.run(30s);
  const auto* account = lab.network.account(victim);
  ASSERT_NE(account, nullptr);
  EXPECT_GT(account->sent, account->received);
  EXPECT_LE(account->sent, 3 * account->received);
  EXPECT_TRUE(lab.server().endpoint().idle());
}

// proves: V1t
SCENARIO(amplification_silent_client, 3,
         "Q4: a large certificate to an address that never answers: three times at most") {
  lab.add_server({.certificate_size = 12'000});
  spoof_first_flights(lab, "198.18.0.1", 1);
  lab.finish();
}

SCENARIO(amplification_with_copies, 3,
         "The server's flight goes twice and three times what came is not exceeded") {
  ServerSetup server;
  server.gateway.resilience.mode = ResilienceMode::Auto;
  lab.add_server(std::move(server));
  spoof_first_flights(lab, "198.18.0.1", 1);
  spoof_first_flights(lab, "198.18.0.2", 2);
  lab.finish();
}

SCENARIO(amplification_large_certificate, 4,
         "A large certificate over a lossy link: the limit slows, never blocks") {
  connects(lab, lossy(0.1), 20s, {}, {.certificate_size = 12'000});
}

class Listener final : public UdpHost {
 public:
  void on_udp(const NetworkPath&, Ecn, Bytes bytes) override {
    received.emplace_back(bytes.begin(), bytes.end());
  }
  std::vector<std::vector<uint8_t>> received;
};

std::vector<uint8_t> strange_initial(size_t size, uint32_t version) {
  std::vector<uint8_t> out(size, 0x55);
  ByteWriter writer(out);
  writer.u8(0xc3);
  writer.u32(version);
  writer.u8(8);
  for (uint8_t i = 0; i < 8; ++i) writer.u8(i);
  writer.u8(4);
  for (uint8_t i = 0; i < 4; ++i) writer.u8(static_cast<uint8_t>(0xa0 + i));
  return out;
}

// proves: VN1, VN2, VN4
SCENARIO(version_negotiation, 2,
         "An unknown version is answered with ours, a small datagram or an answer with nothing") {
  lab.add_server();
  Listener listener;
  const SocketAddress from{.address = Lab::address("203.0.113.200"), .port = 999};
  lab.network.attach(listener, from.address, Network::Kind::Client);
  const SocketAddress server = lab.server().listen_address();
  const auto ask = [&](std::vector<uint8_t> bytes) {
    listener.received.clear();
    lab.network.inject(
        {.from = from, .to = server, .ecn = Ecn::NotEct, .bytes = std::move(bytes), .sent_at = {}});
    lab.run(1s);
  };
  ask(strange_initial(1200, 0x1a2a3a4a));
  ASSERT_EQ(listener.received.size(), 1u);
  const std::vector<uint8_t>& answer = listener.received[0];
  ASSERT_GE(answer.size(), 27u);
  EXPECT_EQ(load_be32(answer.data() + 1), 0u);
  // Our version 1 is among those offered; connection IDs are exchanged.
  EXPECT_EQ(answer[5], 4);
  EXPECT_EQ(answer[6], 0xa0);
  const uint8_t v1[] = {0, 0, 0, 1};
  EXPECT_NE(std::ranges::search(answer, v1).begin(), answer.begin());
  EXPECT_FALSE(std::ranges::search(std::span(answer).subspan(19), v1).empty());
  // And one of the form ?a?a?a?a, which nobody speaks (RFC 9000 15).
  EXPECT_EQ(load_be32(answer.data() + 19) & 0x0f0f0f0f, 0x0a0a0a0au);

  ask(strange_initial(600, 0x1a2a3a4a));
  EXPECT_TRUE(listener.received.empty());
  ask(strange_initial(1200, 0));  // itself a version negotiation packet
  EXPECT_TRUE(listener.received.empty());
  EXPECT_EQ(lab.server().endpoint().counters().version_negotiations, 1u);
  lab.finish();
}

// proves: VN3
SCENARIO(version_negotiation_at_the_client, 3,
         "Forged negotiation costs the client one attempt, never the tunnel") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  bool forged = false;
  const bool names_ours = lab.seed() % 2 == 0;
  lab.network.set_filter([&](const Network::Packet& packet) {
    if (forged || packet.to != lab.server().listen_address()) return false;
    forged = true;
    // Read the connection IDs of the client's Initial and give them back exchanged.
    ByteReader in(packet.bytes);
    const auto first = in.u8();
    const auto version = in.u32();
    const auto dcid_size = in.u8();
    const auto dcid = in.bytes(*dcid_size);
    const auto scid_size = in.u8();
    const auto scid = in.bytes(*scid_size);
    EXPECT_TRUE(first && version && scid);
    ByteBuffer out;
    out.u8(0x80);
    out.u32(0);
    out.u8(*scid_size);
    out.bytes(*scid);
    out.u8(*dcid_size);
    out.bytes(*dcid);
    out.u32(0x0a1a2a3a);
    // RFC 9000 6.2: whoever names the version that the client has chosen was not asked for another.
    if (names_ours) out.u32(1);
    lab.network.inject({.from = packet.to,
                        .to = packet.from,
                        .ecn = Ecn::NotEct,
                        .bytes = out.take(),
                        .sent_at = {}});
    return true;
  });
  ASSERT_TRUE(lab.connect(client, 10s));
  EXPECT_TRUE(forged);
  EXPECT_EQ(client.dials(), names_ours ? 1u : 2u);
  EXPECT_TRUE(lab.ping_works(client, 2s));
  lab.finish();
}

}  // namespace
}  // namespace masque
