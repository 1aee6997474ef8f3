// SPDX-License-Identifier: Apache-2.0
// SocketAddress to and from the kernel's sockaddr. For sources of host only: it needs Linux
// headers.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "core/ip/socket_address.h"

namespace masque {

struct SocketName {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  socklen_t length = 0;

  SocketName() : v6{} {}
};

inline SocketName to_socket_name(const SocketAddress& from) {
  SocketName name;
  const Bytes bytes = from.address.bytes();
  if (from.address.version() == IpVersion::V4) {
    name.v4.sin_family = AF_INET;
    name.v4.sin_port = htons(from.port);
    std::memcpy(&name.v4.sin_addr, bytes.data(), bytes.size());
    name.length = sizeof name.v4;
  } else {
    name.v6.sin6_family = AF_INET6;
    name.v6.sin6_port = htons(from.port);
    std::memcpy(&name.v6.sin6_addr, bytes.data(), bytes.size());
    name.length = sizeof name.v6;
  }
  return name;
}

inline IpAddress to_ip_address(const in_addr& address) {
  return IpAddress::v4(ntohl(address.s_addr));
}
inline IpAddress to_ip_address(const in6_addr& address) {
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &address, bytes.size());
  return IpAddress::v6(bytes);
}

// Families other than the two never reach us: sockets are made for one of them.
inline SocketAddress to_socket_address(const SocketName& name) {
  if (name.any.sa_family == AF_INET) {
    return {.address = to_ip_address(name.v4.sin_addr), .port = ntohs(name.v4.sin_port)};
  }
  return {.address = to_ip_address(name.v6.sin6_addr), .port = ntohs(name.v6.sin6_port)};
}

}  // namespace masque
