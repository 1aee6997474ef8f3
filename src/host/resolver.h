// SPDX-License-Identifier: Apache-2.0
// Name resolution that does not block the loop: getaddrinfo runs in a thread of its own and its
// answer comes back through the loop. getaddrinfo cannot be interrupted, so after the timeout the
// caller is told and the thread is left to end by itself; at most kThreadsMax exist.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "core/ip/socket_address.h"

namespace masque {

class EventLoop;

class Resolver {
 public:
  static constexpr size_t kThreadsMax = 8;
  static constexpr size_t kAddressesMax = 16;

  // In the system's order of preference (RFC 6724), without duplicates. An error reads like
  // "resolve vpn.example (Name or service not known): ..."; ETIMEDOUT after the timeout.
  using Answer = Result<std::vector<SocketAddress>, SysError>;
  using Callback = std::move_only_function<void(Answer)>;
  enum class RequestId : uint64_t {};

  static Result<std::unique_ptr<Resolver>, SysError> create(EventLoop& loop);
  ~Resolver();  // callbacks not yet called never will be; not to be destroyed by a callback

  // An address literal (with or without brackets) is answered without a thread, in the next turn.
  RequestId resolve(const std::string& host, uint16_t port, Duration timeout, Callback callback);
  void cancel(RequestId request);

 private:
  struct Impl;
  explicit Resolver(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
