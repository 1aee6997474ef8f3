// SPDX-License-Identifier: Apache-2.0
#include "core/quic/null_tls.h"

#include <gtest/gtest.h>

#include "core/quic/quic_connection.h"

namespace masque {
namespace {

using Role = NullTlsOptions::Role;

class NoApplication final : public QuicApplication {
 public:
  Continue on_handshake_completed() override { return Continue::Yes; }
  Continue on_stream_data(StreamId, Bytes, bool) override { return Continue::Yes; }
  void on_stream_acked(StreamId, uint64_t) override {}
  void on_stream_unblocked(StreamId) override {}
  void on_stream_reset(StreamId, uint64_t) override {}
  void on_stream_closed(StreamId, uint64_t) override {}
  void on_remote_streams(uint64_t) override {}
  void on_datagram(Bytes payload) override {
    received.emplace_back(payload.begin(), payload.end());
  }
  bool next_stream_chunk(StreamChunk&) override { return true; }
  void on_stream_written(StreamId, size_t) override {}
  void on_stream_blocked(StreamId) override {}
  void on_stream_write_shut(StreamId) override {}

  std::vector<std::vector<uint8_t>> received;
};

using Packets = std::vector<std::vector<uint8_t>>;

// A client and a server with a wire in between that the test may cut or bend.
class NullTls : public testing::Test {
 protected:
  void start(NullTlsOptions client_options, NullTlsOptions server_options) {
    client_options.role = Role::Client;
    server_options.role = Role::Server;
    client_tls_ = make_null_tls(std::move(client_options), rng_);
    server_tls_ = make_null_tls(std::move(server_options), rng_);
    client_ =
        QuicConnection::create_client(now_, {}, *client_tls_, rng_, {.path = path_, .token = {}});
    ASSERT_NE(client_, nullptr);
    client_->set_application(&client_application_);
  }

  Packets flush(QuicConnection& from) {
    TransmitBatch batch;
    from.poll_transmit(now_, batch);
    Packets out;
    for (const TransmitRun& run : batch.runs()) {
      const Bytes all = batch.bytes(run);
      for (size_t at = 0; at < all.size(); at += run.segment_size) {
        const Bytes one = all.subspan(at, std::min<size_t>(run.segment_size, all.size() - at));
        out.emplace_back(one.begin(), one.end());
      }
    }
    return out;
  }

  void to_server(Packets packets) {
    for (auto& packet : packets) {
      const NetworkPath reverse{.local = path_.remote, .remote = path_.local};
      if (!server_) accept(packet, reverse);
      if (server_) server_->on_datagram(now_, {.path = reverse, .bytes = packet});
    }
  }
  void to_client(Packets packets) {
    for (auto& packet : packets) client_->on_datagram(now_, {.path = path_, .bytes = packet});
  }

  void accept(const std::vector<uint8_t>& packet, const NetworkPath& reverse) {
    ServerStart start{.path = reverse, .version = 1};
    const size_t dcid_size = packet[5];
    start.client_chosen_dcid = ConnectionId(Bytes(packet).subspan(6, dcid_size));
    start.client_scid = ConnectionId(Bytes(packet).subspan(7 + dcid_size, packet[6 + dcid_size]));
    server_ = QuicConnection::create_server(now_, {}, *server_tls_, rng_, start);
    ASSERT_NE(server_, nullptr);
    server_->set_application(&server_application_);
  }

  void exchange(int rounds = 8) {
    for (int i = 0; i < rounds; ++i) {
      now_ += 5ms;
      to_server(flush(*client_));
      if (server_) to_client(flush(*server_));
    }
  }

  SeededRng rng_{7};
  Instant now_{1s};
  NetworkPath path_{.local = {.address = IpAddress::v4(0xcb007101), .port = 4000},
                    .remote = {.address = IpAddress::v4(0xc0000201), .port = 443}};
  std::unique_ptr<TlsContext> client_tls_, server_tls_;
  NoApplication client_application_, server_application_;
  std::unique_ptr<QuicConnection> client_, server_;
};

TEST_F(NullTls, handshake_shows_both_identities) {
  start({.identity = "anna", .expected_peer = "vpn.example"}, {.identity = "vpn.example"});
  exchange();
  ASSERT_TRUE(client_->handshake_confirmed());
  ASSERT_TRUE(server_->handshake_completed());
  EXPECT_EQ(server_->peer_certificate().common_name, "anna");
  EXPECT_EQ(client_->peer_certificate().common_name, "vpn.example");
  EXPECT_EQ(server_->peer_certificate().fingerprint, null_tls_fingerprint("anna"));
  EXPECT_NE(null_tls_fingerprint("anna"), null_tls_fingerprint("anne"));
}

TEST_F(NullTls, both_ends_export_the_same_key_for_a_label) {
  start({.identity = "anna"}, {.identity = "vpn.example"});
  std::array<uint8_t, 32> a{}, b{}, other{};
  EXPECT_FALSE(client_->export_key("EXPORTER-test", a));
  exchange();
  ASSERT_TRUE(client_->export_key("EXPORTER-test", a));
  ASSERT_TRUE(server_->export_key("EXPORTER-test", b));
  ASSERT_TRUE(server_->export_key("EXPORTER-other", other));
  EXPECT_EQ(a, b);
  EXPECT_NE(a, other);
}

TEST_F(NullTls, a_server_with_another_name_is_refused) {
  start({.identity = "anna", .expected_peer = "vpn.example"}, {.identity = "evil.example"});
  exchange();
  EXPECT_FALSE(client_->handshake_confirmed());
  ASSERT_TRUE(client_->close_reason().has_value());
  EXPECT_EQ(client_->close_reason()->cause, CloseReason::Cause::Tls);
  EXPECT_EQ(client_->close_reason()->code, 0x100u + 42u);
  EXPECT_NE(client_->close_reason()->text.find("evil.example"), std::string::npos);
}

TEST_F(NullTls, a_client_without_a_name_is_refused_where_one_is_required) {
  start({}, {.identity = "vpn.example", .client_certificates = ClientCertificates::Required});
  exchange();
  ASSERT_TRUE(server_->close_reason().has_value());
  EXPECT_EQ(server_->close_reason()->code, 0x100u + 116u);
}

TEST_F(NullTls, a_client_that_is_not_wanted_is_refused) {
  start({.identity = "mallory"},
        {.identity = "vpn.example",
         .accept_peer = [](std::string_view name) { return name != "mallory"; }});
  exchange();
  ASSERT_TRUE(server_->close_reason().has_value());
  EXPECT_EQ(server_->close_reason()->code, 0x100u + 49u);
}

TEST_F(NullTls, another_protocol_is_refused) {
  start({.identity = "anna", .alpn = "hq"}, {.identity = "vpn.example"});
  exchange();
  ASSERT_TRUE(server_->close_reason().has_value());
  EXPECT_EQ(server_->close_reason()->code, 0x100u + 120u);
}

TEST_F(NullTls, a_large_hello_spans_two_packets_in_any_order) {
  start({.identity = "anna", .hello_size = 1900}, {.identity = "vpn.example"});
  Packets first = flush(*client_);
  ASSERT_GE(first.size(), 2u);
  to_server(std::move(first));
  to_client(flush(*server_));
  exchange();
  EXPECT_TRUE(client_->handshake_confirmed());
}

TEST_F(NullTls, every_changed_byte_of_a_packet_is_noticed) {
  start({.identity = "anna"}, {.identity = "vpn.example"});
  exchange();
  ASSERT_TRUE(client_->handshake_confirmed());
  TransmitBatch batch;
  const std::vector<uint8_t> payload(60, 0x5a);
  ASSERT_EQ(
      client_->send_datagram(now_, {}, {.head = payload, .body = {}}, TrafficClass::Bulk, batch),
      SendResult::Sent);
  const Bytes bytes = batch.bytes(batch.runs()[0]);
  const std::vector<uint8_t> packet(bytes.begin(), bytes.end());
  for (size_t i = 0; i < packet.size(); ++i) {
    for (const uint8_t bit : {uint8_t{0x01}, uint8_t{0x80}}) {
      std::vector<uint8_t> bent = packet;
      bent[i] ^= bit;
      to_server({bent});
      ASSERT_TRUE(server_application_.received.empty()) << "byte " << i;
    }
  }
  EXPECT_FALSE(server_->closing());
  to_server({packet});
  ASSERT_EQ(server_application_.received.size(), 1u);
  EXPECT_EQ(server_application_.received[0], payload);
}

TEST_F(NullTls, keys_change_with_a_key_update) {
  start({.identity = "anna"}, {.identity = "vpn.example"});
  exchange();
  for (int i = 0; i < 3; ++i) {
    now_ += 1s;
    client_->initiate_key_update(now_);
    TransmitBatch batch;
    const std::vector<uint8_t> payload(10, static_cast<uint8_t>(i));
    ASSERT_EQ(
        client_->send_datagram(now_, {}, {.head = payload, .body = {}}, TrafficClass::Bulk, batch),
        SendResult::Sent);
    const Bytes bytes = batch.bytes(batch.runs()[0]);
    to_server({std::vector<uint8_t>(bytes.begin(), bytes.end())});
    exchange();
  }
  EXPECT_EQ(server_application_.received.size(), 3u);
  EXPECT_FALSE(server_->closing());
}

TEST_F(NullTls, the_same_seed_gives_the_same_bytes) {
  const auto first_flight = [](uint64_t seed) {
    SeededRng rng(seed);
    const auto tls = make_null_tls({.role = Role::Client, .identity = "anna"}, rng);
    const auto connection =
        QuicConnection::create_client(Instant(1s), {}, *tls, rng,
                                      {.path = {.local = {.address = IpAddress::v4(1), .port = 1},
                                                .remote = {.address = IpAddress::v4(2), .port = 2}},
                                       .token = {}});
    TransmitBatch batch;
    connection->poll_transmit(Instant(1s), batch);
    const Bytes bytes = batch.bytes(batch.runs()[0]);
    return std::vector<uint8_t>(bytes.begin(), bytes.end());
  };
  EXPECT_EQ(first_flight(3), first_flight(3));
  EXPECT_NE(first_flight(3), first_flight(4));
}

}  // namespace
}  // namespace masque
