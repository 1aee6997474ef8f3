// SPDX-License-Identifier: Apache-2.0
// `masque-vpn server`: wires configuration, database, TUN, NAT, sockets and the packet loop, and
// serves the control socket. One object, one thread (lease writes and name lookups have their own).
//
// What it sets up in the kernel (TUN, addresses, routes, rules, nft table, forwarding) goes with
// it, in the reverse order of its members, also when start() fails half-way.
#pragma once

#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/server/gateway.h"
#include "host/control_socket.h"
#include "host/event_loop.h"
#include "host/host_addresses.h"
#include "host/interface_config.h"
#include "host/ip_forwarding.h"
#include "host/nat.h"
#include "host/notify.h"
#include "host/resolver.h"
#include "host/server_worker.h"
#include "host/watchdog.h"
#include "service/config/config.h"
#include "service/control/protocol.h"
#include "service/start_error.h"
#include "service/store/server_keys.h"
#include "service/store/store_writer.h"
#include "service/store/user_directory.h"

namespace masque {

class ServerService {
 public:
  explicit ServerService(ServerConfig config) : config_(std::move(config)) {}
  ~ServerService();

  std::expected<void, StartError> start();
  int run();  // until a signal; the exit code

 private:
  std::expected<void, StartError> open_state();
  std::expected<void, StartError> open_interface();
  std::expected<void, StartError> open_sockets();
  std::expected<void, StartError> start_gateway();
  std::expected<void, StartError> open_control();
  static std::expected<std::unique_ptr<TlsContext>, StartError> make_tls(
      const ServerConfig& config);
  std::expected<void, StartError> watch_host_addresses();
  void on_host_addresses();
  Result<void, SysError> apply_interface();
  void apply_interface_soon();
  Result<void, SysError> apply_forwarding(const ServerConfig& config);
  Result<void, SysError> apply_nat(const ServerConfig& config);
  Result<void, SysError> apply_host(const ServerConfig& config);
  static uint32_t interface_mtu(const ServerConfig& config);
  static std::string forwarding_note(const ServerConfig& config);
  std::unique_ptr<const PolicySnapshot> policy() const;
  void apply_policy();
  StoreResult<void> read_users();
  void store_lease(const LeaseChanged& lease);
  void forget_leases();

  void on_signal(int signal);
  void on_event(GatewayEvent event);
  void on_tun_lost(const SysError& error);
  void stop();
  std::expected<void, StartError> reload();

  void on_control(ControlServer::ClientId client, std::string_view line);
  std::string answer(const ControlRequest& request);
  ServiceStatus status() const;

  ServerConfig config_;
  Instant started_{};
  ServiceState state_ = ServiceState::Starting;
  int exit_code_ = 0;
  ServiceNotifier notifier_;
  Watchdog watchdog_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<Store> store_;         // users, read again on change
  std::unique_ptr<StoreWriter> writer_;  // leases
  UserDirectory users_;
  std::map<std::string, std::vector<IpPrefix>> leases_;  // as the database has them
  ServerKeys keys_;
  std::unique_ptr<TlsContext> tls_;
  std::vector<std::unique_ptr<TlsContext>> former_tls_;  // of connections that are still alive
  KernelRng rng_;
  std::optional<TunDevice> tun_;
  std::optional<TunnelInterface> interface_;
  InterfaceState wanted_;
  std::optional<HostAddresses> host_addresses_;
  bool applies_soon_ = false;
  std::optional<IpForwarding> forwarding_;
  std::optional<Nat> nat_;
  std::vector<UdpSocket> sockets_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<ServerWorker> worker_;
  std::unique_ptr<ControlServer> control_;
};

}  // namespace masque
