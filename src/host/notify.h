// SPDX-License-Identifier: Apache-2.0
// The service manager's notification protocol (sd_notify(3)): datagrams to the socket named by
// NOTIFY_SOCKET. Without that variable every call does nothing. Failures are ignored: a manager
// that does not listen must not stop a VPN.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "host/unique_fd.h"

namespace masque {

class ServiceNotifier {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and removes them from the environment, so
  // that children do not speak for us.
  static ServiceNotifier from_environment();
  ServiceNotifier() = default;

  bool active() const { return !path_.empty(); }
  void ready(std::string_view status);     // READY=1; also ends a reload
  void reloading();                        // RELOADING=1 with MONOTONIC_USEC
  void stopping(std::string_view status);  // STOPPING=1
  void status(std::string_view text);      // STATUS=
  void watchdog();                         // WATCHDOG=1
  // Half of what the manager allows: send watchdog() this often. nullopt: no watchdog.
  std::optional<Duration> watchdog_interval() const { return watchdog_interval_; }

 private:
  void send(std::string_view message);
  std::string path_;  // a leading '@' is the abstract namespace
  std::optional<Duration> watchdog_interval_;
};

}  // namespace masque
