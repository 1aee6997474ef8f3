// SPDX-License-Identifier: Apache-2.0
// What the server's endpoint does for addresses that have proven nothing: tokens, halves of a
// handshake, stateless answers. First flights are made by real clients and brought by hand.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "core/http/http3_connection.h"
#include "support/certificates.h"

namespace masque {
namespace {

using Datagram = std::vector<uint8_t>;

const testing::TestCa& ca() {
  static const testing::TestCa instance;
  return instance;
}

NetworkPath path_from(uint16_t port) {
  return {.local = {.address = IpAddress::v4(0x0a000001), .port = 4433},
          .remote = {.address = IpAddress::v4(0x0a000002), .port = port}};
}

NetworkPath reversed(const NetworkPath& path) {
  return {.local = path.remote, .remote = path.local};
}

struct Nothing : RequestHandler {
  void on_settings(HttpConnection&) override {}
  void on_request(HttpConnection&, StreamId, const HeaderFields&, bool) override {}
  void on_response(HttpConnection&, StreamId, const HeaderFields&, bool) override {}
  void on_stream_data(HttpConnection&, StreamId, Bytes) override {}
  void on_stream_fin(HttpConnection&, StreamId) override {}
  void on_stream_closed(HttpConnection&, StreamId, uint64_t) override {}
  void on_http_datagram(HttpConnection&, StreamId, Bytes) override {}
  void on_goaway(HttpConnection&, StreamId) override {}
};

class Endpoint : public ::testing::Test, public ConnectionFactory {
 protected:
  Endpoint() {
    const auto identity = ca().server("vpn.example");
    server_tls_ = make_tls_server({.certificate_pem = identity.certificate_pem,
                                   .key_pem = identity.key_pem,
                                   .client_ca_pem = ca().pem(),
                                   .client_certificates = ClientCertificates::Required})
                      .value();
    const auto alice = ca().client("alice");
    client_tls_ = make_tls_client({.server_name = "vpn.example",
                                   .ca_pem = ca().pem(),
                                   .certificate_pem = alice.certificate_pem,
                                   .key_pem = alice.key_pem})
                      .value();
    options_.retry = RetryPolicy::Never;
    options_.static_secret.fill(0x5a);
  }
  std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> quic) override {
    return std::make_unique<Http3Connection>(Http3Connection::Role::Server, std::move(quic),
                                             nothing_);
  }
  void serve() {
    endpoint_ = std::make_unique<QuicServerEndpoint>(options_, *server_tls_, server_rng_, *this);
  }
  std::unique_ptr<Http3Connection> client(const NetworkPath& path) {
    return std::make_unique<Http3Connection>(
        Http3Connection::Role::Client,
        QuicConnection::create_client(now_, {}, *client_tls_, client_rng_,
                                      {.path = reversed(path)}),
        nothing_);
  }
  template <class Source>
  std::vector<Datagram> written(Source& source) {
    std::vector<Datagram> out;
    bool more = true;
    while (more) {
      more = source.poll_transmit(now_, batch_) == QuicConnection::Flushed::Full;
      for (const TransmitRun& run : batch_.runs()) {
        const Bytes bytes = batch_.bytes(run);
        for (size_t at = 0; at < bytes.size(); at += run.segment_size) {
          const auto one = bytes.subspan(at, std::min<size_t>(run.segment_size, bytes.size() - at));
          out.emplace_back(one.begin(), one.end());
        }
      }
      batch_.clear();
    }
    return out;
  }
  std::vector<Datagram> first_flight(const NetworkPath& path) {
    auto dialling = client(path);
    return written(*dialling);
  }
  void bring(const NetworkPath& path, Datagram bytes) {
    endpoint_->on_datagram(now_, {.path = path, .ecn = Ecn::NotEct, .bytes = bytes});
  }
  // A client's first flight after a Retry: it bears the token.
  std::vector<Datagram> flight_with_token(const NetworkPath& path) {
    auto dialling = client(path);
    for (auto& bytes : written(*dialling)) bring(path, bytes);
    for (auto& retry : written(*endpoint_)) {
      dialling->on_datagram(now_, {.path = reversed(path), .ecn = Ecn::NotEct, .bytes = retry});
    }
    return written(*dialling);
  }
  const QuicServerEndpoint::Counters& counters() const { return endpoint_->counters(); }

  Instant now_ = instant_from_ns(1'000'000'000);
  SeededRng client_rng_{7}, server_rng_{8};
  Nothing nothing_;
  std::unique_ptr<TlsContext> server_tls_, client_tls_;
  QuicServerEndpoint::Options options_;
  std::unique_ptr<QuicServerEndpoint> endpoint_;
  TransmitBatch batch_;
};

// proves: V4t
TEST_F(Endpoint, a_retry_token_proves_the_address_for_ten_seconds) {
  options_.retry = RetryPolicy::Always;
  serve();
  const auto flight = flight_with_token(path_from(1000));
  ASSERT_FALSE(flight.empty());
  now_ += 11s;
  for (const auto& bytes : flight) bring(path_from(1000), bytes);
  EXPECT_EQ(counters().connections_created, 0u);
  EXPECT_GE(counters().bad_tokens, 1u);
  now_ -= 2s;
  for (const auto& bytes : flight) bring(path_from(1000), bytes);
  EXPECT_EQ(counters().connections_created, 1u);
}

// proves: V4t
TEST_F(Endpoint, every_changed_bit_of_a_retry_token_is_noticed) {
  options_.retry = RetryPolicy::Always;
  serve();
  const auto flight = flight_with_token(path_from(1000));
  ASSERT_FALSE(flight.empty());
  // Long header: flags, version, two IDs with their lengths, then the token with its length.
  const Datagram& whole = flight[0];
  const size_t scid_at = 6 + size_t{whole[5]};
  const size_t token_at = scid_at + 1 + whole[scid_at] + 2;
  for (size_t i = 1; i < 60; ++i) {
    Datagram changed = whole;
    changed[token_at + i] ^= 1;
    bring(path_from(1000), changed);
  }
  EXPECT_EQ(counters().connections_created, 0u);
  EXPECT_EQ(counters().bad_tokens, 59u);
}

TEST_F(Endpoint, faults_q2_half_open_connections_at_the_limit_and_past_it) {
  options_.half_open_max = 2;
  serve();
  for (uint16_t port = 1; port <= 3; ++port) {
    for (auto& bytes : first_flight(path_from(port))) bring(path_from(port), bytes);
  }
  EXPECT_EQ(endpoint_->connection_count(), 2u);
  EXPECT_GE(counters().connections_refused, 1u);
}

TEST_F(Endpoint, connections_at_the_limit_and_past_it) {
  options_.connections_max = 2;
  serve();
  for (uint16_t port = 1; port <= 3; ++port) {
    for (auto& bytes : first_flight(path_from(port))) bring(path_from(port), bytes);
  }
  EXPECT_EQ(endpoint_->connection_count(), 2u);
  EXPECT_GE(counters().connections_refused, 1u);
}

TEST_F(Endpoint, second_halves_that_wait_at_the_limit_and_past_it) {
  options_.held_initials_max = 2;
  serve();
  for (uint16_t port = 1; port <= 3; ++port) {
    const auto flight = first_flight(path_from(port));
    ASSERT_EQ(flight.size(), 2u);
    bring(path_from(port), flight[1]);
  }
  EXPECT_EQ(counters().held_initials, 2u);
  EXPECT_EQ(endpoint_->connection_count(), 0u);
}

TEST_F(Endpoint, stateless_answers_of_one_turn_are_bounded) {
  serve();
  Datagram unknown_version(1200, 0);
  unknown_version[0] = 0xc0;
  store_be32(&unknown_version[1], 0x1a2a3a4a);
  for (int i = 0; i < 1000; ++i) bring(path_from(1), unknown_version);
  EXPECT_EQ(written(*endpoint_).size(), 256u);
}

// proves: I4
TEST_F(Endpoint, rfc9000_10_3_3_a_stateless_reset_is_smaller_than_its_cause) {
  serve();
  for (const size_t size : {21u, 22u, 30u, 42u, 43u, 44u, 1200u}) {
    bring(path_from(1), Datagram(size, 0x40));
    const auto answer = written(*endpoint_);
    ASSERT_EQ(answer.size(), size > 21 ? 1u : 0u) << size;
    for (const Datagram& reset : answer) EXPECT_LT(reset.size(), size);
  }
}

// An embedded NUL is an attempt to look like a shorter name.
TEST_F(Endpoint, names_with_a_nul_in_a_client_certificate_are_none) {
  using namespace std::string_literals;
  const auto forged = ca().issue_raw("alice\0.evil"s, "masque-vpn:alice\0.evil"s, "clientAuth");
  client_tls_ = make_tls_client({.server_name = "vpn.example",
                                 .ca_pem = ca().pem(),
                                 .certificate_pem = forged.certificate_pem,
                                 .key_pem = forged.key_pem})
                    .value();
  serve();
  const NetworkPath path = path_from(1);
  auto dialling = client(path);
  for (int round = 0; round < 20; ++round) {
    now_ += 50ms;  // what waits for a timer goes too
    if (dialling->next_timeout() && *dialling->next_timeout() <= now_) dialling->on_timeout(now_);
    endpoint_->on_timeout(now_);
    for (auto& bytes : written(*dialling)) bring(path, bytes);
    for (auto& bytes : written(*endpoint_)) {
      dialling->on_datagram(now_, {.path = reversed(path), .ecn = Ecn::NotEct, .bytes = bytes});
    }
  }
  const auto closed = dialling->quic().close_reason();
  ASSERT_TRUE(dialling->quic().handshake_confirmed()) << (closed ? closed->text : "still open");
  endpoint_->for_each([](EndpointConnection& connection) {
    const PeerCertificate peer = connection.quic().peer_certificate();
    EXPECT_TRUE(peer.present);
    EXPECT_EQ(peer.common_name, "");
    EXPECT_TRUE(peer.names.empty());
  });
}

}  // namespace
}  // namespace masque
