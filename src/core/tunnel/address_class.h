// SPDX-License-Identifier: Apache-2.0
// What kind of address it is, decided by the first bytes: asked twice for every packet.
#pragma once

#include <cstdint>

#include "core/ip/address.h"

namespace masque {

enum class AddressClass : uint8_t {
  Unicast,
  Unspecified,
  Loopback,
  LinkLocal,           // unicast
  LinkLocalMulticast,  // ff02::/16 and the narrower ff01::/16, 224.0.0.0/24
  Multicast,           // any other
  Broadcast,
};
AddressClass classify(const IpAddress& address);

// ff02::1, RFC 4291 2.7.1: the one link-local destination that a tunnel answers (RFC 9484 7.2).
bool is_all_nodes(const IpAddress& address);

}  // namespace masque
