// SPDX-License-Identifier: Apache-2.0
// The packet loop of a client: one thread, one TUN, one UDP socket per connection, the
// TunnelClient.
//
//   Dial event -> resolve -> socket bound to the right source -> QUIC -> Http3Connection ->
//   on_dialed TUN readable -> read_batch -> split -> TunnelClient -> QUIC -> UDP (GSO) UDP readable
//   -> receive_batch -> Http3Connection -> TunnelClient -> TUN end of turn -> queued packets,
//   acknowledgements, timers; one send, one TUN write
//
// A change of this host's links, addresses or routes ends the wait for the next attempt.
//
// The TUN outlives connections: addresses and inner flows stay while the client dials again. When a
// name has several addresses, each attempt takes the next one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/client/tunnel_client.h"
#include "core/http/http3_connection.h"
#include "core/quic/token_store.h"
#include "host/event_loop.h"
#include "host/network_monitor.h"
#include "host/packet_io.h"
#include "host/random.h"
#include "host/resolver.h"
#include "host/tun_device.h"
#include "host/udp_socket.h"

namespace masque {

class ClientWorker {
 public:
  struct Options {
    std::string host;  // of the gateway: a name or an address
    uint16_t port = 443;
    Duration resolve_timeout = 10s;
    std::optional<uint32_t> mark;  // of outer packets, keeps them out of the tunnel
    QuicSettings quic;
    Http3Limits http;
  };
  using EventHandler = std::move_only_function<void(const ClientEvent&)>;
  using TunLost = std::move_only_function<void(const SysError&)>;

  ClientWorker(EventLoop& loop, TunDevice& tun, TunnelClient& client, TlsContext& tls,
               Resolver& resolver, Options options);
  ~ClientWorker();
  ClientWorker(const ClientWorker&) = delete;
  ClientWorker& operator=(const ClientWorker&) = delete;

  Result<void, SysError> start();
  void set_on_event(EventHandler handler) { on_event_ = std::move(handler); }
  void set_on_tun_lost(TunLost handler) { on_tun_lost_ = std::move(handler); }
  // Runs `work` on the client inside a turn of its own.
  void with_client(const std::function<void(TunnelClient&)>& work);

  // The gateway's addresses as last resolved: they must stay reachable outside the tunnel.
  const std::vector<SocketAddress>& outer_addresses() const { return addresses_; }
  // Null while there is no connection.
  Http3Connection* connection() { return connection_.get(); }
  // Why the last connection ended; outlives it.
  const std::optional<CloseReason>& last_close() const { return last_close_; }

 private:
  Result<void, SysError> watch_network();
  void on_network();
  void begin_turn();
  void end_turn();
  void on_udp(EventLoop::Ready ready);
  void on_tun(EventLoop::Ready ready);
  void on_deadline(Instant now);
  void handle(const ClientEvent& event);
  void dial();
  void on_resolved(Resolver::Answer answer);
  Result<void, SysError> connect_to(const SocketAddress& remote);
  void hang_up();
  void drop_connection();
  void reap_dead_connection();

  EventLoop& loop_;
  TunDevice& tun_;
  TunnelClient& client_;
  TlsContext& tls_;
  Resolver& resolver_;
  Options options_;
  KernelRng rng_;
  PacketIo io_;
  ReceiveBatch received_;
  TunReadBatch tun_batch_;
  std::optional<NetworkMonitor> network_;
  std::vector<NetworkEvent> network_events_;
  std::optional<UdpSocket> socket_;
  std::unique_ptr<Http3Connection> connection_;
  std::optional<CloseReason> last_close_;
  TokenStore tokens_;
  std::vector<SocketAddress> addresses_;
  size_t next_address_ = 0;
  bool hanging_up_ = false;
  Instant now_{};
  bool in_turn_ = false;
  EventLoop::Interest udp_interest_ = EventLoop::kReadable;
  EventLoop::Interest tun_interest_ = EventLoop::kReadable;
  EventHandler on_event_;
  TunLost on_tun_lost_;
};

// A sentence for people: why a connection ended.
std::string explain(const CloseReason& reason);

}  // namespace masque
