// SPDX-License-Identifier: Apache-2.0
// Tells when links, addresses or routes of this host change. Roaming and the watch over our own TUN
// stand on it. Events are hints: who gets one looks at the present state.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"
#include "host/unique_fd.h"

namespace masque {

struct NetworkEvent {
  enum class Kind : uint8_t {
    LinkChanged,  // appeared, up, down, renamed, MTU
    LinkRemoved,
    AddressAdded,
    AddressRemoved,
    RouteChanged,  // added or replaced; main and default tables only
    RouteRemoved,
    LocalRoutesChanged,  // the local table: what the kernel takes for this host
    Overrun,             // the kernel dropped events: look at everything again
  };
  Kind kind = Kind::Overrun;
  uint32_t interface = 0;
  std::string interface_name;           // links only
  bool link_up = false;                 // links only: up and with a carrier
  uint32_t link_mtu = 0;                // links only
  std::optional<IpAddress> address;     // addresses only
  std::optional<IpPrefix> destination;  // routes only
};

class NetworkMonitor {
 public:
  static constexpr size_t kEventsPerPoll = 256;

  static Result<NetworkMonitor, SysError> create();
  ~NetworkMonitor();
  NetworkMonitor(NetworkMonitor&&) noexcept;
  NetworkMonitor& operator=(NetworkMonitor&&) noexcept;

  int fd() const;  // readable when poll_events() has something
  // Appends at most about kEventsPerPoll events; what is left keeps fd() readable.
  Result<void, SysError> poll_events(std::vector<NetworkEvent>& events);

 private:
  struct Impl;
  explicit NetworkMonitor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
