// SPDX-License-Identifier: Apache-2.0
// The packet loop of a gateway: one thread, a UDP socket for each IP version, one TUN, the QUIC
// endpoint and the Gateway.
//
//   UDP readable -> receive_batch -> QuicServerEndpoint -> Http3Connection -> Gateway -> TUN
//   TUN readable -> read_batch -> split super-packets -> Gateway -> QUIC -> UDP (GSO)
//   end of turn  -> queued packets, acknowledgements, timers; one send, one TUN write
//
// Control (policy, revocation, live changes) reaches the Gateway between turns through
// with_gateway().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/http/http3_connection.h"
#include "core/quic/server_endpoint.h"
#include "core/server/gateway.h"
#include "host/event_loop.h"
#include "host/packet_io.h"
#include "host/random.h"
#include "host/tun_device.h"
#include "host/udp_socket.h"

namespace masque {

class ServerWorker final : public ConnectionFactory {
 public:
  struct Options {
    QuicServerEndpoint::Options endpoint;
    Http3Limits http;
  };
  using EventHandler = std::move_only_function<void(GatewayEvent)>;
  using TunLost = std::move_only_function<void(const SysError&)>;

  // One socket, or two for both IP versions; they outlive the worker.
  ServerWorker(EventLoop& loop, std::vector<UdpSocket>& sockets, TunDevice& tun, Gateway& gateway,
               TlsContext& tls, Options options);
  ~ServerWorker() override;

  Result<void, SysError> start();
  void set_on_event(EventHandler handler) { on_event_ = std::move(handler); }
  void set_on_tun_lost(TunLost handler) { on_tun_lost_ = std::move(handler); }

  // Runs `work` on the gateway inside a turn of its own.
  void with_gateway(const std::function<void(Gateway&)>& work);
  // New handshakes use it (certificate rotation).
  void set_tls(TlsContext& tls) { endpoint_.set_tls(tls); }
  void refuse_new_connections() { endpoint_.refuse_new_connections(); }

  const QuicServerEndpoint& endpoint() const { return endpoint_; }

  std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> quic) override;

 private:
  void begin_turn();
  void on_udp(UdpSocket& socket, EventLoop::Ready ready);
  void on_tun(EventLoop::Ready ready);
  void on_deadline(Instant now);
  void end_turn();
  void drain_events();

  EventLoop& loop_;
  std::vector<UdpSocket>& sockets_;
  TunDevice& tun_;
  Gateway& gateway_;
  Options options_;
  KernelRng rng_;
  PacketIo io_;
  QuicServerEndpoint endpoint_;
  ReceiveBatch received_;
  TunReadBatch tun_batch_;
  Instant now_{};
  bool in_turn_ = false;
  EventLoop::Interest udp_interest_ = EventLoop::kReadable;
  EventLoop::Interest tun_interest_ = EventLoop::kReadable;
  EventHandler on_event_;
  TunLost on_tun_lost_;
};

}  // namespace masque
