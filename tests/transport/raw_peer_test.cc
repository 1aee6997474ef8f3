// SPDX-License-Identifier: Apache-2.0
// Bytes that no honest HTTP/3 peer sends, written by hand onto QUIC streams and datagrams: what our
// side answers (RFC 9114, RFC 9297 2). TLS is real; the wire loses nothing and takes no time.
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "base/rng.h"
#include "core/http/http3_connection.h"
#include "support/certificates.h"

namespace masque {
namespace {

const testing::TestCa& ca() {
  static const testing::TestCa instance;
  return instance;
}

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }

// A QUIC end that writes what it is told and notes what it gets.
struct RawPeer : QuicApplication {
  Continue on_handshake_completed() override { return Continue::Yes; }
  Continue on_stream_data(StreamId id, Bytes data, bool) override {
    received[id.value()].insert(received[id.value()].end(), data.begin(), data.end());
    return Continue::Yes;
  }
  void on_stream_acked(StreamId, uint64_t) override {}
  void on_stream_unblocked(StreamId) override {}
  void on_stream_reset(StreamId id, uint64_t code) override { resets[id.value()] = code; }
  void on_stream_closed(StreamId, uint64_t) override {}
  void on_remote_streams(uint64_t) override {}
  void on_datagram(Bytes) override {}
  bool next_stream_chunk(StreamChunk& chunk) override {
    if (outgoing.empty()) return true;
    chunk.stream = static_cast<int64_t>(outgoing.front().stream.value());
    chunk.pieces[0] = outgoing.front().bytes;
    chunk.piece_count = 1;
    chunk.fin = outgoing.front().fin;
    return true;
  }
  void on_stream_written(StreamId, size_t count) override {
    auto& bytes = outgoing.front().bytes;
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count));
    if (!bytes.empty()) return;
    sent.push_back(std::move(outgoing.front()));
    outgoing.pop_front();
  }
  void on_stream_blocked(StreamId) override { outgoing.clear(); }
  void on_stream_write_shut(StreamId) override { outgoing.pop_front(); }

  struct Piece {
    StreamId stream;
    std::vector<uint8_t> bytes;
    bool fin;
  };
  std::deque<Piece> outgoing;
  std::vector<Piece> sent;
  std::map<uint64_t, std::vector<uint8_t>> received;
  std::map<uint64_t, uint64_t> resets;
};

struct Accepting : RequestHandler {
  void on_request(HttpConnection& connection, StreamId id, const HeaderFields& fields,
                  bool) override {
    ++requests;
    last = fields;
    connection.respond(id, {{":status", "200"}, {"capsule-protocol", "?1"}}, StreamEnd::KeepOpen);
    connection.enable_datagrams(Instant{}, id);
  }
  void on_stream_closed(HttpConnection&, StreamId, uint64_t) override { ++closed; }
  void on_stream_data(HttpConnection&, StreamId, Bytes data) override {
    stream_bytes.insert(stream_bytes.end(), data.begin(), data.end());
  }
  void on_http_datagram(HttpConnection&, StreamId id, Bytes payload) override {
    ++datagrams;
    datagram_stream = id;
    datagram_bytes.assign(payload.begin(), payload.end());
  }
  void on_settings(HttpConnection&) override { ++settings; }
  void on_goaway(HttpConnection&, StreamId id) override { goaways.push_back(id.value()); }
  int requests = 0, closed = 0, datagrams = 0, settings = 0;
  std::vector<uint8_t> stream_bytes, datagram_bytes;
  std::optional<StreamId> datagram_stream;
  std::vector<uint64_t> goaways;
  HeaderFields last;
};

std::vector<std::vector<uint8_t>> packets_of(const TransmitBatch& batch) {
  std::vector<std::vector<uint8_t>> packets;
  for (const TransmitRun& run : batch.runs()) {
    const Bytes bytes = batch.bytes(run);
    for (size_t at = 0; at < bytes.size(); at += run.segment_size) {
      const Bytes one = bytes.subspan(at, std::min<size_t>(run.segment_size, bytes.size() - at));
      packets.emplace_back(one.begin(), one.end());
    }
  }
  return packets;
}

// Our server against a raw client.
class RawClient : public ::testing::Test, public ConnectionFactory {
 protected:
  void SetUp() override {
    const auto identity = ca().server("vpn.example");
    server_tls = make_tls_server({.certificate_pem = identity.certificate_pem,
                                  .key_pem = identity.key_pem,
                                  .client_ca_pem = ca().pem(),
                                  .client_certificates = ClientCertificates::None,
                                  .key_log = {}})
                     .value();
    client_tls = make_tls_client({.server_name = "vpn.example", .ca_pem = ca().pem()}).value();
    endpoint = std::make_unique<QuicServerEndpoint>(QuicServerEndpoint::Options{}, *server_tls, rng,
                                                    *this);
    client = QuicConnection::create_client(now, {}, *client_tls, rng,
                                           {.path = kClientPath, .token = {}});
    client->set_application(&raw);
    run();
    ASSERT_TRUE(client->handshake_confirmed());
  }
  std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> quic) override {
    auto connection =
        std::make_unique<Http3Connection>(Http3Connection::Role::Server, std::move(quic), handler);
    server = connection.get();
    return connection;
  }
  void run() {
    for (int round = 0; round < 200; ++round) {
      now += 100us;
      client->poll_transmit(now, batch);
      const size_t up = deliver([&](MutableBytes bytes) {
        endpoint->on_datagram(now, {.path = kServerPath, .ecn = Ecn::NotEct, .bytes = bytes});
      });
      endpoint->poll_transmit(now, batch);
      const size_t down = deliver([&](MutableBytes bytes) {
        client->on_datagram(now, {.path = kClientPath, .ecn = Ecn::NotEct, .bytes = bytes});
      });
      if (client->next_timeout() && *client->next_timeout() <= now) client->on_timeout(now);
      endpoint->on_timeout(now);
      if (up + down == 0 && round > 100) break;
    }
  }
  size_t deliver(const std::function<void(MutableBytes)>& receive) {
    auto packets = packets_of(batch);
    batch.clear();
    for (auto& packet : packets) receive(packet);
    return packets.size();
  }
  void write(StreamId id, std::vector<uint8_t> bytes, bool fin = false) {
    raw.outgoing.push_back({.stream = id, .bytes = std::move(bytes), .fin = fin});
  }
  StreamId uni() { return client->open_unidirectional_stream().value(); }
  StreamId bidi() { return client->open_bidirectional_stream().value(); }
  // Type 0 and SETTINGS {H3_DATAGRAM = 1}, protocol vectors 15.4.
  void control(std::string_view settings = "00 04 02 3301") {
    control_stream = uni();
    write(*control_stream, hex(settings));
  }
  // HEADERS of an extended CONNECT, all literals with literal names (QPACK, no table).
  static std::vector<uint8_t> headers(
      const std::vector<std::pair<std::string, std::string>>& fields) {
    ByteBuffer section;
    section.u16(0);
    for (const auto& [name, value] : fields) {
      section.u8(static_cast<uint8_t>(0x20 | std::min<size_t>(name.size(), 7)));
      if (name.size() >= 7) section.u8(static_cast<uint8_t>(name.size() - 7));
      section.bytes(as_bytes(name));
      section.u8(static_cast<uint8_t>(value.size()));  // below 127 here
      section.bytes(as_bytes(value));
    }
    ByteBuffer frame;
    frame.varint(1);
    frame.varint(section.size());
    frame.bytes(section.view());
    return frame.take();
  }
  static std::vector<std::pair<std::string, std::string>> connect_ip() {
    return {{":method", "CONNECT"},
            {":protocol", "connect-ip"},
            {":scheme", "https"},
            {":authority", "vpn.example"},
            {":path", "/.well-known/masque/ip/*/*/"},
            {"capsule-protocol", "?1"}};
  }
  void datagram(std::string_view bytes) {
    const auto payload = hex(bytes);
    EXPECT_EQ(
        client->send_datagram(now, payload, {.head = {}, .body = {}}, TrafficClass::Bulk, batch),
        SendResult::Sent);
  }
  void expect_closed(HttpError code) {
    ASSERT_TRUE(client->close_reason());
    EXPECT_TRUE(client->close_reason()->application);
    EXPECT_EQ(client->close_reason()->code, static_cast<uint64_t>(code))
        << client->close_reason()->text;
  }

  static constexpr auto kPort = uint16_t{4433};
  const NetworkPath kClientPath{.local = {IpAddress::v4(0x0a000002), 50000},
                                .remote = {IpAddress::v4(0x0a000001), kPort}};
  const NetworkPath kServerPath{.local = kClientPath.remote, .remote = kClientPath.local};
  Instant now = instant_from_ns(1'000'000'000);
  SeededRng rng{3};
  std::unique_ptr<TlsContext> server_tls, client_tls;
  Accepting handler;
  std::unique_ptr<QuicServerEndpoint> endpoint;
  Http3Connection* server = nullptr;
  std::unique_ptr<QuicConnection> client;
  RawPeer raw;
  TransmitBatch batch;
  std::optional<StreamId> control_stream;
};

// proves: W1, W2, Q1, H11
TEST_F(RawClient, our_first_frame_is_settings_with_connect_and_datagrams) {
  const auto& bytes = raw.received[3];  // the server's first unidirectional stream
  ASSERT_GE(bytes.size(), 3u);
  EXPECT_EQ(bytes[0], 0x00);  // control stream
  EXPECT_EQ(bytes[1], 0x04);  // SETTINGS
  ByteReader in(Bytes(bytes).subspan(2));
  ByteReader settings(in.bytes(static_cast<size_t>(in.varint().value())).value());
  std::map<uint64_t, uint64_t> values;
  while (!settings.empty()) {
    const uint64_t id = settings.varint().value();
    EXPECT_TRUE(values.emplace(id, settings.varint().value()).second) << "a setting twice";
  }
  EXPECT_EQ(values[0x08], 1u);
  EXPECT_EQ(values[0x33], 1u);
  for (const uint64_t http2 : {0u, 2u, 3u, 4u, 5u}) EXPECT_FALSE(values.contains(http2));
}

// proves: W1
TEST_F(RawClient, a_control_stream_begins_with_settings) {
  control("00 07 01 00");  // GOAWAY first
  run();
  expect_closed(HttpError::MissingSettings);
}

// proves: W1
TEST_F(RawClient, settings_come_once) {
  control("00 04 02 3301 04 02 3301");
  run();
  expect_closed(HttpError::FrameUnexpected);
}

// proves: W1
TEST_F(RawClient, one_control_stream) {
  control();
  control();
  run();
  expect_closed(HttpError::StreamCreation);
}

// proves: W1
TEST_F(RawClient, the_control_stream_stays_open) {
  control();
  run();
  write(*control_stream, {}, true);
  run();
  expect_closed(HttpError::ClosedCriticalStream);
}

// proves: H8
TEST_F(RawClient, h3_datagram_is_zero_or_one) {
  control("00 04 02 3302");
  run();
  expect_closed(HttpError::Settings);
}

// proves: W8, W10
TEST_F(RawClient, rfc9114_5_2_requests_at_the_goaways_limit_are_rejected) {
  control();
  write(StreamId(bidi()), headers(connect_ip()));
  run();
  server->send_goaway();
  run();
  const StreamId under_way = bidi();  // the notice alone rejects nothing
  write(under_way, headers(connect_ip()));
  run();
  EXPECT_EQ(handler.requests, 2);
  for (int i = 0; i < 3; ++i) server->send_goaway();
  run();
  const StreamId late = bidi();
  write(late, headers(connect_ip()));
  run();
  server->send_goaway();
  run();
  EXPECT_EQ(handler.requests, 2);
  EXPECT_EQ(raw.resets, (std::map<uint64_t, uint64_t>{
                            {late.value(), static_cast<uint64_t>(HttpError::RequestRejected)}}));
  EXPECT_FALSE(client->close_reason());
  // On the control stream, after SETTINGS: 2^62-4, then the first request that was not looked at.
  const auto& bytes = raw.received[3];
  const auto goaways = hex("07 08 fffffffffffffffc 07 01 08");
  ASSERT_GE(bytes.size(), goaways.size());
  EXPECT_EQ(to_hex(Bytes(bytes).last(goaways.size())), to_hex(goaways));
}

TEST_F(RawClient, settings_of_http2_are_forbidden) {
  control("00 04 02 0201");
  run();
  expect_closed(HttpError::Settings);
}

// proves: W5
TEST_F(RawClient, unknown_streams_and_frames_are_passed_over) {
  control("00 04 04 3301 2100 21 03 aabbcc");  // a reserved setting and a reserved frame
  write(uni(), hex("21 0102030405"));          // a reserved stream type
  write(bidi(), headers(connect_ip()));
  run();
  EXPECT_FALSE(client->close_reason());
  EXPECT_EQ(handler.requests, 1);
}

// proves: H3, X10
TEST_F(RawClient, a_cut_quarter_stream_id_ends_the_connection) {
  control();
  run();
  datagram("c0");
  run();
  expect_closed(HttpError::Datagram);
}

// proves: H3, X10
TEST_F(RawClient, a_quarter_stream_id_beyond_2_60_ends_the_connection) {
  control();
  run();
  datagram("d000000000000000");
  run();
  expect_closed(HttpError::Datagram);
}

// Protocol vector 15.1: legal, but its stream is far beyond the limit.
// proves: H3, H7, X10
TEST_F(RawClient, the_largest_quarter_stream_id_is_legal) {
  control();
  run();
  datagram("cfffffffffffffff 00 45");
  run();
  expect_closed(HttpError::Id);
}

// proves: H7
TEST_F(RawClient, a_datagram_for_a_stream_that_can_never_exist) {
  control();
  run();
  datagram("80004000 00");  // stream 65536: beyond the limit of 100
  run();
  expect_closed(HttpError::Id);
}

// proves: H5, H6, D3, X8
TEST_F(RawClient, datagrams_of_closed_streams_are_dropped) {
  control();
  const StreamId stream = bidi();
  write(stream, headers(connect_ip()));
  run();
  client->shutdown_stream(stream, static_cast<uint64_t>(HttpError::RequestCancelled));
  run();
  datagram("00 00 45");
  run();
  EXPECT_EQ(handler.datagrams, 0);
  EXPECT_EQ(handler.closed, 1);
  EXPECT_FALSE(client->close_reason());
}

// proves: H1, X9
TEST_F(RawClient, a_datagram_of_a_plain_request_aborts_it) {
  control();
  const StreamId stream = bidi();
  write(stream,
        headers({{":method", "GET"}, {":scheme", "https"}, {":authority", "a"}, {":path", "/"}}));
  run();
  datagram("00 00 45");
  run();
  EXPECT_EQ(handler.datagrams, 0);
  EXPECT_EQ(handler.closed, 1);
  ASSERT_TRUE(raw.resets.contains(stream.value()));
  EXPECT_EQ(raw.resets[stream.value()], static_cast<uint64_t>(HttpError::Datagram));
  EXPECT_FALSE(client->close_reason());
}

// proves: W9
TEST_F(RawClient, an_unknown_error_code_only_ends_its_stream) {
  control();
  const StreamId stream = bidi();
  write(stream, headers(connect_ip()));
  run();
  client->shutdown_stream(stream, 0x4242);
  run();
  EXPECT_EQ(handler.closed, 1);
  EXPECT_FALSE(client->close_reason());
  write(bidi(), headers(connect_ip()));
  run();
  EXPECT_EQ(handler.requests, 2);
}

// proves: W6
TEST_F(RawClient, malformed_messages_are_stream_errors) {
  const std::pair<const char*, std::vector<std::pair<std::string, std::string>>> cases[] = {
      {"no path",
       {{":method", "CONNECT"},
        {":protocol", "connect-ip"},
        {":scheme", "https"},
        {":authority", "a"}}},
      {"upper case",
       {{":method", "CONNECT"},
        {":protocol", "connect-ip"},
        {":scheme", "https"},
        {":authority", "a"},
        {":path", "/"},
        {"X-A", "b"}}},
      {"pseudo after regular",
       {{":method", "CONNECT"},
        {"a", "b"},
        {":protocol", "connect-ip"},
        {":scheme", "https"},
        {":authority", "a"},
        {":path", "/"}}},
      {"connection header",
       {{":method", "CONNECT"},
        {":protocol", "connect-ip"},
        {":scheme", "https"},
        {":authority", "a"},
        {":path", "/"},
        {"connection", "keep-alive"}}},
      {"unknown pseudo",
       {{":method", "CONNECT"},
        {":protocol", "connect-ip"},
        {":scheme", "https"},
        {":authority", "a"},
        {":path", "/"},
        {":what", "x"}}},
  };
  control();
  for (const auto& [name, fields] : cases) {
    SCOPED_TRACE(name);
    const StreamId stream = bidi();
    write(stream, headers(fields));
    run();
    ASSERT_FALSE(client->close_reason()) << client->close_reason()->text;
    ASSERT_TRUE(raw.resets.contains(stream.value()));
    EXPECT_EQ(raw.resets[stream.value()], static_cast<uint64_t>(HttpError::Message));
  }
  EXPECT_EQ(handler.requests, 0);
}

// proves: W7
TEST_F(RawClient, after_connect_only_data) {
  control();
  const StreamId stream = bidi();
  write(stream, headers(connect_ip()));
  run();
  ASSERT_EQ(handler.requests, 1);
  write(stream, headers({{"trailer", "x"}}));
  run();
  expect_closed(HttpError::FrameUnexpected);
}

// proves: W10
TEST_F(RawClient, a_reset_of_one_direction_ends_both) {
  control();
  const StreamId stream = bidi();
  write(stream, headers(connect_ip()));
  run();
  client->shutdown_stream_read(stream, static_cast<uint64_t>(HttpError::RequestCancelled));
  run();
  // Our next capsule finds the direction shut.
  server->send_stream_data(stream, hex("0100"));
  run();
  EXPECT_EQ(handler.closed, 1);
  EXPECT_TRUE(raw.resets.contains(stream.value()));
}

// A QPACK bomb: a header section over the limit costs the connection, not our memory.
TEST_F(RawClient, an_endless_header_section_is_excessive_load) {
  control();
  auto fields = connect_ip();
  for (int i = 0; i < 600; ++i) fields.emplace_back("x", std::string(100, 'y'));
  write(bidi(), headers(fields));
  run();
  EXPECT_EQ(handler.requests, 0);
  ASSERT_TRUE(client->close_reason());
}

// Protocol vector 15.3: the packet that a LAN sends, on stream 44.
constexpr std::string_view kLanPacket =
    "45000020 00004000 4011 4e87 c000020b c6336407 9c400035000c0000 61626364";

// proves: H2, D1
TEST_F(RawClient, rfc9484_8_a_datagram_on_stream_44) {
  control();
  StreamId stream = bidi();
  for (int i = 0; i < 11; ++i) stream = bidi();
  ASSERT_EQ(stream.value(), 44u);
  write(stream, headers(connect_ip()));
  run();
  datagram("0b 00" + std::string(kLanPacket));
  run();
  ASSERT_EQ(handler.datagrams, 1);
  EXPECT_EQ(handler.datagram_stream, stream);
  EXPECT_EQ(handler.datagram_bytes, hex("00" + std::string(kLanPacket)));
}

// Protocol vector 15.2: the DATA frame that holds ADDRESS_REQUEST id 1 0.0.0.0/32.
// proves: H12
TEST_F(RawClient, a_data_frame_gives_the_bytes_of_its_capsule) {
  control();
  const StreamId stream = bidi();
  write(stream, headers(connect_ip()));
  write(stream, hex("00 09 02 07 01 04 00000000 20"));
  run();
  EXPECT_EQ(handler.stream_bytes, hex("02 07 01 04 00000000 20"));
}

// Protocol vector 15.4.
// proves: W8
TEST_F(RawClient, rfc9114_5_2_the_first_goaway_names_the_greatest_stream) {
  control();
  run();
  server->send_goaway();
  run();
  const auto& bytes = raw.received[3];
  const auto goaway = hex("07 08 fffffffffffffffc");
  ASSERT_GE(bytes.size(), goaway.size());
  EXPECT_EQ(std::vector(bytes.end() - static_cast<ptrdiff_t>(goaway.size()), bytes.end()), goaway);
}

// proves: W3
TEST_F(RawClient, a_client_may_open_three_streams_of_its_own_and_a_hundred_requests) {
  for (int i = 0; i < 3; ++i) {
    const StreamId stream = uni();
    write(stream, std::vector<uint8_t>(1024, 0x21));  // a reserved stream type, all at once
  }
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(client->open_bidirectional_stream()) << i;
  client->wake();
  run();
  EXPECT_FALSE(client->close_reason());
  EXPECT_EQ(raw.sent.size(), 3u) << "flow control held something back";
}

// Our client against a raw server.
class RawServer : public ::testing::Test, public ConnectionFactory {
 protected:
  // What the endpoint wants around a connection.
  class Around final : public EndpointConnection {
   public:
    Around(std::unique_ptr<QuicConnection> quic, RawPeer& raw) : quic_(std::move(quic)) {
      quic_->set_application(&raw);
    }
    QuicConnection& quic() override { return *quic_; }
    void on_datagram(Instant at, const ReceivedDatagram& datagram) override {
      quic_->on_datagram(at, datagram);
    }
    QuicConnection::Flushed poll_transmit(Instant at, TransmitBatch& out) override {
      return quic_->poll_transmit(at, out);
    }
    void on_timeout(Instant at) override { quic_->on_timeout(at); }
    void on_removed() override {}

   private:
    std::unique_ptr<QuicConnection> quic_;
  };

  void SetUp() override {
    const auto identity = ca().server("vpn.example");
    server_tls = make_tls_server({.certificate_pem = identity.certificate_pem,
                                  .key_pem = identity.key_pem,
                                  .client_ca_pem = ca().pem(),
                                  .client_certificates = ClientCertificates::None,
                                  .key_log = {}})
                     .value();
    client_tls = make_tls_client({.server_name = "vpn.example", .ca_pem = ca().pem()}).value();
    endpoint = std::make_unique<QuicServerEndpoint>(QuicServerEndpoint::Options{}, *server_tls, rng,
                                                    *this);
    auto quic = QuicConnection::create_client(now, {}, *client_tls, rng,
                                              {.path = kClientPath, .token = {}});
    client =
        std::make_unique<Http3Connection>(Http3Connection::Role::Client, std::move(quic), handler);
    run();
    ASSERT_TRUE(client->quic().handshake_confirmed());
  }
  std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> quic) override {
    server = quic.get();
    return std::make_unique<Around>(std::move(quic), raw);
  }
  void run() {
    for (int round = 0; round < 200; ++round) {
      now += 100us;
      if (server != nullptr) server->wake();
      client->poll_transmit(now, batch);
      const size_t up = deliver([&](MutableBytes bytes) {
        endpoint->on_datagram(now, {.path = kServerPath, .ecn = Ecn::NotEct, .bytes = bytes});
      });
      endpoint->poll_transmit(now, batch);
      const size_t down = deliver([&](MutableBytes bytes) {
        client->on_datagram(now, {.path = kClientPath, .ecn = Ecn::NotEct, .bytes = bytes});
      });
      if (client->next_timeout() && *client->next_timeout() <= now) client->on_timeout(now);
      endpoint->on_timeout(now);
      if (up + down == 0 && round > 100) break;
    }
  }
  size_t deliver(const std::function<void(MutableBytes)>& receive) {
    auto packets = packets_of(batch);
    batch.clear();
    for (auto& packet : packets) receive(packet);
    return packets.size();
  }
  void write(StreamId id, std::vector<uint8_t> bytes, bool fin = false) {
    raw.outgoing.push_back({.stream = id, .bytes = std::move(bytes), .fin = fin});
  }

  const NetworkPath kClientPath{.local = {IpAddress::v4(0x0a000002), 50000},
                                .remote = {IpAddress::v4(0x0a000001), 4433}};
  const NetworkPath kServerPath{.local = kClientPath.remote, .remote = kClientPath.local};
  Instant now = instant_from_ns(1'000'000'000);
  SeededRng rng{3};
  std::unique_ptr<TlsContext> server_tls, client_tls;
  Accepting handler;
  RawPeer raw;
  std::unique_ptr<QuicServerEndpoint> endpoint;
  QuicConnection* server = nullptr;
  std::unique_ptr<Http3Connection> client;
  TransmitBatch batch;
};

// Protocol vectors 15.4, as they are printed there.
// proves: Q1, C2, W8
TEST_F(RawServer, settings_make_the_client_usable_and_goaway_is_heard) {
  EXPECT_FALSE(client->usable()) << "no settings yet";
  const StreamId control = server->open_unidirectional_stream().value();
  write(control, hex("00 04 04 0801 3301"));
  run();
  EXPECT_EQ(handler.settings, 1);
  EXPECT_TRUE(client->usable()) << client->why_not();
  write(control, hex("07 08 fffffffffffffffc"));
  run();
  EXPECT_EQ(handler.goaways, std::vector<uint64_t>{(uint64_t{1} << 62) - 4});
  EXPECT_FALSE(client->quic().close_reason());
}

// proves: C2, Q1
TEST_F(RawServer, without_extended_connect_the_client_sends_no_request) {
  write(server->open_unidirectional_stream().value(), hex("00 04 02 3301"));
  run();
  EXPECT_EQ(handler.settings, 1);
  EXPECT_FALSE(client->usable());
}

// proves: W3
TEST_F(RawServer, a_server_may_open_three_streams_and_send_1024_bytes_on_each) {
  for (int i = 0; i < 3; ++i) {
    const auto stream = server->open_unidirectional_stream();
    ASSERT_TRUE(stream);
    write(*stream, std::vector<uint8_t>(1024, 0x21));
  }
  run();
  EXPECT_EQ(raw.sent.size(), 3u) << "flow control held something back";
  EXPECT_FALSE(client->quic().close_reason());
  // And no request stream at all (RFC 9114 6.1).
  EXPECT_FALSE(server->open_bidirectional_stream());
}

}  // namespace
}  // namespace masque
