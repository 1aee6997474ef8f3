// SPDX-License-Identifier: Apache-2.0
// Peers and strangers that mean harm: floods, junk, reset storms, datagrams for streams that are
// not there. Whatever they do, an honest tunnel beside them feels nothing and memory is bounded.
#include <algorithm>

#include "tests/scenarios/scenario.h"

namespace masque {
namespace {

// An honest client with a steady ping, to be looked at when the attack is over.
struct Witness {
  SimClient& client;
  Flow& flow;
};

Witness witness(Lab& lab) {
  SimClient& client = lab.add_client("honest");
  EXPECT_TRUE(lab.connect(client));
  return {.client = client, .flow = lab.ping(client.inner(), lab.internet(), {.interval = 20ms})};
}

void felt_nothing(Lab& lab, const Witness& witness) {
  lab.run(500ms);
  EXPECT_GE(witness.flow.arrived() + 3, witness.flow.sent());
  EXPECT_EQ(witness.client.dials(), 1u);
  EXPECT_LE(witness.flow.figures().delay_percentile(0.99), 60ms);
}

ScriptedClient& ready_client(Lab& lab, const std::string& name, const ClientSetup& setup = {}) {
  ScriptedClient& client = lab.add_scripted_client(name, setup);
  client.dial();
  EXPECT_TRUE(lab.until([&] { return client.ready(); }, 5s));
  return client;
}

StreamId open_tunnel(Lab& lab, ScriptedClient& client) {
  std::optional<StreamId> stream;
  client.act([&](Http3Connection& http, TransmitTarget&) {
    stream = http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
  });
  EXPECT_TRUE(lab.until([&] { return stream && client.record().find(*stream) != nullptr; }, 5s));
  return *stream;
}

// proves: X7, H13
SCENARIO(unknown_capsules_flood, 3, "D1: megabytes of unknown capsules, one without end: skipped") {
  lab.add_server();
  const Witness honest = witness(lab);
  ScriptedClient& client = ready_client(lab, "mallory");
  const StreamId stream = open_tunnel(lab, client);
  size_t sent = 0;
  lab.world.every(2ms, [&] {
    const uint64_t type = 0x17 + 0x29 * lab.below(1'000'000);
    const std::vector<uint8_t> capsule =
        raw_capsule(type, std::vector<uint8_t>(lab.below(9000), 0xab));
    client.act([&, stream, capsule](Http3Connection& http, TransmitTarget&) {
      if (http.send_stream_data(stream, capsule)) sent += capsule.size();
    });
    return sent < 3'000'000;
  });
  lab.run(10s);
  EXPECT_GE(sent, 3'000'000u);
  EXPECT_EQ(lab.server().gateway()->session_count(), 2u);
  // A capsule of 2^62-1 bytes: its value is skipped for ever, one byte at a time if need be.
  client.act([&](Http3Connection& http, TransmitTarget&) {
    ByteBuffer header;
    header.varint(0x3fff1);
    header.varint(kVarintMax);
    EXPECT_TRUE(http.send_stream_data(stream, header.view()));
    EXPECT_TRUE(http.send_stream_data(stream, std::vector<uint8_t>(20'000, 1)));
  });
  lab.run(1s);
  EXPECT_EQ(lab.server().gateway()->session_count(), 2u);
  felt_nothing(lab, honest);
  lab.finish();
}

SCENARIO(rapid_open_and_close, 3,
         "D10: a thousand requests a second opened and reset: limited, nobody else feels it") {
  lab.add_server();
  const Witness honest = witness(lab);
  ScriptedClient& client = ready_client(lab, "mallory");
  uint64_t opened = 0;
  Instant until = lab.world.now() + 5s;
  lab.world.every(1ms, [&] {
    if (client.connection() == nullptr) return false;
    client.act([&](Http3Connection& http, TransmitTarget&) {
      const auto stream = http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
      if (!stream) return;
      ++opened;
      http.abort_stream(*stream, HttpError::RequestCancelled);
    });
    return lab.world.now() < until;
  });
  lab.run(6s);
  EXPECT_GE(opened, 100u);
  // 100 at once and 20 a second more are looked at; each session that came up is gone again.
  EXPECT_LE(lab.server().sessions_up().size(), 100u + 20u * 6u + 5u);
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  felt_nothing(lab, honest);
  lab.finish();
}

// proves: H6
SCENARIO(datagrams_before_the_request, 4,
         "D7: packets overtake their request: sixteen are kept, the rest is dropped") {
  lab.add_server();
  ScriptedClient& client = ready_client(lab, "anna");
  // The address is known from an earlier session; it is sticky.
  const StreamId first = open_tunnel(lab, client);
  lab.run(500ms);
  client.act([&](Http3Connection& http, TransmitTarget&) { http.finish_stream(first); });
  lab.run(500ms);
  ASSERT_EQ(lab.server().sessions_up().size(), 1u);
  const auto& addresses = lab.server().sessions_up()[0].addresses;
  const auto v4 = std::ranges::find(addresses, IpVersion::V4, &IpPrefix::version)->address();
  uint64_t arrived = 0;
  const uint16_t flow =
      lab.ledger.new_flow([&](InnerNode&, const IpPacketView&, Bytes, InnerId) { ++arrived; });
  const uint64_t next_stream = first.value() + 4;
  for (uint32_t i = 0; i < 40; ++i) {
    const auto packet = make_udp_packet({.source = v4,
                                         .destination = Lab::address("198.51.100.10"),
                                         .id = {.flow = flow, .sequence = i},
                                         .packet_size = 100});
    lab.ledger.sent(packet, "anna");
    ByteBuffer frame;
    frame.varint(next_stream / 4);
    frame.varint(0);
    frame.bytes(packet);
    client.send_raw_datagram(frame.take());
  }
  lab.run(5ms);
  open_tunnel(lab, client);
  lab.run(1s);
  EXPECT_EQ(arrived, 16u);
  lab.finish();
}

// proves: H5
SCENARIO(datagrams_for_no_stream, 3,
         "D6: a flood for streams that are closed, not opened or no tunnel: dropped at no cost") {
  lab.add_server();
  const Witness honest = witness(lab);
  ScriptedClient& client = ready_client(lab, "mallory");
  const StreamId closed = open_tunnel(lab, client);
  client.act([&](Http3Connection& http, TransmitTarget&) { http.finish_stream(closed); });
  lab.run(500ms);
  const Instant until = lab.world.now() + 3s;
  lab.world.every(1ms, [&] {
    if (client.connection() == nullptr) return false;
    ByteBuffer frame;
    const uint64_t quarter[] = {closed.value() / 4, 1 + lab.below(50), 1 + lab.below(20)};
    frame.varint(quarter[lab.below(3)]);
    frame.varint(lab.below(3));
    for (uint64_t i = lab.below(200); i > 0; --i) frame.u8(static_cast<uint8_t>(lab.below(256)));
    client.send_raw_datagram(frame.take());
    return lab.world.now() < until;
  });
  lab.run(4s);
  EXPECT_NE(client.connection(), nullptr) << "nothing of this closes a connection";
  felt_nothing(lab, honest);
  lab.finish();
}

// proves: H3, X10
SCENARIO(datagram_with_a_bad_stream_id, 3,
         "A datagram whose Quarter Stream ID is cut or too large ends the connection") {
  lab.add_server();
  const Witness honest = witness(lab);
  ScriptedClient& client = ready_client(lab, "mallory");
  open_tunnel(lab, client);
  const std::vector<uint8_t> frames[] = {
      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00}, {0x40}, {}};
  lab.run(100ms);  // it is sent once: not while the end of the handshake is being paced
  client.send_raw_datagram(frames[lab.seed() % 3]);
  EXPECT_TRUE(lab.until([&] { return client.connection() == nullptr; }, 2s));
  ASSERT_TRUE(client.last_close().has_value());
  EXPECT_EQ(client.last_close()->code, static_cast<uint64_t>(HttpError::Datagram));
  EXPECT_TRUE(client.last_close()->application);
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  felt_nothing(lab, honest);
  lab.finish();
}

// proves: D3, X8, D4
SCENARIO(
    unknown_contexts, 3,
    "D6: datagrams of unknown contexts, empty ones and cut ones are dropped; the tunnel works") {
  lab.add_server();
  ScriptedClient& client = ready_client(lab, "anna");
  const StreamId stream = open_tunnel(lab, client);
  for (int i = 0; i < 300; ++i) {
    ByteBuffer frame;
    frame.varint(stream.value() / 4);
    switch (lab.below(4)) {
      case 0:
        break;  // no context at all
      case 1:
        frame.u8(0xc0);
        break;  // a cut Context ID
      case 2:
        frame.varint(0);
        break;  // an empty packet
      default:
        frame.varint(2 + 2 * lab.below(1000));
        frame.u32(0x45000000);
        break;
    }
    client.send_raw_datagram(frame.take());
    lab.run(1ms);
  }
  // Protocol vector 15.3: context 5, on stream 44.
  StreamId stream_44(0);
  client.act([&](Http3Connection& http, TransmitTarget&) {
    while (stream_44.value() < 44)
      stream_44 = *http.open_request(lab.world.now(), connect_ip_request("vpn.example"));
  });
  lab.run(200ms);
  client.send_raw_datagram(from_hex("0b 05 45000014").value());
  lab.run(200ms);
  EXPECT_EQ(client.record().find(stream_44)->status(), 200u);
  EXPECT_FALSE(client.record().find(stream_44)->closed);
  EXPECT_EQ(lab.internet().received(), 0u);
  EXPECT_NE(client.connection(), nullptr);
  lab.finish();
}

SCENARIO(inner_junk, 4,
         "C11: bytes that are no packets, from a client without shame: dropped, nothing reaches "
         "the TUN") {
  lab.add_server();
  const Witness honest = witness(lab);
  ScriptedClient& client = ready_client(lab, "mallory");
  const StreamId stream = open_tunnel(lab, client);
  for (int i = 0; i < 600; ++i) {
    std::vector<uint8_t> junk(lab.below(300));
    lab.world.rng().fill(junk);
    if (!junk.empty() && lab.below(2) == 0) junk[0] = lab.below(2) == 0 ? 0x45 : 0x60;
    client.send_packet(stream, junk);
    if (i % 10 == 0) lab.run(1ms);
  }
  lab.run(500ms);
  EXPECT_EQ(lab.server().gateway()->session_count(), 2u);
  felt_nothing(lab, honest);
  lab.finish();
}

SCENARIO(udp_junk, 3, "Q1: random datagrams of every size to the gateway and to the client") {
  lab.add_server();
  const Witness honest = witness(lab);
  const SocketAddress server = lab.server().listen_address();
  uint64_t count = 0;
  lab.world.every(100us, [&] {
    std::vector<uint8_t> junk(lab.below(1400));
    lab.world.rng().fill(junk);
    const SocketAddress attacker{
        .address = IpAddress::v4(0xc6130000 + static_cast<uint32_t>(lab.below(1000))), .port = 7};
    const bool to_server = lab.below(2) == 0;
    lab.network.inject({.from = to_server ? attacker : server,
                        .to = to_server ? server : honest.client.local(),
                        .ecn = Ecn::NotEct,
                        .bytes = std::move(junk),
                        .sent_at = {}});
    return ++count < 30'000;
  });
  lab.run(4s);
  EXPECT_LE(lab.server().endpoint().counters().stateless_resets, 450u)
      << "a hundred a second at most";
  EXPECT_EQ(lab.server().endpoint().connection_count(), 1u);
  felt_nothing(lab, honest);
  lab.finish();
}

// proves: I4
SCENARIO(stateless_reset_storm, 3,
         "Q5: packets of unknown connections: answers are smaller, limited, and never answered") {
  lab.add_server();
  const Witness honest = witness(lab);
  class Mirror final : public UdpHost {
   public:
    Mirror(Network& network_in, Network::HostId& id_in) : network(network_in), id(id_in) {}
    void on_udp(const NetworkPath& path, Ecn ecn, Bytes bytes) override {
      sizes.push_back(bytes.size());
      // A peer that answers every reset with a packet of the same size.
      network.send(id, path, ecn, bytes);
    }
    Network& network;
    Network::HostId& id;
    std::vector<size_t> sizes;
  };
  Network::HostId id = 0;
  Mirror mirror(lab.network, id);
  const SocketAddress there{.address = Lab::address("203.0.113.240"), .port = 5};
  id = lab.network.attach(mirror, there.address, Network::Kind::Client);
  lab.network.set_links(id, {.delay = 1ms});
  for (int i = 0; i < 50; ++i) {
    std::vector<uint8_t> packet(60);
    lab.world.rng().fill(packet);
    packet[0] = 0x40;
    lab.network.inject({.from = there,
                        .to = lab.server().listen_address(),
                        .ecn = Ecn::NotEct,
                        .bytes = packet,
                        .sent_at = {}});
  }
  lab.run(5s);
  EXPECT_GE(mirror.sizes.size(), 50u);
  // Each echo is one byte shorter than what caused it and ends at 21: no loop.
  EXPECT_LE(mirror.sizes.size(), 50u * 25u);
  for (const size_t size : mirror.sizes) EXPECT_LT(size, 60u);
  const uint64_t so_far = mirror.sizes.size();
  lab.run(2s);
  EXPECT_EQ(mirror.sizes.size(), so_far) << "it has died down";
  felt_nothing(lab, honest);
  lab.network.detach(id);
  lab.finish();
}

SCENARIO(forged_reset_and_close, 4,
         "Resets with wrong tokens, and packets of the tunnel sent again by a third party") {
  lab.add_server();
  const Witness honest = witness(lab);
  const SocketAddress server = lab.server().listen_address();
  uint64_t seen = 0;
  lab.network.set_filter([&](const Network::Packet& packet) {
    if (packet.bytes.empty()) return false;
    ++seen;
    if (seen % 5 != 0 || seen > 3000) return false;
    Network::Packet again = packet;
    if (seen % 2 == 0) {
      // The same packet later, from elsewhere: a replay that looks like a migration.
      if (packet.to == server) again.from.port = static_cast<uint16_t>(again.from.port + 1);
    } else {
      lab.world.rng().fill(std::span(again.bytes).last(std::min<size_t>(16, again.bytes.size())));
    }
    lab.world.after(3ms, [&lab, again] { lab.network.inject(again); });
    return false;
  });
  lab.run(6s);
  lab.network.set_filter(nullptr);
  felt_nothing(lab, honest);
  lab.finish();
}

SCENARIO(slow_capsule, 2,
         "D12: a capsule that arrives at a byte in ten seconds is not waited for without end") {
  lab.add_server();
  const Witness honest = witness(lab);
  ScriptedClient& client = ready_client(lab, "mallory");
  const StreamId stream = open_tunnel(lab, client);
  const std::vector<uint8_t> capsule =
      raw_address_request({{.request_id = 5, .prefix = Lab::prefix("10.8.0.9")}});
  size_t at = 0;
  lab.world.every(10s, [&] {
    if (at >= capsule.size() || client.connection() == nullptr) return false;
    client.act([&](Http3Connection& http, TransmitTarget&) {
      static_cast<void>(http.send_stream_data(stream, Bytes(capsule).subspan(at++, 1)));
    });
    return true;
  });
  EXPECT_TRUE(lab.until([&] { return lab.server().gateway()->session_count() == 1; }, 90s));
  felt_nothing(lab, honest);
  lab.finish();
}

SCENARIO(many_requests_on_one_connection, 3,
         "A client with more sessions than allowed is refused the rest; the others work") {
  lab.add_server();
  const Witness honest = witness(lab);
  ScriptedClient& client = ready_client(lab, "mallory");
  for (int i = 0; i < 20; ++i) {
    client.act([&](Http3Connection& http, TransmitTarget&) {
      static_cast<void>(http.open_request(lab.world.now(), connect_ip_request("vpn.example")));
    });
    lab.run(20ms);
  }
  lab.run(500ms);
  EXPECT_LE(lab.server().gateway()->session_count(), 5u);
  felt_nothing(lab, honest);
  lab.finish();
}

// proves: Q9, C4
SCENARIO(strange_requests, 2,
         "D8: requests that are no CONNECT-IP get their 4xx or 5xx; the connection goes on") {
  lab.add_server();
  ScriptedClient& client = ready_client(lab, "anna");
  struct Wrong {
    HeaderFields fields;
    unsigned least;
  };
  const auto changed = [](std::string_view name, const std::string& value) {
    HeaderFields out = connect_ip_request("vpn.example");
    for (HeaderField& field : out) {
      if (field.name == name) field.value = value;
    }
    return out;
  };
  const std::vector<HeaderFields> wrong = {
      changed(":protocol", "websocket"),
      changed(":path", "/"),
      changed(":path", "/.well-known/masque/ip/10.0.0.0%2F33/*/"),
      changed(":path", "/.well-known/masque/ip/*/256/"),
      changed(":path", "/.well-known/masque/ip/*/-1/"),
      changed(":path", "/.well-known/masque/ip/fe80%3A%3A1%25eth0/*/"),
  };
  for (const HeaderFields& fields : wrong) {
    std::optional<StreamId> stream;
    client.act([&](Http3Connection& http, TransmitTarget&) {
      stream = http.open_request(lab.world.now(), fields);
    });
    lab.run(500ms);
    ASSERT_TRUE(stream.has_value());
    const StreamRecord* record = client.record().find(*stream);
    ASSERT_NE(record, nullptr) << fields[4].value;
    EXPECT_GE(record->status(), 400u) << fields[4].value;
  }
  EXPECT_EQ(lab.server().gateway()->session_count(), 0u);
  open_tunnel(lab, client);
  EXPECT_EQ(lab.server().gateway()->session_count(), 1u);
  lab.finish();
}

}  // namespace
}  // namespace masque
