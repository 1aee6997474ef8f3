// SPDX-License-Identifier: Apache-2.0
// Client and server transport joined by a lossless wire of 10 ms each way, with real TLS and a
// virtual clock. What is on the wire can be seen, dropped and changed.
#pragma once

#include <algorithm>
#include <deque>

#include "base/rng.h"
#include "core/http/http3_connection.h"
#include "core/quic/token_store.h"
#include "support/certificates.h"

namespace masque {

inline const testing::TestCa& ca() {
  static const testing::TestCa instance;
  return instance;
}

inline SocketAddress address(uint32_t ip, uint16_t port) {
  return {.address = IpAddress::v4(ip), .port = port};
}
inline const NetworkPath kClientPath{.local = address(0x0a000002, 50000),
                                     .remote = address(0x0a000001, 4433)};
inline const NetworkPath kServerPath{.local = kClientPath.remote, .remote = kClientPath.local};
constexpr Duration kOneWay = 10ms;

// Writes down what happens; the server accepts every request.
struct Recorder : RequestHandler {
  void on_settings(HttpConnection&) override { ++settings; }
  void on_request(HttpConnection& connection, StreamId id, const HeaderFields& fields,
                  bool) override {
    request = fields;
    stream = id;
    if (accept) {
      connection.respond(id, {{":status", "200"}, {"capsule-protocol", "?1"}}, StreamEnd::KeepOpen);
      if (enable) connection.enable_datagrams(*clock, id);
    } else {
      connection.respond(id, {{":status", "403"}}, StreamEnd::Fin);
    }
  }
  void on_response(HttpConnection& connection, StreamId id, const HeaderFields& fields,
                   bool at_end) override {
    response = fields;
    response_fin = at_end;
    if (find_field(fields, ":status") == "200") connection.enable_datagrams(*clock, id);
  }
  void on_stream_data(HttpConnection&, StreamId, Bytes data) override {
    stream_bytes += as_text(data);
  }
  void on_stream_fin(HttpConnection&, StreamId) override { fin = true; }
  void on_stream_closed(HttpConnection&, StreamId, uint64_t code) override {
    closed.push_back(code);
  }
  void on_http_datagram(HttpConnection&, StreamId, Bytes payload) override {
    datagrams.emplace_back(as_text(payload));
  }
  void on_goaway(HttpConnection&, StreamId id) override { goaways.push_back(id.value()); }

  const Instant* clock = nullptr;
  bool accept = true;
  bool enable = true;  // datagrams, with the answer
  int settings = 0;
  HeaderFields request, response;
  bool response_fin = false;
  std::optional<StreamId> stream;
  std::string stream_bytes;
  bool fin = false;
  std::vector<uint64_t> closed;
  std::vector<std::string> datagrams;
  std::vector<uint64_t> goaways;
};

struct PairOptions {
  TlsClientOptions client_tls{.server_name = "vpn.example", .ca_pem = ca().pem()};
  ClientCertificates client_certificates = ClientCertificates::Required;
  testing::Identity client_identity = ca().client("alice");
  testing::Identity server_identity = ca().server("vpn.example");
  RetryPolicy retry = RetryPolicy::Never;
  QuicSettings quic;  // of both ends
  // What stands between QUIC and TLS, for a peer that lies (lying_tls.h).
  using Wrap = std::function<std::unique_ptr<TlsContext>(std::unique_ptr<TlsContext>)>;
  Wrap wrap_client, wrap_server;
};

class Pair : public ConnectionFactory {
 public:
  explicit Pair(PairOptions options = {}) : client_rng(7), server_rng(8) {
    client_events.clock = server_events.clock = &now;
    server_tls = make_tls_server({.certificate_pem = options.server_identity.certificate_pem,
                                  .key_pem = options.server_identity.key_pem,
                                  .client_ca_pem = ca().pem(),
                                  .client_certificates = options.client_certificates})
                     .value();
    options.client_tls.certificate_pem = options.client_identity.certificate_pem;
    options.client_tls.key_pem = options.client_identity.key_pem;
    client_tls = make_tls_client(options.client_tls).value();
    if (options.wrap_server) server_tls = options.wrap_server(std::move(server_tls));
    if (options.wrap_client) client_tls = options.wrap_client(std::move(client_tls));
    quic = options.quic;
    endpoint_options.quic = quic;
    endpoint_options.retry = options.retry;
    endpoint_options.static_secret.fill(0x5a);
    restart_server();
    dial();
  }
  void restart_server() {
    endpoint =
        std::make_unique<QuicServerEndpoint>(endpoint_options, *server_tls, server_rng, *this);
  }
  void dial() { dial_with(newest_token()); }
  void dial_with(std::string token) {
    auto connection = QuicConnection::create_client(
        now, quic, *client_tls, client_rng, {.path = kClientPath, .token = std::move(token)});
    client = std::make_unique<Http3Connection>(Http3Connection::Role::Client, std::move(connection),
                                               client_events);
  }
  std::string newest_token() {
    if (client) tokens.keep(kClientPath, client->quic().new_token());
    return tokens.take(kClientPath);
  }
  std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> accepted) override {
    auto connection = std::make_unique<Http3Connection>(Http3Connection::Role::Server,
                                                        std::move(accepted), server_events);
    server = connection.get();
    return connection;
  }

  // Runs until nothing is on the wire and no timer is due within `span`.
  void run(Duration span = 1s) {
    const Instant end = now + span;
    while (true) {
      flush();
      std::optional<Instant> next = earlier(client->next_timeout(), endpoint->next_timeout());
      if (!wire.empty()) next = earlier(next, wire.front().at);
      if (!next || *next > end) break;
      now = std::max(now, *next);
      while (!wire.empty() && wire.front().at <= now) {
        Packet packet = std::move(wire.front());
        wire.pop_front();
        if (packet.to_server) {
          bytes_to_server += packet.bytes.size();
          endpoint->on_datagram(now,
                                {.path = kServerPath, .ecn = Ecn::NotEct, .bytes = packet.bytes});
        } else {
          bytes_to_client += packet.bytes.size();
          client->on_datagram(now,
                              {.path = kClientPath, .ecn = Ecn::NotEct, .bytes = packet.bytes});
        }
      }
      if (client->next_timeout() && *client->next_timeout() <= now) client->on_timeout(now);
      endpoint->on_timeout(now);
    }
    now = end;
  }
  void flush() {
    if (before_flush) before_flush();
    while (client->poll_transmit(now, batch) == QuicConnection::Flushed::Full) send(true);
    send(true);
    while (endpoint->poll_transmit(now, batch) == QuicConnection::Flushed::Full) send(false);
    send(false);
  }
  void send(bool to_server) {
    for (const TransmitRun& run : batch.runs()) {
      const Bytes bytes = batch.bytes(run);
      for (size_t at = 0; at < bytes.size(); at += run.segment_size) {
        const Bytes one = bytes.subspan(at, std::min<size_t>(run.segment_size, bytes.size() - at));
        if (!drop || !drop(to_server, one))
          wire.push_back({now + one_way, to_server, {one.begin(), one.end()}});
      }
    }
    batch.clear();
  }
  std::optional<StreamId> connect() {
    return client->open_request(now, {{":method", "CONNECT"},
                                      {":protocol", "connect-ip"},
                                      {":scheme", "https"},
                                      {":authority", "vpn.example"},
                                      {":path", "/.well-known/masque/ip/*/*/"},
                                      {"capsule-protocol", "?1"}});
  }
  SendResult send_packet(HttpConnection& from, StreamId stream, std::string_view text) {
    const SendResult result = from.send_packet(now, stream, {.head = as_bytes(text), .body = {}},
                                               TrafficClass::Bulk, batch);
    send(&from == client.get());
    return result;
  }

  struct Packet {
    Instant at;
    bool to_server;
    std::vector<uint8_t> bytes;
  };
  Instant now = instant_from_ns(1'000'000'000);
  SeededRng client_rng, server_rng;
  std::unique_ptr<TlsContext> server_tls, client_tls;
  QuicSettings quic;
  QuicServerEndpoint::Options endpoint_options;
  TokenStore tokens;
  Recorder client_events, server_events;
  std::unique_ptr<QuicServerEndpoint> endpoint;
  std::unique_ptr<Http3Connection> client;
  Http3Connection* server = nullptr;
  TransmitBatch batch;
  std::deque<Packet> wire;
  Duration one_way = kOneWay;
  std::function<bool(bool, Bytes)> drop;
  std::function<void()> before_flush;
  size_t bytes_to_server = 0, bytes_to_client = 0;
};

}  // namespace masque
