// SPDX-License-Identifier: Apache-2.0
// The control channel between the running program and its command line: a UNIX stream socket, one
// message a line (JSON text, opaque here). The server lives in the event loop and answers when it
// likes; the client is blocking with a timeout.
//
// Bounds: a line of kLineMax bytes, kClientsMax clients, kOutputMax bytes waiting per client. A
// client that goes past one of them is disconnected.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "host/unique_fd.h"

namespace masque {

class EventLoop;

class ControlServer {
 public:
  static constexpr size_t kLineMax = size_t{1} << 20;
  static constexpr size_t kOutputMax = size_t{4} << 20;
  static constexpr size_t kClientsMax = 32;

  struct Options {
    std::string path;
    unsigned mode = 0660;
    std::string group;  // owner group of the socket; empty: the process's
  };
  struct Peer {
    uint32_t uid = 0;
    uint32_t gid = 0;
    int32_t pid = 0;
  };
  enum class ClientId : uint64_t {};  // never reused
  // One line without its newline. Answer with send(), now or later.
  using LineHandler = std::move_only_function<void(ClientId, const Peer&, std::string_view line)>;
  using CloseHandler = std::move_only_function<void(ClientId)>;

  // A socket file that nobody listens on is replaced; a live one is EADDRINUSE.
  static Result<std::unique_ptr<ControlServer>, SysError> create(EventLoop& loop,
                                                                 const Options& options,
                                                                 LineHandler on_line);
  ~ControlServer();  // closes all clients and removes the socket file

  void set_on_close(CloseHandler on_close);
  // Adds the newline. False when the client is gone (or had to be disconnected).
  bool send(ClientId client, std::string_view line);
  void close(ClientId client);  // after what is queued
  size_t client_count() const;

 private:
  struct Impl;
  explicit ControlServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The other end, for the command line.
class ControlClient {
 public:
  // ENOENT and ECONNREFUSED: nobody is running. EACCES: not allowed.
  static Result<ControlClient, SysError> connect(const std::string& path, Duration timeout);
  Result<void, SysError> send(std::string_view line, Duration timeout);
  // The next line without its newline. ETIMEDOUT; ECONNRESET when the server closed.
  Result<std::string, SysError> receive(Duration timeout);
  Result<int32_t, SysError> peer_pid() const;  // of the program that listens

 private:
  explicit ControlClient(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::string buffer_;
};

// Whether the program that listens there lives in the caller's network namespace. EACCES when only
// root or that program's user may know.
enum class PeerNetwork : uint8_t { Same, Other };
Result<PeerNetwork, SysError> control_peer_network(const std::string& path, Duration timeout);

// One question, one answer.
Result<std::string, SysError> control_call(const std::string& path, std::string_view line,
                                           Duration timeout);

}  // namespace masque
