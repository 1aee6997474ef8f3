// SPDX-License-Identifier: Apache-2.0
// The kernel's name of a UNIX socket path. For sources of host only.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "host/system.h"

namespace masque {

struct UnixName {
  sockaddr_un name{};
  uint32_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

inline Result<UnixName, SysError> to_unix_name(const std::string& path) {
  UnixName out;
  if (path.empty() || path.size() >= sizeof out.name.sun_path) {
    return sys::failure(ENAMETOOLONG, "use control socket " + path);
  }
  out.name.sun_family = AF_UNIX;
  std::memcpy(out.name.sun_path, path.data(), path.size());
  out.length = static_cast<uint32_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return out;
}

}  // namespace masque
