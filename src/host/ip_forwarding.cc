// SPDX-License-Identifier: Apache-2.0
#include "host/ip_forwarding.h"

#include <filesystem>
#include <format>
#include <system_error>

#include "host/system.h"

namespace masque {
namespace {

constexpr const char* kIpv6Settings = "/proc/sys/net/ipv6/conf";

const char* file_of(IpVersion family) {
  return family == IpVersion::V4 ? "/proc/sys/net/ipv4/ip_forward"
                                 : "/proc/sys/net/ipv6/conf/all/forwarding";
}

}  // namespace

Result<bool, SysError> IpForwarding::enabled(IpVersion family) {
  TRY(const std::string text, SettingChanges::read(file_of(family)));
  return text != "0";
}

Result<void, SysError> IpForwarding::keep_accepting_router_advertisements() {
  std::error_code error;
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(kIpv6Settings, error)) {
    files.push_back(entry.path().string() + "/accept_ra");
  }
  for (const std::string& file : files) {
    const auto now = SettingChanges::read(file);
    if (now && *now == "1") TRY_VOID(settings_.change(file, "2"));
  }
  return {};
}

Result<IpForwarding, SysError> IpForwarding::enable(const std::vector<IpVersion>& families,
                                                    std::string note) {
  IpForwarding forwarding(std::move(note));  // an error on the way puts back what was changed
  for (const IpVersion family : families) {
    TRY(const bool on, enabled(family));
    if (on) continue;
    const std::string file = file_of(family);
    auto done = family == IpVersion::V6 ? forwarding.keep_accepting_router_advertisements()
                                        : Result<void, SysError>();
    if (done) done = forwarding.settings_.change(file, "1");
    if (!done) {
      return sys::failure(done.error().code, std::format("switch on IPv{} forwarding ({})",
                                                         static_cast<int>(family), file));
    }
  }
  return forwarding;
}

}  // namespace masque
