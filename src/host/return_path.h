// SPDX-License-Identifier: Apache-2.0
// Reverse path filters and a full tunnel. A filter asks: would an answer to this packet leave
// through the interface it came from? For the server's packets the answer without our mark is "no,
// through the tunnel", and they are dropped before our socket sees them. So what comes from an
// outer address gets the mark of our sockets, in a table of our own (`inet
// masque_vpn_<tun>_return`), and the kernel is told to use it (src_valid_mark). Firewalls that
// check the same in nftables use the mark as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"
#include "host/setting_changes.h"

namespace masque {

class ReturnPath {
 public:
  // Removes a stale table of an earlier run, and puts back the setting by its note
  // (setting_changes.h).
  ReturnPath(std::string tun_name, uint32_t mark, std::string note);
  ~ReturnPath();
  ReturnPath(ReturnPath&& other) noexcept;
  ReturnPath& operator=(ReturnPath&&) = delete;

  // Packets from these addresses are marked from now on; none: the table goes.
  Result<void, SysError> update(std::vector<IpAddress> outer);

  // True when the kernel filters strictly somewhere (rp_filter = 1): a failed update() then means
  // that a full tunnel over IPv4 will not work.
  static bool kernel_filters_strictly();

 private:
  std::string tun_name_;
  uint32_t mark_;
  std::vector<IpAddress> outer_;  // as the table has them
  SettingChanges settings_;
};

}  // namespace masque
