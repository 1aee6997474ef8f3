// SPDX-License-Identifier: Apache-2.0
// What both ends say in QUIC, seen between them: transport parameters, sizes of datagrams, tokens,
// connection IDs, ECN, probes of the path MTU, key phases (RFC 9000, 9001). That the library does
// it is no reason not to look.
#include "tests/scenarios/wire.h"

#include <algorithm>
#include <map>
#include <set>

namespace masque {
namespace {

using Kind = WirePacket::Kind;

const SocketAddress kServer{.address = IpAddress::v4(0xc0000201), .port = 443};

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }

// Of the CRYPTO bytes that hold them: null TLS has the shape of TLS and hides nothing.
std::map<uint64_t, std::vector<uint8_t>> parameters_in(Bytes crypto, size_t at) {
  std::map<uint64_t, std::vector<uint8_t>> out;
  ByteReader hello(crypto.subspan(at));
  ByteReader in(hello.bytes(hello.u16().value()).value());
  while (!in.empty()) {
    const uint64_t id = in.varint().value();
    const Bytes value = in.bytes(static_cast<size_t>(in.varint().value())).value();
    out[id].assign(value.begin(), value.end());
  }
  return out;
}
uint64_t number_in(const std::vector<uint8_t>& value) { return ByteReader(value).varint().value(); }

// proves: G1, W3, N3, M2b
SCENARIO(transport_parameters, 2,
         "What each end allows the other: datagrams of any size, streams, spare connection IDs") {
  if (!wire_is_plain(lab)) return;
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  WireTap tap(lab);
  ASSERT_TRUE(lab.connect(client));
  const auto hello = crypto_bytes(tap.seen(), client.local(), Kind::Initial);
  const auto answer = crypto_bytes(tap.seen(), kServer, Kind::Handshake);
  // A message is its type, a length of two bytes, the body; in a hello 32 random bytes and "h3".
  const auto of_client = parameters_in(hello, 3 + 32 + 3);
  const auto of_server = parameters_in(answer, 3);
  // Protocol vector 15.4.
  const auto max_datagram_frame_size = hex("20 04 8000ffff");
  for (const auto& bytes : {hello, answer})
    EXPECT_FALSE(std::ranges::search(bytes, max_datagram_frame_size).empty());
  for (const auto* parameters : {&of_client, &of_server}) {
    EXPECT_EQ(number_in(parameters->at(0x20)), 65535u);
    EXPECT_GE(number_in(parameters->at(0x09)), 3u) << "initial_max_streams_uni";
    EXPECT_GE(number_in(parameters->at(0x07)), 1024u) << "initial_max_stream_data_uni";
    EXPECT_GE(number_in(parameters->at(0x0e)), 4u) << "active_connection_id_limit";
    EXPECT_FALSE(parameters->contains(0x0c)) << "disable_active_migration";
    EXPECT_FALSE(parameters->contains(0x0d)) << "preferred_address";
  }
  EXPECT_GE(number_in(of_server.at(0x08)), 100u) << "initial_max_streams_bidi";
  EXPECT_FALSE(of_client.contains(0x08) && number_in(of_client.at(0x08)) != 0);
  EXPECT_TRUE(of_server.contains(0x02)) << "stateless_reset_token";
  EXPECT_FALSE(of_client.contains(0x02)) << "a client must not send one";
  lab.finish();
}

// proves: V2t
SCENARIO(initial_datagrams_have_1200_bytes, 4,
         "Whoever sends an Initial fills 1200 bytes; the gateway forgets smaller ones") {
  if (!wire_is_plain(lab)) return;
  lab.add_server({.retry = lab.seed() % 2 == 0 ? RetryPolicy::Never : RetryPolicy::Always});
  SimClient& client = lab.add_client("anna", {.up = {.delay = 10ms, .loss_ppm = 100'000},
                                              .down = {.delay = 10ms, .loss_ppm = 100'000},
                                              .hello_size = 1900});
  WireTap tap(lab);
  ASSERT_TRUE(lab.connect(client, 20s));
  size_t initials = 0;
  for (const WireDatagram& datagram : tap.seen()) {
    for (const WirePacket& packet : datagram.packets) {
      if (packet.kind != Kind::Initial) continue;
      // RFC 9000 14.1: the server's only where they ask for an acknowledgement.
      const bool eliciting = std::ranges::any_of(
          packet.frames, [](const WireFrame& frame) { return !frame.acknowledges(); });
      if (datagram.to != kServer && !eliciting) continue;
      ++initials;
      EXPECT_GE(datagram.size, 1200u);
    }
  }
  EXPECT_GE(initials, 3u);
  lab.finish();
}

// proves: V2t
SCENARIO(small_initials_are_forgotten, 2,
         "A whole ClientHello in a datagram of 1199 bytes makes no connection and gets no answer") {
  if (!wire_is_plain(lab)) return;
  lab.add_server({.retry = RetryPolicy::Never});
  SimClient& client = lab.add_client("anna");
  WireTap tap(lab);
  ASSERT_TRUE(lab.connect(client));
  const auto hello = crypto_bytes(tap.seen(), client.local(), Kind::Initial);
  const SocketAddress from{.address = Lab::address("198.18.0.9"), .port = 999};
  const auto answers = [&](size_t size) {
    tap.forget();
    const uint64_t before = lab.server().endpoint().counters().connections_created;
    std::vector<uint8_t> dcid(8);
    lab.world.rng().fill(dcid);
    lab.network.inject(
        {.from = from,
         .to = kServer,
         .ecn = Ecn::NotEct,
         .bytes = make_initial(ConnectionId(dcid), ConnectionId(hex("a0a1a2a3")), hello, size),
         .sent_at = {}});
    lab.run(1s);
    const auto created = lab.server().endpoint().counters().connections_created - before;
    EXPECT_EQ(lab.network.account(from)->sent > 0, created > 0 || size >= 1200) << size;
    return created;
  };
  EXPECT_EQ(answers(600), 0u);
  EXPECT_EQ(answers(1199), 0u);
  EXPECT_EQ(answers(1200), 1u) << "the same in a full one";
  EXPECT_TRUE(lab.until([&] { return lab.server().endpoint().connection_count() == 1; }, 60s));
  lab.finish();
}

// proves: V3t
SCENARIO(retry_of_a_stranger, 4,
         "A Retry with a changed token and a second Retry are dropped; the first good one counts") {
  if (!wire_is_plain(lab)) return;
  lab.add_server({.retry = RetryPolicy::Always});
  SimClient& client = lab.add_client("anna", {.up = {.delay = 20ms}, .down = {.delay = 20ms}});
  std::vector<std::vector<uint8_t>> good, changed;
  std::vector<ConnectionId> ids;
  bool first_initial = true;
  WireTap tap(lab, [&](const Network::Packet& packet, const WireDatagram& read) {
    if (packet.to == kServer && first_initial) {
      first_initial = false;
      // Once more: the gateway, which keeps no state, makes two Retries with two tokens.
      lab.world.after(1ms, [&lab, packet] { lab.network.inject(packet); });
    }
    if (packet.to == kServer || !read.has(Kind::Retry)) return false;
    const std::vector<uint8_t>& token = read.packets[0].token;
    if (std::ranges::contains(changed, token)) return false;
    if (good.empty()) {
      // Just before the first good one comes a copy whose token an attacker has changed: its
      // integrity tag does not fit (RFC 9001 5.8).
      Network::Packet forged = packet;
      forged.bytes[forged.bytes.size() - 20] ^= 1;
      changed.push_back(read_datagram(forged.bytes)[0].token);
      lab.network.inject(forged);
    }
    good.push_back(token);
    ids.push_back(read.packets[0].scid);
    return false;
  });
  ASSERT_TRUE(lab.connect(client));
  ASSERT_GE(good.size(), 2u);
  EXPECT_NE(good[0], good[1]);
  EXPECT_EQ(changed.size(), 1u);
  size_t with_token = 0;
  for (const WireDatagram& datagram : tap.seen()) {
    for (const WirePacket& packet : datagram.packets) {
      if (datagram.to != kServer || packet.kind != Kind::Initial || packet.token.empty()) continue;
      ++with_token;
      EXPECT_EQ(packet.token, good[0]);
      // Its ID is the new destination until the gateway chooses one.
      if (with_token == 1) {
        EXPECT_EQ(packet.dcid, ids[0]);
      }
    }
  }
  EXPECT_GE(with_token, 1u);
  EXPECT_EQ(client.dials(), 1u);
  EXPECT_EQ(lab.server().endpoint().counters().connections_created, 1u);
  lab.finish();
}

// proves: I6, N1, N2, N3
SCENARIO(connection_ids_and_their_reset_tokens, 3,
         "Over many rebindings: no ID and no reset token twice, numbers in order, seven at most") {
  if (!wire_is_plain(lab)) return;
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  SimClient& other = lab.add_client("bert");
  lab.network.add_nat(client.id(), Lab::address("198.18.7.1"));
  WireTap tap(lab);
  ASSERT_TRUE(lab.connect(client));
  ASSERT_TRUE(lab.connect(other));
  lab.stream(client.inner(), lab.internet(), {.interval = 50ms});
  for (int i = 0; i < 10; ++i) {
    lab.run(1s);
    lab.network.rebind_address(client.id(), Lab::address(i % 2 == 0 ? "198.18.7.2" : "198.18.7.1"));
  }
  lab.run(2s);
  EXPECT_EQ(client.dials(), 1u);
  // One connection's end: the client behind the NAT, the other client, or the gateway towards it.
  struct Issuer {
    std::map<uint64_t, std::string> ids;
    std::set<uint64_t> retired;
  };
  std::map<std::string, Issuer> issuers;
  std::map<std::string, std::string> token_of;
  std::set<std::string> tokens;
  const auto is_anna = [&](const SocketAddress& at) {
    return at.address == Lab::address("198.18.7.1") || at.address == Lab::address("198.18.7.2");
  };
  for (const WireDatagram& datagram : tap.seen()) {
    const bool up = datagram.to == kServer;
    const std::string peer = is_anna(up ? datagram.from : datagram.to) ? "anna" : "bert";
    Issuer& sender = issuers[(up ? "client " : "gateway to ") + peer];
    Issuer& receiver = issuers[(up ? "gateway to " : "client ") + peer];
    for (const WirePacket& packet : datagram.packets) {
      for (const WireFrame& frame : packet.frames) {
        if (frame.is(FrameType::RetireConnectionId)) receiver.retired.insert(frame.numbers[0]);
        if (!frame.is(FrameType::NewConnectionId)) continue;
        const uint64_t sequence = frame.numbers[0];
        EXPECT_LE(frame.numbers[1], sequence) << "Retire Prior To";
        const std::string id(as_text(frame.data)), token(as_text(frame.reset_token));
        const auto [place, fresh] = sender.ids.emplace(sequence, id);
        if (!fresh) {  // sent again
          EXPECT_EQ(place->second, id);
          EXPECT_EQ(token_of[id], token);
          continue;
        }
        EXPECT_EQ(id.size(), kConnectionIdLength);
        EXPECT_TRUE(token_of.emplace(id, token).second) << "an ID twice";
        EXPECT_TRUE(tokens.insert(token).second) << "a reset token twice";
        // The first ID, number 0, came with the handshake.
        EXPECT_LE(sender.ids.size() + 1 - sender.retired.size(), 7u);
      }
    }
  }
  ASSERT_EQ(issuers.size(), 4u);
  for (const auto& [name, issuer] : issuers) {
    EXPECT_GE(issuer.ids.size(), 3u) << name;
    EXPECT_EQ(issuer.ids.rbegin()->first, issuer.ids.size()) << name << " left a number out";
  }
  lab.finish();
}

// A packet's mark on its way from the client to the gateway.
enum class Middlebox : uint8_t { Honest, Bleaches, Changes };

size_t marked_after(Lab& lab, Middlebox box, Duration settle) {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  WireTap tap(lab, [&](const Network::Packet& packet, const WireDatagram&) {
    if (packet.to != kServer || packet.ecn != Ecn::Ect0 || box == Middlebox::Honest) return false;
    Network::Packet other = packet;
    other.ecn = box == Middlebox::Bleaches ? Ecn::NotEct : Ecn::Ect1;
    lab.network.inject(other);
    return true;
  });
  EXPECT_TRUE(lab.connect(client));
  Flow& flow = lab.ping(client.inner(), lab.internet(), {.interval = 20ms});
  lab.run(settle);
  tap.forget();
  lab.run(2s);
  EXPECT_LT(flow.figures().loss(), 0.05);
  lab.finish();
  return static_cast<size_t>(std::ranges::count_if(tap.seen(), [](const WireDatagram& one) {
    return one.to == kServer && one.ecn == Ecn::Ect0;
  }));
}

// proves: EC1, EC2
SCENARIO(ecn_on_an_honest_path, 2, "Marks are reported, so a path that keeps them stays marked") {
  if (!wire_is_plain(lab)) return;
  EXPECT_GE(marked_after(lab, Middlebox::Honest, 3s), 50u);
}

// proves: EC2
SCENARIO(ecn_bleached, 2, "A path that clears the marks is no longer marked") {
  if (!wire_is_plain(lab)) return;
  EXPECT_EQ(marked_after(lab, Middlebox::Bleaches, 3s), 0u);
}

// proves: EC2
SCENARIO(ecn_changed, 2, "A path that changes the marks is no longer marked") {
  if (!wire_is_plain(lab)) return;
  EXPECT_EQ(marked_after(lab, Middlebox::Changes, 3s), 0u);
}

// proves: J2, J3, J4
SCENARIO(
    path_mtu_probes, 3,
    "Probes ask for an acknowledgement, three of a size at most; their loss is no congestion") {
  if (!wire_is_plain(lab)) return;
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  constexpr size_t kPathMax = 1350;
  std::map<size_t, size_t> lost;
  WireTap tap(lab, [&](const Network::Packet& packet, const WireDatagram& read) {
    if (packet.to != kServer || packet.bytes.size() <= kPathMax) return false;
    ++lost[packet.bytes.size()];
    EXPECT_TRUE(read.has(FrameType::Ping)) << "something besides padding";
    EXPECT_FALSE(read.has(FrameType::Datagram)) << "nobody's packet is in a probe";
    return true;
  });
  ASSERT_TRUE(lab.connect(client));
  uint64_t least_window = client.connection()->quic().stats().congestion_window;
  const uint64_t window_at_first = least_window;
  lab.world.every(10ms, [&] {
    if (client.connection() == nullptr) return false;
    least_window = std::min(least_window, client.connection()->quic().stats().congestion_window);
    return lab.world.now() < Instant(20s);
  });
  lab.ping(client.inner(), lab.internet(), {.interval = 100ms});
  lab.run(20s);
  EXPECT_GE(lost.size(), 2u) << "sizes above the path's were tried";
  for (const auto& [size, count] : lost) EXPECT_LE(count, 3u) << size;
  EXPECT_GE(least_window, window_at_first);
  // 1342 is the largest of our sizes that passes.
  EXPECT_EQ(client.connection()->quic().stats().udp_payload_max, 1342u);
  lab.finish();
}

// proves: KR4
SCENARIO(an_unused_window_stays, 3, "A trickle of packets does not make the window larger") {
  lab.add_server();
  SimClient& client = lab.add_client("anna");
  ASSERT_TRUE(lab.connect(client));
  lab.run(2s);  // the handshake and the search for the path's MTU are over
  const uint64_t before = client.connection()->quic().stats().congestion_window;
  Flow& trickle = lab.ping(client.inner(), lab.internet(), {.interval = 50ms});
  lab.run(30s);
  EXPECT_GT(trickle.arrived(), 500u);
  EXPECT_EQ(client.connection()->quic().stats().congestion_window, before);
  lab.finish();
}

// proves: KR2
SCENARIO(key_updates_wait, 3,
         "However often it is asked for: no update before confirmation, one a round trip") {
  if (!wire_is_plain(lab)) return;
  lab.add_server();
  SimClient& client = lab.add_client("anna", {.up = {.delay = 50ms}, .down = {.delay = 50ms}});
  WireTap tap(lab);
  lab.world.every(1ms, [&] {
    if (client.connection() != nullptr)
      client.connection()->quic().initiate_key_update(lab.world.now());
    return lab.world.now() < Instant(10s);
  });
  ASSERT_TRUE(lab.connect(client));
  lab.ping(client.inner(), lab.internet(), {.interval = 10ms});
  lab.run(5s);
  std::optional<Instant> confirmed, last_update;
  bool phase = false;
  size_t updates = 0;
  for (const WireDatagram& datagram : tap.seen()) {
    if (datagram.to != kServer && datagram.has(FrameType::HandshakeDone) && !confirmed)
      confirmed = datagram.at;
    for (const WirePacket& packet : datagram.packets) {
      if (datagram.to != kServer || packet.kind != Kind::OneRtt || packet.key_phase == phase)
        continue;
      ASSERT_TRUE(confirmed) << "an update before the handshake was confirmed";
      // An acknowledgement under the new keys takes a round trip.
      if (last_update) {
        EXPECT_GE(datagram.at - *last_update, 100ms);
      }
      last_update = datagram.at;
      phase = packet.key_phase;
      ++updates;
    }
  }
  EXPECT_GE(updates, 2u);
  EXPECT_EQ(client.dials(), 1u);
  lab.finish();
}

// proves: F1
SCENARIO(no_packet_waits_for_a_batch, 3,
         "Single packets and small bursts leave at the instant at which they come") {
  lab.add_server();
  SimClient& client = lab.add_client("anna", {.up = {.delay = 10ms}, .down = {.delay = 10ms}});
  ASSERT_TRUE(lab.connect(client));
  lab.run(3s);
  Flow& up = lab.stream(client.inner(), lab.internet(), {.interval = 70ms});
  Flow& down = lab.stream(lab.internet(), client.inner(), {.interval = 90ms});
  // Five at the same instant: fewer than any batch, and within the pacer's first burst.
  std::vector<Flow*> burst;
  for (int i = 0; i < 5; ++i)
    burst.push_back(&lab.stream(client.inner(), lab.internet(), {.interval = 1s}));
  lab.run(5s);
  // The way alone: nothing was held back.
  for (const Flow* flow : {&up, &down, burst[0], burst[1], burst[2], burst[3], burst[4]}) {
    EXPECT_GE(flow->figures().arrived, 4u);
    EXPECT_EQ(flow->figures().delay_max, 10ms);
  }
  lab.finish();
}

}  // namespace
}  // namespace masque
