// SPDX-License-Identifier: Apache-2.0
#include "service/startup.h"

#include <signal.h>

#include <utility>

#include "base/log.h"
#include "host/privileges.h"

namespace masque {

std::expected<ServiceLoop, StartError> make_service_loop(std::function<void(int)> on_signal) {
  if (const auto allowed = require_tunnel_privileges(); !allowed)
    return start_failed(allowed.error());
  auto loop = EventLoop::create();
  if (!loop) return start_failed(loop.error());
  if (const auto watched = (*loop)->watch_signals({SIGTERM, SIGINT, SIGHUP}, std::move(on_signal));
      !watched) {
    return start_failed(watched.error());
  }
  auto resolver = Resolver::create(**loop);
  if (!resolver) return start_failed(resolver.error());
  return ServiceLoop{.loop = std::move(*loop), .resolver = std::move(*resolver)};
}

std::expected<Watchdog, StartError> start_watchdog(EventLoop& loop, ServiceNotifier& notifier) {
  auto watchdog = Watchdog::start(loop, notifier);
  if (!watchdog) return start_failed(watchdog.error());
  return std::move(*watchdog);
}

std::expected<ServiceInterface, StartError> make_service_interface(
    const std::string& name, uint32_t mark, const std::string& control_socket) {
  auto tun = TunDevice::open({.name = name});
  if (!tun) return start_failed(tun.error());
  auto interface = TunnelInterface::start(
      {.name = tun->name(), .mark = mark, .note = control_socket + ".return"});
  if (!interface) return start_failed(interface.error());
  return ServiceInterface{.tun = std::move(*tun), .interface = std::move(*interface)};
}

void warn_of_restart(const ConfigValues& running, const ConfigValues& next,
                     std::span<const std::string_view> applied) {
  std::string keys;
  for (const std::string& key : keys_for_restart(running, next, applied))
    keys += (keys.empty() ? "" : ", ") + key;
  if (!keys.empty()) log_warn("reload.needs_restart", {{"keys", keys}});
}

}  // namespace masque
