// SPDX-License-Identifier: Apache-2.0
#include "service/run.h"

#include <csignal>

#include "base/log.h"
#include "service/client_service.h"
#include "service/server_service.h"

namespace masque {

namespace {

template <class Service, class Config>
int run(const Config& config, std::string_view failure_event) {
  // A reader of our log that goes away, or a signal that means nothing to us, must not cut the
  // tunnel.
  for (const int number : {SIGPIPE, SIGUSR1, SIGUSR2}) std::signal(number, SIG_IGN);
  Service service(config);
  if (const auto started = service.start(); !started) {
    log_error(failure_event, {{"why", started.error().text}});
    return started.error().exit_code;
  }
  return service.run();
}

}  // namespace

int run_server(const ServerConfig& config) {
  return run<ServerService>(config, "server.not_started");
}
int run_client(const ClientConfig& config) {
  return run<ClientService>(config, "client.not_started");
}

}  // namespace masque
