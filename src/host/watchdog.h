// SPDX-License-Identifier: Apache-2.0
// Tells the service manager that the loop still turns (WatchdogSec= of systemd.service(5)): a
// process whose loop hangs is restarted by it. Without a manager that asks for it, nothing is done.
#pragma once

#include "base/result.h"
#include "host/event_loop.h"
#include "host/notify.h"
#include "host/system.h"
#include "host/unique_fd.h"

namespace masque {

class Watchdog {
 public:
  Watchdog() = default;
  // The notifier outlives the loop, and so does what is returned.
  static Result<Watchdog, SysError> start(EventLoop& loop, ServiceNotifier& notifier);

 private:
  UniqueFd timer_;
};

}  // namespace masque
