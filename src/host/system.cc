// SPDX-License-Identifier: Apache-2.0
#include "host/system.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <format>

namespace masque::sys {
namespace {

constexpr size_t kFileBytesMax = 64 * 1024;

template <class Call>
auto retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace

std::unexpected<SysError> failure(std::string operation) {
  return failure(errno, std::move(operation));
}

std::unexpected<SysError> failure(int code, std::string operation) {
  return std::unexpected(SysError{.code = code, .operation = std::move(operation)});
}

bool would_block(const SysError& error) {
  return error.code == EAGAIN || error.code == EWOULDBLOCK;
}

SysResult<UniqueFd> open(const std::string& path, int flags, unsigned mode) {
  const int fd = retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); });
  if (fd < 0) return failure("open " + path);
  return UniqueFd(fd);
}

SysResult<size_t> read(int fd, MutableBytes out) {
  const ssize_t count = retried([&] { return ::read(fd, out.data(), out.size()); });
  if (count < 0) return failure("read");
  return static_cast<size_t>(count);
}

SysResult<size_t> write(int fd, Bytes data) {
  const ssize_t count = retried([&] { return ::write(fd, data.data(), data.size()); });
  if (count < 0) return failure("write");
  return static_cast<size_t>(count);
}

SysResult<UniqueFd> socket(int family, int type, int protocol) {
  const int fd = ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (fd < 0) return failure("make a socket");
  return UniqueFd(fd);
}

SysResult<void> bind(int fd, const sockaddr* address, uint32_t length) {
  if (::bind(fd, address, length) < 0) return failure("bind");
  return {};
}

SysResult<void> connect(int fd, const sockaddr* address, uint32_t length) {
  if (::connect(fd, address, length) < 0) return failure("connect");
  return {};
}

SysResult<void> listen(int fd, int backlog) {
  if (::listen(fd, backlog) < 0) return failure("listen");
  return {};
}

SysResult<UniqueFd> accept(int fd) {
  const int client =
      retried([&] { return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
  if (client < 0) return failure("accept");
  return UniqueFd(client);
}

SysResult<void> set_option(int fd, int level, int name, int value, std::string_view what) {
  if (::setsockopt(fd, level, name, &value, sizeof value) < 0)
    return failure(std::format("set {}", what));
  return {};
}

SysResult<void> set_option(int fd, int level, int name, Bytes value, std::string_view what) {
  if (::setsockopt(fd, level, name, value.data(), static_cast<socklen_t>(value.size())) < 0) {
    return failure(std::format("set {}", what));
  }
  return {};
}

SysResult<int> option(int fd, int level, int name, std::string_view what) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, level, name, &value, &length) < 0)
    return failure(std::format("read {}", what));
  return value;
}

SysResult<size_t> send(int fd, Bytes data) {
  const ssize_t count = retried([&] { return ::send(fd, data.data(), data.size(), MSG_NOSIGNAL); });
  if (count < 0) return failure("send");
  return static_cast<size_t>(count);
}

SysResult<size_t> receive(int fd, MutableBytes out) {
  const ssize_t count = retried([&] { return ::recv(fd, out.data(), out.size(), 0); });
  if (count < 0) return failure("receive");
  return static_cast<size_t>(count);
}

SysResult<UniqueFd> event_fd() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return failure("make an eventfd");
  return UniqueFd(fd);
}

SysResult<UniqueFd> timer_fd() {
  const int fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (fd < 0) return failure("make a timerfd");
  return UniqueFd(fd);
}

SysResult<void> set_timer(int fd, uint64_t at_monotonic_ns) {
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(at_monotonic_ns / 1'000'000'000);
  spec.it_value.tv_nsec = static_cast<long>(at_monotonic_ns % 1'000'000'000);
  if (::timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, nullptr) < 0) return failure("set a timer");
  return {};
}

SysResult<bool> poll_one(int fd, short events, int timeout_ms) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  const int count = ::poll(&entry, 1, timeout_ms);
  if (count < 0 && errno == EINTR) return false;  // the caller looks at its deadline and asks again
  if (count < 0) return failure("poll");
  return count > 0;
}

void sleep(Duration duration) {
  const timespec rest{.tv_sec = static_cast<time_t>(duration / 1s),
                      .tv_nsec = static_cast<long>((duration % 1s).count())};
  ::nanosleep(&rest, nullptr);
}

SysResult<void> unlink(const std::string& path) {
  if (::unlink(path.c_str()) < 0) return failure("remove " + path);
  return {};
}

SysResult<void> chmod(const std::string& path, unsigned mode) {
  if (::chmod(path.c_str(), mode) < 0) return failure("change the mode of " + path);
  return {};
}

SysResult<std::string> read_file(const std::string& path) {
  TRY(const UniqueFd fd, open(path, O_RDONLY));
  std::string text;
  char piece[4096];
  while (text.size() < kFileBytesMax) {
    const ssize_t count = retried([&] { return ::read(fd.get(), piece, sizeof piece); });
    if (count < 0) return failure("read " + path);
    if (count == 0) return text;
    text.append(piece, static_cast<size_t>(count));
  }
  return failure(EFBIG, "read " + path);
}

SysResult<void> write_file(const std::string& path, std::string_view text) {
  TRY(const UniqueFd fd, open(path, O_WRONLY | O_TRUNC));
  const ssize_t count = retried([&] { return ::write(fd.get(), text.data(), text.size()); });
  if (count < 0) return failure("write " + path);
  if (static_cast<size_t>(count) != text.size()) return failure(EIO, "write " + path);
  return {};
}

}  // namespace masque::sys
