// SPDX-License-Identifier: Apache-2.0
// Between our addresses and the sockaddr forms that ngtcp2 wants. Only for .cc files of core/quic.
#pragma once

#include <ngtcp2/ngtcp2.h>

#include "core/ip/socket_address.h"
#include "core/quic/connection_id.h"

namespace masque {

// Owns the storage of an ngtcp2_path.
struct PathStorage {
  ngtcp2_sockaddr_union local{};
  ngtcp2_sockaddr_union remote{};
  ngtcp2_path path{};

  PathStorage() { point(0, 0); }
  explicit PathStorage(const NetworkPath& from);
  PathStorage(const PathStorage&) = delete;
  PathStorage& operator=(const PathStorage&) = delete;

 private:
  void point(ngtcp2_socklen local_length, ngtcp2_socklen remote_length);
};

SocketAddress from_ngtcp2(const ngtcp2_addr& address);
NetworkPath from_ngtcp2(const ngtcp2_path& path);
ngtcp2_cid to_ngtcp2(const ConnectionId& id);
ConnectionId from_ngtcp2(const ngtcp2_cid& id);

}  // namespace masque
