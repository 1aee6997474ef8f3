// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/address_class.h"

#include <array>
#include <cstring>

namespace masque {
namespace {

AddressClass classify_v4(uint32_t value) {
  const uint32_t top = value >> 24;
  if (top == 0) return AddressClass::Unspecified;  // 0.0.0.0/8, "this network" (RFC 1122 3.2.1.3)
  if (top == 127) return AddressClass::Loopback;
  if (value >> 16 == 0xa9fe) return AddressClass::LinkLocal;
  if (value >> 8 == 0xe00000) return AddressClass::LinkLocalMulticast;
  if (top >= 224 && top < 240) return AddressClass::Multicast;
  if (value == 0xffffffff) return AddressClass::Broadcast;
  return AddressClass::Unicast;
}

AddressClass classify_v6(const uint8_t* bytes) {
  if (bytes[0] == 0xff) {
    // Scope 0 to 2: never beyond the link (RFC 4291 2.7).
    return (bytes[1] & 0x0f) <= 2 ? AddressClass::LinkLocalMulticast : AddressClass::Multicast;
  }
  if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) return AddressClass::LinkLocal;
  if (bytes[0] != 0) return AddressClass::Unicast;
  for (size_t i = 1; i < 10; ++i) {
    if (bytes[i] != 0) return AddressClass::Unicast;
  }
  // ::ffff:0:0/96, IPv4-mapped, is an API notation and never valid on the wire (RFC 4291 2.5.5.2).
  const uint32_t low = load_be32(bytes + 12);
  if (bytes[10] == 0xff && bytes[11] == 0xff) return AddressClass::Loopback;
  if (bytes[10] != 0 || bytes[11] != 0) return AddressClass::Unicast;
  if (low == 0) return AddressClass::Unspecified;
  return low == 1 ? AddressClass::Loopback : AddressClass::Unicast;
}

}  // namespace

AddressClass classify(const IpAddress& address) {
  return address.version() == IpVersion::V4 ? classify_v4(address.v4_value())
                                            : classify_v6(address.bytes().data());
}

bool is_all_nodes(const IpAddress& address) {
  static constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                        0,    0,    0, 0, 0, 0, 0, 1};
  return address.version() == IpVersion::V6 &&
         std::memcmp(address.bytes().data(), kAllNodes.data(), kAllNodes.size()) == 0;
}

}  // namespace masque
