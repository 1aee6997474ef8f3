// SPDX-License-Identifier: Apache-2.0
// A world with the usual furniture, so that a scenario is a page: a gateway at 192.0.2.1:443 with
// two pools, a host behind it, clients with identities, and the links between.
//
//   client "anna" --link--\                          /-- internet 198.51.100.10, 2001:db8:99::10
//   client "bert" --link---> gateway 192.0.2.1:443 -<
//                            pools 10.8.0.0/24 and   \-- kernel 10.8.0.1, fd00:8::1
//                            fd00:8::/64
//
// Crypto::Null repeats bit by bit; Crypto::Real is OpenSSL, with the certificates that the caller
// made.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>

#include "core/quic/null_tls.h"
#include "sim/scripted.h"
#include "sim/seeded_openssl.h"
#include "sim/sim_client.h"
#include "sim/sim_server.h"
#include "sim/traffic.h"

namespace masque {

// Makes the TLS contexts of a lab; the simulator itself cannot make certificates.
class TlsFactory {
 public:
  virtual ~TlsFactory() = default;
  virtual std::unique_ptr<TlsContext> server(std::string_view name) = 0;
  virtual std::unique_ptr<TlsContext> client(std::string_view identity,
                                             std::string_view server_name) = 0;
};

struct ServerSetup {
  SocketAddress address{.address = IpAddress::v4(0xc0000201), .port = 443};
  QuicSettings quic;
  RetryPolicy retry = RetryPolicy::Auto;
  size_t half_open_before_retry = 64;
  size_t certificate_size = 800;  // null TLS only
  Http3Limits http;
  GatewayConfig gateway;  // pools: the lab's, when empty
  PolicySnapshot policy;  // without clients: everybody may enter
};

struct ClientSetup {
  QuicSettings quic;
  TunnelClientConfig tunnel;
  LinkOptions up;
  LinkOptions down;
  size_t hello_size = 300;  // null TLS only
  std::optional<IpAddress> address;
  Http3Limits http;
};

class Lab {
 public:
  // `real` null: null TLS.
  Lab(uint64_t seed, TlsFactory* real);
  ~Lab();

  SimServer& add_server(ServerSetup setup = {});
  SimClient& add_client(const std::string& name, ClientSetup setup = {});
  ScriptedClient& add_scripted_client(const std::string& name, const ClientSetup& setup = {});
  ScriptedServer& add_scripted_server(ScriptedServer::OnRequest on_request,
                                      const ServerSetup& setup = {});

  SimServer& server() { return *server_; }
  // What a client of that name would use, for packets that the scenario makes itself.
  std::unique_ptr<TlsContext> client_tls(const std::string& identity, size_t hello_size = 300);
  InnerNode& internet() { return *internet_; }
  // A host with an address of its own; behind the gateway or behind a client.
  InnerNode& add_inner(std::string name, const std::vector<IpPrefix>& addresses);

  // Starts the client and waits until it is connected with the families that the gateway has.
  bool connect(SimClient& client, Duration limit = 10s);
  // Pings the internet through the tunnel until `replies` more are back.
  bool ping_works(SimClient& client, Duration limit, IpVersion version = IpVersion::V4,
                  uint64_t replies = 3);

  // Where a client and its session stand, for messages of failures.
  std::string describe(SimClient& client);

  Flow& ping(InnerNode& from, InnerNode& to, FlowOptions options = {});
  Flow& stream(InnerNode& from, InnerNode& to, FlowOptions options = {});
  Flow& stream_to(InnerNode& from, const IpAddress& to, FlowOptions options = {});
  Transfer& transfer(InnerNode& from, InnerNode& to, Transfer::Options options = {});
  // Kills the gateway's process; its sessions end without a word.
  void kill_server();
  // Stops all flows, heals the network, closes every client in good order, and checks that the
  // gateway is empty then (I-11) and that every session that came up has ended once.
  void finish();

  uint64_t seed() const { return seed_; }
  uint64_t below(uint64_t bound) { return world.below(bound); }
  void run(Duration duration) { world.run_for(duration); }
  bool until(const std::function<bool()>& condition, Duration limit) {
    return world.run_until(condition, limit);
  }

  static IpPrefix prefix(std::string_view text);
  static IpAddress address(std::string_view text);

  World world;
  Network network{world};
  PacketLedger ledger{world};

 private:
  std::unique_ptr<TlsContext> server_tls(size_t certificate_size);
  ClientNode::Options client_options(const ClientSetup& setup);

  uint64_t seed_;
  TlsFactory* real_;
  std::optional<SeededOpenSsl> openssl_;  // with null TLS
  std::unique_ptr<InnerNode> internet_;
  std::list<InnerNode> inner_;
  std::unique_ptr<SimServer> server_;
  std::list<std::unique_ptr<ScriptedServer>> scripted_servers_;
  std::list<std::unique_ptr<SimClient>> clients_;
  std::list<std::unique_ptr<ScriptedClient>> scripted_clients_;
  std::list<Flow> flows_;
  std::list<Transfer> transfers_;
  size_t killed_sessions_ = 0;
  uint32_t next_client_address_ = 0xcb007101;  // 203.0.113.1
};

}  // namespace masque
