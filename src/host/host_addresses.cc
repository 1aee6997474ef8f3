// SPDX-License-Identifier: Apache-2.0
#include "host/host_addresses.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace masque {
namespace {

bool means_no_ipv6(const SysError& error) {
  return error.code == EAFNOSUPPORT || error.code == EOPNOTSUPP;
}

}  // namespace

Result<HostAddresses, SysError> HostAddresses::create(uint32_t except_interface) {
  // The monitor first: what changes after the first reading is told.
  TRY(NetworkMonitor monitor, NetworkMonitor::create());
  TRY(Netlink netlink, Netlink::create());
  HostAddresses out(std::move(monitor), std::move(netlink), except_interface);
  TRY_VOID(out.read());
  return out;
}

Result<bool, SysError> HostAddresses::refresh() {
  events_.clear();
  TRY_VOID(monitor_.poll_events(events_));
  const bool hint = std::ranges::any_of(events_, [](const NetworkEvent& event) {
    return event.kind == NetworkEvent::Kind::LocalRoutesChanged ||
           event.kind == NetworkEvent::Kind::Overrun;
  });
  if (!hint) return false;
  return read();
}

Result<bool, SysError> HostAddresses::read() {
  std::vector<IpPrefix> found;
  for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
    auto routes = netlink_.routes(version, kLocalTable);
    if (!routes && version == IpVersion::V6 && means_no_ipv6(routes.error())) continue;
    if (!routes) return std::unexpected(std::move(routes).error());
    for (const Route& route : *routes) {
      if (route.interface != except_) found.push_back(route.destination);
    }
  }
  std::ranges::sort(found);
  const auto repeated = std::ranges::unique(found);
  found.erase(repeated.begin(), repeated.end());
  if (found == prefixes_) return false;
  prefixes_ = std::move(found);
  return true;
}

}  // namespace masque
