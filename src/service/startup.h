// SPDX-License-Identifier: Apache-2.0
// What client and server set up alike, in this order: privileges, loop, signals, resolver; later
// the interface; and what their reloads have in common. Signals are watched before the resolver
// starts its thread, so that they come to the loop alone.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "host/event_loop.h"
#include "host/interface_config.h"
#include "host/resolver.h"
#include "host/tun_device.h"
#include "host/watchdog.h"
#include "service/config/values.h"
#include "service/start_error.h"

namespace masque {

struct ServiceLoop {
  std::unique_ptr<EventLoop> loop;
  std::unique_ptr<Resolver> resolver;
};
// SIGTERM, SIGINT and SIGHUP go to `on_signal`.
std::expected<ServiceLoop, StartError> make_service_loop(std::function<void(int)> on_signal);

// Warns of the keys that a reload changes and only a restart applies: all but `applied`.
void warn_of_restart(const ConfigValues& running, const ConfigValues& next,
                     std::span<const std::string_view> applied);

std::expected<Watchdog, StartError> start_watchdog(EventLoop& loop, ServiceNotifier& notifier);

struct ServiceInterface {
  TunDevice tun;
  TunnelInterface interface;
};
// What this instance changes of the host's settings is noted beside its control socket.
std::expected<ServiceInterface, StartError> make_service_interface(
    const std::string& name, uint32_t mark, const std::string& control_socket);

}  // namespace masque
