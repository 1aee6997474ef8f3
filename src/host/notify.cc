// SPDX-License-Identifier: Apache-2.0
#include "host/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <format>

#include "host/clock.h"
#include "host/system.h"

namespace masque {
namespace {

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::optional<uint64_t> number(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// A status is one line: a newline would start another assignment.
std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\n' || c == '\r' || c == '\0') c = ' ';
  }
  return line;
}

}  // namespace

ServiceNotifier ServiceNotifier::from_environment() {
  ServiceNotifier notifier;
  const std::string path = environment("NOTIFY_SOCKET");
  const bool usable = path.size() > 1 && path.size() < sizeof(sockaddr_un::sun_path) &&
                      (path[0] == '/' || path[0] == '@');
  if (usable) notifier.path_ = path;
  const auto interval = number(environment("WATCHDOG_USEC"));
  const auto pid = number(environment("WATCHDOG_PID"));
  const bool for_us = !pid || *pid == static_cast<uint64_t>(::getpid());
  constexpr uint64_t kIntervalMax = uint64_t{24} * 3600 * 1'000'000;
  if (usable && for_us && interval && *interval > 0 && *interval <= kIntervalMax) {
    notifier.watchdog_interval_ = std::chrono::microseconds(*interval) / 2;
  }
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  return notifier;
}

void ServiceNotifier::ready(std::string_view text) {
  send(std::format("READY=1\nSTATUS={}", one_line(text)));
}

void ServiceNotifier::reloading() {
  const auto now =
      std::chrono::duration_cast<std::chrono::microseconds>(monotonic_now().time_since_epoch());
  send(std::format("RELOADING=1\nMONOTONIC_USEC={}", now.count()));
}

void ServiceNotifier::stopping(std::string_view text) {
  send(std::format("STOPPING=1\nSTATUS={}", one_line(text)));
}
void ServiceNotifier::status(std::string_view text) {
  send(std::format("STATUS={}", one_line(text)));
}
void ServiceNotifier::watchdog() { send("WATCHDOG=1"); }

void ServiceNotifier::send(std::string_view message) {
  if (path_.empty()) return;
  const auto fd = sys::socket(AF_UNIX, SOCK_DGRAM, 0);
  if (!fd) return;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path_.data(), path_.size());
  if (name.sun_path[0] == '@') name.sun_path[0] = '\0';  // the abstract namespace
  const auto length = static_cast<uint32_t>(offsetof(sockaddr_un, sun_path) + path_.size());
  if (!sys::connect(fd->get(), reinterpret_cast<const sockaddr*>(&name), length)) return;
  (void)sys::send(fd->get(), as_bytes(message));
}

}  // namespace masque
