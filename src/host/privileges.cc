// SPDX-License-Identifier: Apache-2.0
#include "host/privileges.h"

#include <cap-ng.h>
#include <fcntl.h>

#include <cerrno>

#include "host/system.h"

namespace masque {
namespace {

constexpr std::string_view kNeedsCapability =
    "CAP_NET_ADMIN is missing: run as root, or with AmbientCapabilities=CAP_NET_ADMIN, or in a "
    "container with "
    "--cap-add NET_ADMIN";
constexpr std::string_view kNoDevice =
    "/dev/net/tun is missing: load the module (modprobe tun), or give the container --device "
    "/dev/net/tun";
constexpr std::string_view kNoDriver =
    "the kernel has no TUN driver: load the module (modprobe tun)";
constexpr std::string_view kDeviceRefused =
    "/dev/net/tun may not be opened: run as root, or let the device through to the container "
    "(--device /dev/net/tun)";

}  // namespace

bool has_net_admin() {
  capng_clear(CAPNG_SELECT_ALL);
  if (capng_get_caps_process() != 0) return false;
  return capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN) == 1;
}

Result<void, SysError> require_tunnel_privileges() {
  const auto device = sys::open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (!device) {
    switch (device.error().code) {
      case ENOENT:
        return sys::failure(ENOENT, std::string(kNoDevice));
      case ENODEV:
      case ENXIO:
        return sys::failure(device.error().code, std::string(kNoDriver));
      case EACCES:
      case EPERM:
        return sys::failure(device.error().code, std::string(kDeviceRefused));
      default:
        return std::unexpected(device.error());
    }
  }
  if (!has_net_admin()) return sys::failure(EPERM, std::string(kNeedsCapability));
  return {};
}

std::string explain(const SysError& error) {
  for (const std::string_view sentence : {kNeedsCapability, kNoDevice, kNoDriver, kDeviceRefused}) {
    if (error.operation == sentence) return error.operation;
  }
  if (error.code == EPERM) return error.message() + "; " + std::string(kNeedsCapability);
  if (error.operation.contains("TUN interface") && error.code == EBUSY) {
    return error.message() + ": another program uses this interface; choose another tun_name";
  }
  if (error.operation.contains("TUN interface") && error.code == EINVAL) {
    return error.message() +
           ": an interface of another kind has this name; choose another tun_name";
  }
  if (error.code == EADDRINUSE)
    return error.message() + ": another program uses this port; stop it or choose another";
  if (error.code == EADDRNOTAVAIL)
    return error.message() + ": this host does not have that address";
  if (error.code == EROFS)
    return error.message() + ": in a container, set it with --sysctl on the host's side";
  return error.message();
}

}  // namespace masque
