// SPDX-License-Identifier: Apache-2.0
// The core as a library: a CONNECT-IP client (RFC 9484) without a TUN. It connects, prints its
// addresses and answers pings in user space. It ends on SIGINT or SIGTERM.
//
//   minimal_client 192.0.2.1:443 vpn.example.com ca.crt client.crt client.key
//
// What a host of the core must do is here: own the socket, tell the time, keep a turn's order.
#include <poll.h>
#include <signal.h>

#include <cstdio>
#include <format>
#include <fstream>
#include <optional>
#include <print>
#include <sstream>
#include <string>

#include "core/client/tunnel_client.h"
#include "core/http/http3_connection.h"
#include "host/clock.h"
#include "host/random.h"
#include "host/udp_socket.h"

namespace {

using namespace masque;  // NOLINT(google-build-using-namespace): one file, no header

volatile sig_atomic_t stopping = 0;

// Where the core's outgoing datagrams and incoming IP packets go: the socket, and nowhere.
class Mouths final : public TransmitTarget, public PacketSink {
 public:
  explicit Mouths(UdpSocket& socket) : socket_(socket) {}
  TransmitBatch& batch() override { return batch_; }
  void flush() override {
    SendCursor cursor;
    // A full socket buffer loses the rest: QUIC sends again what matters.
    (void)socket_.send_batch(batch_, cursor);
    batch_.clear();
  }
  void deliver(Bytes ip_packet) override {
    std::println("packet of {} bytes, not a ping", ip_packet.size());
  }

 private:
  UdpSocket& socket_;
  TransmitBatch batch_;
};

class MinimalClient {
 public:
  MinimalClient(TunnelClient& client, TlsContext& tls, UdpSocket& socket, SocketAddress remote)
      : client_(client), tls_(tls), socket_(socket), remote_(remote), mouths_(socket) {}

  void run() {
    turn([&] { client_.start(); });
    while (stopping == 0) {
      wait();
      turn([&] { receive(); });
    }
    turn([&] { client_.stop(); });
  }

 private:
  // Everything that is asked of the core happens within a turn.
  template <class Work>
  void turn(Work work) {
    now_ = monotonic_now();
    client_.begin_turn(now_, mouths_, mouths_);
    work();
    if (connection_ && due(connection_->next_timeout())) connection_->on_timeout(now_);
    if (due(client_.next_timeout())) client_.on_timeout(now_);
    client_.flush();
    while (const auto event = client_.poll_event()) on_event(*event);
    transmit();
    if (connection_ && connection_->quic().closing()) {
      hang_up();
      client_.on_connection_lost("the gateway closed the connection");
    }
  }

  bool due(std::optional<Instant> deadline) const { return deadline && *deadline <= now_; }

  void wait() {
    const auto deadline =
        earlier(client_.next_timeout(), connection_ ? connection_->next_timeout() : std::nullopt);
    int timeout_ms = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - monotonic_now());
      timeout_ms = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000));
    }
    pollfd waiting{.fd = socket_.fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&waiting, 1, timeout_ms);
  }

  void receive() {
    if (!socket_.receive_batch(received_) || !connection_) return;
    for (const ReceivedDatagram& datagram : received_.datagrams())
      connection_->on_datagram(now_, datagram);
  }

  void transmit() {
    if (!connection_) return;
    while (connection_->poll_transmit(now_, mouths_.batch()) == QuicConnection::Flushed::Full)
      mouths_.flush();
    mouths_.flush();
  }

  void on_event(const ClientEvent& event) {
    if (std::holds_alternative<Dial>(event)) {
      dial();
    } else if (std::holds_alternative<HangUp>(event)) {
      if (connection_) connection_->close(now_, HttpError::NoError, "");
      transmit();
      hang_up();
    } else if (const auto* state = std::get_if<ClientStateChanged>(&event)) {
      std::println("{}{}{}", to_string(state->state), state->reason.empty() ? "" : ": ",
                   state->reason);
    } else if (const auto* addresses = std::get_if<AddressesChanged>(&event)) {
      for (const IpPrefix& address : addresses->addresses)
        std::println("address {}", address.to_string());
    } else if (const auto* routes = std::get_if<RoutesChanged>(&event)) {
      for (const IpPrefix& route : routes->routes) std::println("route {}", route.to_string());
    }
    std::fflush(stdout);
  }

  void dial() {
    hang_up();
    const NetworkPath path{.local = socket_.local_address(), .remote = remote_};
    auto quic = QuicConnection::create_client(now_, {}, tls_, rng_, {.path = path, .token = {}});
    if (!quic) return client_.on_connection_lost("QUIC refuses the settings");
    connection_ =
        std::make_unique<Http3Connection>(Http3Connection::Role::Client, std::move(quic), client_);
    client_.on_dialed(*connection_);
  }

  void hang_up() {
    if (connection_) connection_->on_removed();
    connection_.reset();
  }

  TunnelClient& client_;
  TlsContext& tls_;
  UdpSocket& socket_;
  SocketAddress remote_;
  Mouths mouths_;
  KernelRng rng_;
  ReceiveBatch received_;
  std::unique_ptr<Http3Connection> connection_;
  Instant now_{};
};

std::string read_file(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int fail(const std::string& message) {
  std::println(stderr, "minimal_client: {}", message);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6)
    return fail("usage: minimal_client ADDR:PORT SERVER-NAME CA.pem CERTIFICATE.pem KEY.pem");
  const auto remote = SocketAddress::parse(argv[1]);
  if (!remote) return fail(std::format("{} is no address with a port", argv[1]));

  auto tls = make_tls_client({.server_name = argv[2],
                              .ca_pem = read_file(argv[3]),
                              .certificate_pem = read_file(argv[4]),
                              .key_pem = read_file(argv[5])});
  if (!tls) return fail(tls.error());
  const auto source = source_address_for(*remote);
  if (!source) return fail(source.error().message());
  auto socket = UdpSocket::create({.bind = {.address = *source, .port = 0}});
  if (!socket) return fail(socket.error().message());

  KernelRng rng;
  auto client = TunnelClient::create(
      {.uri_template = std::format("https://{}:{}/.well-known/masque/ip/{{target}}/{{ipproto}}/",
                                   argv[2], remote->port),
       .local_echo = TunnelClientConfig::LocalEcho::Answer},
      rng);
  if (!client) return fail(client.error());

  struct sigaction action{};
  action.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  MinimalClient(**client, **tls, *socket, *remote).run();
}
