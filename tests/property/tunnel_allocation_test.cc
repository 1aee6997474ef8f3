// SPDX-License-Identifier: Apache-2.0
// Once warm, a packet costs our code no allocation on its whole way: TUN, session, HTTP Datagram,
// QUIC, wire, QUIC, session, TUN; a client and a gateway, both directions at once.
//
//   packet -> TunnelClient -> Http3Connection -> QuicConnection -> wire -> QuicServerEndpoint
//          -> Http3Connection -> Gateway -> sink                (and back)
//
// Over null TLS and over OpenSSL with its packet protection. Our code allocates by operator new:
// none. The libraries have their own way, malloc; what they take for a packet is written down here
// as a baseline, not as a promise. The host's sockets and the TUN are host_allocation_test.cc and
// tests/netns/host/allocation_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "core/client/tunnel_client.h"
#include "core/http/http3_connection.h"
#include "core/quic/null_tls.h"
#include "core/quic/server_endpoint.h"
#include "core/server/gateway.h"
#include "property/allocation_counter.h"
#include "sim/inner.h"
#include "support/certificates.h"

namespace masque {
namespace {

constexpr Duration kStep = 1ms;
constexpr Duration kDelay = 10ms;
constexpr size_t kPacketSize = 1000;
constexpr int kPacketsPerStep = 4;
constexpr int kWarmUpSteps = 5'000;
constexpr int kCountedSteps = 12'500;  // 50,000 packets each way

// One direction of a wire, with room for what is on its way.
class Way {
 public:
  Way() : slots_(kSlots) {}
  void send(Instant now, const NetworkPath& path, Ecn ecn, Bytes bytes) {
    if (lost_every != 0 && ++sent_ % lost_every == 0) return;
    ASSERT_LT(count_, kSlots);
    Slot& slot = slots_[(first_ + count_++) % kSlots];
    slot.at = now + kDelay;
    slot.path = {.local = path.remote, .remote = path.local};
    slot.ecn = ecn;
    slot.size = bytes.size();
    std::ranges::copy(bytes, slot.bytes.begin());
  }
  std::optional<ReceivedDatagram> due(Instant now) {
    if (count_ == 0 || slots_[first_].at > now) return std::nullopt;
    Slot& slot = slots_[first_];
    first_ = (first_ + 1) % kSlots;
    --count_;
    return ReceivedDatagram{
        .path = slot.path, .ecn = slot.ecn, .bytes = MutableBytes(slot.bytes).first(slot.size)};
  }

  size_t lost_every = 0;  // of the datagrams; none when zero

 private:
  static constexpr size_t kSlots = 4096;
  struct Slot {
    Instant at;
    NetworkPath path;
    Ecn ecn = Ecn::NotEct;
    size_t size = 0;
    std::array<uint8_t, TransmitBatch::kDatagramMax> bytes;
  };
  std::vector<Slot> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
  size_t sent_ = 0;
};

class Wire final : public TransmitTarget {
 public:
  explicit Wire(Way& way) : way_(way) {}
  TransmitBatch& batch() override { return batch_; }
  void flush() override {
    for (const TransmitRun& run : batch_.runs()) {
      const Bytes all = batch_.bytes(run);
      for (size_t at = 0; at < all.size(); at += run.segment_size) {
        way_.send(now, run.path, run.ecn,
                  all.subspan(at, std::min<size_t>(run.segment_size, all.size() - at)));
      }
    }
    batch_.clear();
  }
  Instant now;

 private:
  Way& way_;
  TransmitBatch batch_;
};

struct Sink final : PacketSink {
  void deliver(Bytes packet) override {
    ++packets;
    bytes += packet.size();
  }
  uint64_t packets = 0, bytes = 0;
};

IpPrefix prefix(std::string_view text) { return IpPrefix::parse(text).value(); }

GatewayConfig gateway_config() {
  GatewayConfig out;
  out.pools = {prefix("10.8.0.0/24")};
  return out;
}

std::unique_ptr<const PolicySnapshot> everybody() {
  PolicySnapshot out;
  out.unknown_clients = ClientPolicy{.reach_gateway = GatewayReach::Tunnel};
  out.default_routes = {prefix("10.8.0.0/24"), prefix("198.51.100.0/24")};
  return std::make_unique<const PolicySnapshot>(std::move(out));
}

enum class Crypto : uint8_t { Null, OpenSsl };

struct Tls {
  std::unique_ptr<TlsContext> client, server;
};
Tls make_tls(Crypto crypto, Rng& rng) {
  if (crypto == Crypto::Null) {
    return {
        .client = make_null_tls({.role = NullTlsOptions::Role::Client, .identity = "anna"}, rng),
        .server =
            make_null_tls({.role = NullTlsOptions::Role::Server, .identity = "gateway"}, rng)};
  }
  const testing::TestCa ca;
  const testing::Identity client = ca.client("anna"), server = ca.server("gateway");
  return {.client = make_tls_client({.server_name = "gateway",
                                     .ca_pem = ca.pem(),
                                     .certificate_pem = client.certificate_pem,
                                     .key_pem = client.key_pem})
                        .value(),
          .server = make_tls_server({.certificate_pem = server.certificate_pem,
                                     .key_pem = server.key_pem,
                                     .client_ca_pem = ca.pem()})
                        .value()};
}

class Tunnel : private ConnectionFactory {
 public:
  explicit Tunnel(Crypto crypto)
      : tls_(make_tls(crypto, rng_)),
        gateway_(gateway_config(), rng_, everybody()),
        endpoint_({}, *tls_.server, rng_, *this) {
    TunnelClientConfig config;
    config.uri_template = "https://gateway/.well-known/masque/ip/{target}/{ipproto}/";
    client_ = std::move(TunnelClient::create(std::move(config), rng_).value());
  }
  ~Tunnel() override {
    if (http_) http_->on_removed();
  }

  // Packets of each end's TUN, and whatever is due.
  void step(Bytes up, Bytes down, int packets) {
    now_ += kStep;
    to_server_.now = to_client_.now = now_;
    client_->begin_turn(now_, to_server_, client_sink);
    if (http_) {
      while (const auto datagram = down_.due(now_)) http_->on_datagram(now_, *datagram);
      if (http_->next_timeout() && *http_->next_timeout() <= now_) http_->on_timeout(now_);
    }
    if (client_->next_timeout() && *client_->next_timeout() <= now_) client_->on_timeout(now_);
    if (!started_) client_->start();
    started_ = true;
    for (int i = 0; i < packets; ++i) client_->on_tun_packet({.head = up, .body = {}});
    client_->flush();
    if (http_) {
      while (http_->poll_transmit(now_, to_server_.batch()) == QuicConnection::Flushed::Full)
        to_server_.flush();
    }
    to_server_.flush();
    while (const auto event = client_->poll_event()) {
      if (std::holds_alternative<Dial>(*event)) dial_ = true;
    }
    if (dial_) dial();

    gateway_.begin_turn(now_, to_client_, gateway_sink);
    while (const auto datagram = up_.due(now_)) endpoint_.on_datagram(now_, *datagram);
    endpoint_.on_timeout(now_);
    if (gateway_.next_timeout() && *gateway_.next_timeout() <= now_) gateway_.on_timeout(now_);
    for (int i = 0; i < packets; ++i) gateway_.on_tun_packet({.head = down, .body = {}});
    gateway_.flush();
    while (endpoint_.poll_transmit(now_, to_client_.batch()) == QuicConnection::Flushed::Full)
      to_client_.flush();
    to_client_.flush();
    while (gateway_.poll_event()) {
    }
  }
  void lose(size_t every) { up_.lost_every = down_.lost_every = every; }
  bool connected() const { return client_->state() == ClientState::Connected; }
  IpAddress address() const { return client_->addresses().front().address(); }

  Sink client_sink, gateway_sink;

 private:
  void dial() {
    dial_ = false;
    const NetworkPath path{.local = {.address = IpAddress::v4(0xcb007101), .port = 40'000},
                           .remote = {.address = IpAddress::v4(0xc0000201), .port = 443}};
    http_ = std::make_unique<Http3Connection>(
        Http3Connection::Role::Client,
        QuicConnection::create_client(now_, {}, *tls_.client, rng_, {.path = path, .token = {}}),
        *client_);
    client_->begin_turn(now_, to_server_, client_sink);
    client_->on_dialed(*http_);
    client_->flush();
  }
  std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> quic) override {
    return std::make_unique<Http3Connection>(Http3Connection::Role::Server, std::move(quic),
                                             gateway_);
  }

  SeededRng rng_{5};
  Instant now_{1s};
  Way up_, down_;
  Wire to_server_{up_}, to_client_{down_};
  Tls tls_;
  Gateway gateway_;
  QuicServerEndpoint endpoint_;
  std::unique_ptr<TunnelClient> client_;
  std::unique_ptr<Http3Connection> http_;
  bool started_ = false, dial_ = false;
};

// What the library may take for 1,000 packets. On a clean path it was nothing (ngtcp2 1.22, nghttp3
// 1.15); blocks for new pools and for what is lost come now and then.
constexpr size_t kLibraryPerThousand = 20;

void nothing_is_allocated(size_t lost_every, Crypto crypto = Crypto::Null) {
  Tunnel tunnel(crypto);
  for (int i = 0; i < 3000 && !tunnel.connected(); ++i) tunnel.step({}, {}, 0);
  ASSERT_TRUE(tunnel.connected());
  const IpAddress inside = tunnel.address();
  const IpAddress outside = IpAddress::parse("198.51.100.10").value();
  const auto up =
      make_udp_packet({.source = inside, .destination = outside, .packet_size = kPacketSize});
  const auto down =
      make_udp_packet({.source = outside, .destination = inside, .packet_size = kPacketSize});
  tunnel.lose(lost_every);
  for (int i = 0; i < kWarmUpSteps; ++i) tunnel.step(up, down, kPacketsPerStep);

  const size_t by_new = allocations_by_new();
  const size_t by_malloc = allocations_by_malloc();
  ASSERT_GT(by_new, 100u) << "the counter does not count";
  const uint64_t at_client = tunnel.client_sink.packets, at_gateway = tunnel.gateway_sink.packets;
  for (int i = 0; i < kCountedSteps; ++i) tunnel.step(up, down, kPacketsPerStep);
  const size_t more_by_malloc = allocations_by_malloc() - by_malloc;
  EXPECT_EQ(allocations_by_new() - by_new, 0u);
  constexpr uint64_t kWay = uint64_t{kCountedSteps} * kPacketsPerStep;
  EXPECT_LE(more_by_malloc, kLibraryPerThousand * kWay / 1000) << "by the library";
  const uint64_t to_client = tunnel.client_sink.packets - at_client;
  const uint64_t to_gateway = tunnel.gateway_sink.packets - at_gateway;
  if (lost_every == 0) {
    EXPECT_EQ(to_client, kWay);
    EXPECT_EQ(to_gateway, kWay);
  } else {
    // Congestion control takes its share too; enough is left to say something.
    EXPECT_GT(to_client, kWay / 10);
    EXPECT_GT(to_gateway, kWay / 10);
    EXPECT_LT(to_client, kWay);
  }
}

TEST(TunnelAllocation, our_code_allocates_nothing_for_a_packet) { nothing_is_allocated(0); }

TEST(TunnelAllocation, our_code_allocates_nothing_for_a_packet_under_openssl) {
  nothing_is_allocated(0, Crypto::OpenSsl);
}

// The queues fill and empty, packets are lost, acknowledgements have holes.
TEST(TunnelAllocation, our_code_allocates_nothing_on_a_path_that_loses) {
  nothing_is_allocated(500);
}

}  // namespace
}  // namespace masque
