// SPDX-License-Identifier: Apache-2.0
#include "core/quic/ngtcp2_address.h"

#include <netinet/in.h>

namespace masque {

namespace {

ngtcp2_socklen fill(const SocketAddress& from, ngtcp2_sockaddr_union& to) {
  uint8_t port[2];
  store_be16(port, from.port);
  if (from.address.version() == IpVersion::V4) {
    to.in = {};
    to.in.sin_family = AF_INET;
    std::memcpy(&to.in.sin_port, port, 2);
    std::memcpy(&to.in.sin_addr, from.address.bytes().data(), 4);
    return sizeof(to.in);
  }
  to.in6 = {};
  to.in6.sin6_family = AF_INET6;
  std::memcpy(&to.in6.sin6_port, port, 2);
  std::memcpy(&to.in6.sin6_addr, from.address.bytes().data(), 16);
  return sizeof(to.in6);
}

}  // namespace

PathStorage::PathStorage(const NetworkPath& from) {
  const ngtcp2_socklen local_length = fill(from.local, local);
  const ngtcp2_socklen remote_length = fill(from.remote, remote);
  point(local_length, remote_length);
}

void PathStorage::point(ngtcp2_socklen local_length, ngtcp2_socklen remote_length) {
  path.local = {.addr = &local.sa, .addrlen = local_length};
  path.remote = {.addr = &remote.sa, .addrlen = remote_length};
}

SocketAddress from_ngtcp2(const ngtcp2_addr& address) {
  uint8_t port[2];
  if (address.addr->sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, address.addr, sizeof(in));
    std::memcpy(port, &in.sin_port, 2);
    uint8_t bytes[4];
    std::memcpy(bytes, &in.sin_addr, 4);
    return {.address = IpAddress::v4(load_be32(bytes)), .port = load_be16(port)};
  }
  sockaddr_in6 in6;
  std::memcpy(&in6, address.addr, sizeof(in6));
  std::memcpy(port, &in6.sin6_port, 2);
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &in6.sin6_addr, 16);
  return {.address = IpAddress::v6(bytes), .port = load_be16(port)};
}

NetworkPath from_ngtcp2(const ngtcp2_path& path) {
  return {.local = from_ngtcp2(path.local), .remote = from_ngtcp2(path.remote)};
}

ngtcp2_cid to_ngtcp2(const ConnectionId& id) {
  ngtcp2_cid out;
  ngtcp2_cid_init(&out, id.bytes().data(), id.size());
  return out;
}

ConnectionId from_ngtcp2(const ngtcp2_cid& id) { return ConnectionId(Bytes(id.data, id.datalen)); }

}  // namespace masque
