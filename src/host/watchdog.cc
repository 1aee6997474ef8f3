// SPDX-License-Identifier: Apache-2.0
#include "host/watchdog.h"

#include <utility>

#include "host/clock.h"

namespace masque {
namespace {

void arm(int timer, Duration interval) {
  (void)sys::set_timer(timer, to_ns(monotonic_now() + interval));
}

}  // namespace

Result<Watchdog, SysError> Watchdog::start(EventLoop& loop, ServiceNotifier& notifier) {
  Watchdog watchdog;
  const auto interval = notifier.watchdog_interval();
  if (!interval) return watchdog;
  TRY(watchdog.timer_, sys::timer_fd());
  const int fd = watchdog.timer_.get();
  // Setting the timer again also takes back that it is due.
  TRY_VOID(loop.add(fd, EventLoop::kReadable, [&notifier, fd, interval](EventLoop::Ready) {
    notifier.watchdog();
    arm(fd, *interval);
  }));
  arm(fd, *interval);
  return watchdog;
}

}  // namespace masque
