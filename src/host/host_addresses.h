// SPDX-License-Identifier: Apache-2.0
// What the kernel takes for this host itself, as its local routing table has it: addresses of both
// versions, their broadcast and anycast addresses, local routes; kept up to date. One interface,
// the tunnel's, is left out.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"
#include "host/netlink.h"
#include "host/network_monitor.h"

namespace masque {

class HostAddresses {
 public:
  static Result<HostAddresses, SysError> create(uint32_t except_interface);

  const std::vector<IpPrefix>& prefixes() const { return prefixes_; }
  int fd() const { return monitor_.fd(); }  // readable: refresh() has something to do
  // True when prefixes() are other ones now. After an error they are as before.
  Result<bool, SysError> refresh();

 private:
  HostAddresses(NetworkMonitor monitor, Netlink netlink, uint32_t except)
      : monitor_(std::move(monitor)), netlink_(std::move(netlink)), except_(except) {}
  Result<bool, SysError> read();

  NetworkMonitor monitor_;
  Netlink netlink_;
  uint32_t except_;
  std::vector<IpPrefix> prefixes_;  // in order, each once
  std::vector<NetworkEvent> events_;
};

}  // namespace masque
