// SPDX-License-Identifier: Apache-2.0
// The command line's end of the control channel.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <format>

#include "host/clock.h"
#include "host/control_address.h"
#include "host/control_socket.h"
#include "host/system.h"

namespace masque {
namespace {

// Whole milliseconds until `deadline`, at least 1 while it has not passed.
int rest_ms(Instant deadline) {
  const Duration rest = deadline - monotonic_now();
  if (rest <= Duration::zero()) return 0;
  return static_cast<int>(
      std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(rest, 1h)).count());
}

Result<void, SysError> wait_for(int fd, short events, Instant deadline, const char* what) {
  while (true) {
    const int rest = rest_ms(deadline);
    if (rest == 0) return sys::failure(ETIMEDOUT, what);
    TRY(const bool ready, sys::poll_one(fd, events, rest));
    if (ready) return {};
  }
}

Result<struct stat, SysError> network_of(const std::string& process) {
  const std::string path = "/proc/" + process + "/ns/net";
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return sys::failure("look at " + path);
  return info;
}

}  // namespace

Result<ControlClient, SysError> ControlClient::connect(const std::string& path, Duration timeout) {
  const Instant deadline = monotonic_now() + timeout;
  TRY(const UnixName name, to_unix_name(path));
  TRY(UniqueFd fd, sys::socket(AF_UNIX, SOCK_STREAM, 0));
  while (true) {
    const auto done = sys::connect(fd.get(), name.get(), name.length);
    if (done) return ControlClient(std::move(fd));
    // EAGAIN: the server's backlog is full; a UNIX socket offers nothing to wait for.
    if (!sys::would_block(done.error()))
      return sys::failure(done.error().code, "connect to " + path);
    if (rest_ms(deadline) == 0) return sys::failure(ETIMEDOUT, "connect to " + path);
    ::poll(nullptr, 0, 10);
  }
}

Result<void, SysError> ControlClient::send(std::string_view line, Duration timeout) {
  const Instant deadline = monotonic_now() + timeout;
  const std::string message = std::format("{}\n", line);
  Bytes rest = as_bytes(message);
  while (!rest.empty()) {
    const auto sent = sys::send(fd_.get(), rest);
    if (sent) {
      rest = rest.subspan(*sent);
      continue;
    }
    if (!sys::would_block(sent.error()))
      return sys::failure(sent.error().code, "send to the control socket");
    TRY_VOID(wait_for(fd_.get(), POLLOUT, deadline, "send to the control socket"));
  }
  return {};
}

Result<std::string, SysError> ControlClient::receive(Duration timeout) {
  constexpr const char* kWhat = "wait for the answer on the control socket";
  const Instant deadline = monotonic_now() + timeout;
  size_t searched = 0;
  while (true) {
    if (const size_t end = buffer_.find('\n', searched); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    searched = buffer_.size();
    if (searched > ControlServer::kOutputMax) return sys::failure(EMSGSIZE, kWhat);
    uint8_t piece[16 * 1024];
    const auto got = sys::receive(fd_.get(), piece);
    if (got && *got == 0) return sys::failure(ECONNRESET, kWhat);
    if (got) {
      buffer_ += as_text(Bytes(piece).first(*got));
      continue;
    }
    if (!sys::would_block(got.error())) return sys::failure(got.error().code, kWhat);
    TRY_VOID(wait_for(fd_.get(), POLLIN, deadline, kWhat));
  }
}

Result<int32_t, SysError> ControlClient::peer_pid() const {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
    return sys::failure("ask who listens on the control socket");
  return credentials.pid;
}

Result<PeerNetwork, SysError> control_peer_network(const std::string& path, Duration timeout) {
  TRY(const ControlClient client, ControlClient::connect(path, timeout));
  TRY(const int32_t pid, client.peer_pid());
  TRY(const struct stat theirs, network_of(std::to_string(pid)));
  TRY(const struct stat ours, network_of("self"));
  const bool same = theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
  return same ? PeerNetwork::Same : PeerNetwork::Other;
}

Result<std::string, SysError> control_call(const std::string& path, std::string_view line,
                                           Duration timeout) {
  const Instant deadline = monotonic_now() + timeout;
  TRY(ControlClient client, ControlClient::connect(path, timeout));
  TRY_VOID(client.send(line, std::max<Duration>(deadline - monotonic_now(), 1ms)));
  return client.receive(std::max<Duration>(deadline - monotonic_now(), 1ms));
}

}  // namespace masque
