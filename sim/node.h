// SPDX-License-Identifier: Apache-2.0
// Hosts that run our QUIC and HTTP/3: the same turn that the real event loop makes, in virtual
// time.
//
//   turn:  begin -> received datagrams -> due timers -> input of the program (TUN, flush)
//          -> poll_transmit until all is written -> send -> events of the program -> arm the timer
//
// A ClientNode has one connection at a time, a ServerNode an endpoint with many. What they are for
// is decided by the derived class: the real cores (SimClient, SimServer) or scripts that misbehave.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/http/http3_connection.h"
#include "core/quic/server_endpoint.h"
#include "core/quic/token_store.h"
#include "sim/network.h"

namespace masque {

class TurnNode : public UdpHost {
 public:
  TurnNode(World& world, Network& network, const IpAddress& address, Network::Kind kind);

  void on_udp(const NetworkPath& path, Ecn ecn, Bytes bytes) override;
  // One turn soon, at this very instant.
  void schedule_turn();
  // A connection has something to send: this turn's transmit step does it, if that is still to
  // come.
  void on_wake() {
    if (step_ != Step::Input) schedule_turn();
  }
  Network::HostId id() const { return id_; }
  const IpAddress& address() const { return address_; }
  World& world() { return world_; }
  Network& network() { return network_; }
  uint64_t turns() const { return turns_; }

 protected:
  struct Inbox {
    NetworkPath path;
    Ecn ecn = Ecn::NotEct;
    std::vector<uint8_t> bytes;
  };

  // --- steps of a turn, in this order ---
  virtual void begin(Instant now) = 0;
  virtual void receive(Instant now, const ReceivedDatagram& datagram) = 0;
  virtual void fire_timers(Instant now) = 0;
  virtual void take_input(Instant now) = 0;
  virtual QuicConnection::Flushed transmit(Instant now, TransmitBatch& batch) = 0;
  virtual void finish(Instant now) = 0;
  virtual std::optional<Instant> next_timeout() const = 0;

  NetworkTransmit& target() { return target_; }
  void drop_inbox() { inbox_.clear(); }

 private:
  void turn();
  void arm();

  World& world_;
  Network& network_;
  IpAddress address_;
  Network::HostId id_;
  NetworkTransmit target_;
  std::vector<Inbox> inbox_;
  bool turn_planned_ = false;
  enum class Step : uint8_t { Idle, Input, Output } step_ = Step::Idle;
  std::optional<Instant> armed_;
  uint64_t turns_ = 0;
};

class ClientNode : public TurnNode {
 public:
  struct Options {
    IpAddress address;
    SocketAddress server;
    QuicSettings quic;
    Http3Limits http;
  };

  ClientNode(World& world, Network& network, Options options, std::unique_ptr<TlsContext> tls);
  ~ClientNode() override;

  // A new connection from a new port; false when the library refuses.
  bool dial();
  Http3Connection* connection() { return connection_.get(); }
  const std::optional<CloseReason>& last_close() const { return last_close_; }
  uint64_t dials() const { return dials_; }
  SocketAddress local() const { return local_; }
  // Gone without a word, as a process that was killed.
  void kill();

 protected:
  virtual RequestHandler& handler() = 0;
  virtual void on_connection_ended(const CloseReason& reason) { static_cast<void>(reason); }
  virtual void begin_application(Instant) {}
  virtual void fire_application_timers(Instant) {}
  virtual void take_application_input(Instant) {}
  virtual void finish_application(Instant) {}
  virtual std::optional<Instant> application_timeout() const { return std::nullopt; }

 private:
  void begin(Instant now) override { begin_application(now); }
  void receive(Instant now, const ReceivedDatagram& datagram) override;
  void fire_timers(Instant now) override;
  void take_input(Instant now) override { take_application_input(now); }
  QuicConnection::Flushed transmit(Instant now, TransmitBatch& batch) override;
  void finish(Instant now) override;
  std::optional<Instant> next_timeout() const override;

  Options options_;
  std::unique_ptr<TlsContext> tls_;
  std::unique_ptr<Http3Connection> connection_;
  SocketAddress local_;
  uint16_t next_port_ = 40'000;
  std::optional<CloseReason> last_close_;
  uint64_t dials_ = 0;
  TokenStore tokens_;
};

class ServerNode : public TurnNode, private ConnectionFactory {
 public:
  struct Options {
    SocketAddress address;
    QuicServerEndpoint::Options endpoint;
    Http3Limits http;
  };

  ServerNode(World& world, Network& network, Options options, std::unique_ptr<TlsContext> tls);
  ~ServerNode() override;

  QuicServerEndpoint& endpoint() { return *endpoint_; }
  SocketAddress listen_address() const { return options_.address; }
  bool running() const { return endpoint_ != nullptr; }

 protected:
  enum class StaticSecret : uint8_t { Keep, New };
  virtual RequestHandler& handler() = 0;
  virtual void begin_application(Instant) {}
  virtual void fire_application_timers(Instant) {}
  virtual void take_application_input(Instant) {}
  virtual void finish_application(Instant) {}
  virtual std::optional<Instant> application_timeout() const { return std::nullopt; }
  // Destroys all connections without a word (the process was killed), or makes a new endpoint.
  void stop_endpoint();
  void start_endpoint(StaticSecret secret);

 private:
  std::unique_ptr<EndpointConnection> create(std::unique_ptr<QuicConnection> quic) override;
  void begin(Instant now) override { begin_application(now); }
  void receive(Instant now, const ReceivedDatagram& datagram) override;
  void fire_timers(Instant now) override;
  void take_input(Instant now) override { take_application_input(now); }
  QuicConnection::Flushed transmit(Instant now, TransmitBatch& batch) override;
  void finish(Instant now) override { finish_application(now); }
  std::optional<Instant> next_timeout() const override;

  Options options_;
  std::unique_ptr<TlsContext> tls_;
  std::unique_ptr<QuicServerEndpoint> endpoint_;
};

}  // namespace masque
