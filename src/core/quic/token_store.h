// SPDX-License-Identifier: Apache-2.0
// What servers gave a client to prove its address with next time (NEW_TOKEN, RFC 9000 8.1.3): the
// newest token for each pair of local and remote address. A token is used once, so that nobody can
// link two connections by it, and only from the address that it proves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/ip/socket_address.h"
#include "core/quic/datagram_batch.h"

namespace masque {

class TokenStore {
 public:
  static constexpr size_t kPathsMax = 16;   // the oldest gives way
  static constexpr size_t kTokenMax = 256;  // leaves an Initial packet its ClientHello

  // An empty token is none: what is known stays.
  void keep(const NetworkPath& path, std::string token);
  // Empty: there is none.
  std::string take(const NetworkPath& path);

  size_t size() const { return entries_.size(); }
  uint64_t refused() const { return refused_; }  // too large

 private:
  struct Entry {
    IpAddress local;
    SocketAddress remote;
    std::string token;
  };

  std::vector<Entry> entries_;  // the oldest first
  uint64_t refused_ = 0;
};

}  // namespace masque
