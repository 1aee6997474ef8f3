// SPDX-License-Identifier: Apache-2.0
#include "host/ip_forwarding.h"

#include <format>

#include "base/log.h"
#include "host/system.h"

namespace masque {
namespace {

const char* file_of(IpVersion family) {
  return family == IpVersion::V4 ? "/proc/sys/net/ipv4/ip_forward"
                                 : "/proc/sys/net/ipv6/conf/all/forwarding";
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

Result<bool, SysError> IpForwarding::enabled(IpVersion family) {
  TRY(const std::string text, sys::read_file(file_of(family)));
  return trimmed(text) != "0";
}

Result<IpForwarding, SysError> IpForwarding::enable(const std::vector<IpVersion>& families) {
  IpForwarding forwarding;  // an error on the way puts back what was changed
  for (const IpVersion family : families) {
    const std::string file = file_of(family);
    TRY(const std::string before, sys::read_file(file));
    if (trimmed(before) != "0") continue;
    auto written = sys::write_file(file, "1");
    if (!written) {
      return sys::failure(written.error().code, std::format("switch on IPv{} forwarding ({})",
                                                            static_cast<int>(family), file));
    }
    forwarding.former_.emplace_back(file, trimmed(before));
  }
  return forwarding;
}

IpForwarding::~IpForwarding() {
  for (const auto& [file, before] : former_) {
    const auto now = sys::read_file(file);
    if (!now || trimmed(*now) != "1") continue;  // somebody else decided meanwhile
    if (const auto done = sys::write_file(file, before); !done) {
      log_warn("forwarding.restore_failed", {{"error", done.error().message()}});
    }
  }
}

}  // namespace masque
