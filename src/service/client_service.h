// SPDX-License-Identifier: Apache-2.0
// `masque-vpn client`: wires the profile, TUN, packet loop and control socket. One object, one
// thread.
//
// What it sets up in the kernel (TUN, addresses, routes, rules) goes with it, also when start()
// fails half-way. While the connection is lost the interface stays as it is, so that inner flows
// survive.
//
// It ends by itself only when trying again is of no use: the gateway refused the identity, or the
// very first attempt showed a fault of the configuration (certificate, name, path). An unreachable
// gateway is tried again for ever.
#pragma once

#include <expected>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "core/client/tunnel_client.h"
#include "host/client_worker.h"
#include "host/control_socket.h"
#include "host/event_loop.h"
#include "host/interface_config.h"
#include "host/notify.h"
#include "host/resolver.h"
#include "host/watchdog.h"
#include "service/config/config.h"
#include "service/control/protocol.h"
#include "service/start_error.h"

namespace masque {

class ClientService {
 public:
  explicit ClientService(ClientConfig config) : config_(std::move(config)) {}
  ~ClientService();

  std::expected<void, StartError> start();
  int run();  // until a signal, or until it gives up; the exit code

 private:
  std::expected<void, StartError> open_control();
  std::expected<void, StartError> open_interface();
  std::expected<void, StartError> start_tunnel();
  std::expected<void, StartError> make_tls();
  TunnelClientConfig tunnel_config() const;
  RouteAcceptance acceptance() const;
  void apply_interface();

  void on_signal(int signal);
  void on_event(const ClientEvent& event);
  void on_state(const ClientStateChanged& change);
  void give_up(int exit_code, const std::string& reason);
  void stop();
  std::expected<void, StartError> reload();

  std::string answer(std::string_view line);
  ServiceStatus status();

  ClientConfig config_;
  Instant started_{};
  ServiceState state_ = ServiceState::Starting;
  int exit_code_ = 0;
  bool was_connected_ = false;
  std::string last_error_;
  ServiceNotifier notifier_;
  Watchdog watchdog_;
  std::ofstream key_log_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<TlsContext> tls_;
  KernelRng rng_;
  std::optional<TunDevice> tun_;
  std::optional<TunnelInterface> interface_;
  InterfaceState wanted_;
  std::unique_ptr<TunnelClient> client_;
  std::unique_ptr<ClientWorker> worker_;
  std::unique_ptr<ControlServer> control_;
};

}  // namespace masque
