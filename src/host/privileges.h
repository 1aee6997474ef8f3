// SPDX-License-Identifier: Apache-2.0
// Tells before anything is changed whether this process can make a tunnel, and says in one sentence
// what is missing and how to mend it.
#pragma once

#include "base/result.h"

namespace masque {

bool has_net_admin();  // CAP_NET_ADMIN is effective

// Checks /dev/net/tun and CAP_NET_ADMIN. The error's operation is the sentence to print; explain()
// leaves the errno text away where the sentence says it all.
Result<void, SysError> require_tunnel_privileges();

// The errors of opening a TUN, of netlink and of nftables as one line for a person.
std::string explain(const SysError& error);

}  // namespace masque
