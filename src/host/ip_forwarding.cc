// SPDX-License-Identifier: Apache-2.0
#include "host/ip_forwarding.h"

#include <filesystem>
#include <format>
#include <ranges>
#include <system_error>

#include "base/log.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr const char* kIpv6Settings = "/proc/sys/net/ipv6/conf";

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

Result<void, SysError> IpForwarding::change(const std::string& file, const std::string& to) {
  TRY(const std::string before, sys::read_file(file));
  TRY_VOID(sys::write_file(file, to));
  changes_.push_back({.file = file, .before = trimmed(before), .now = to});
  return {};
}

Result<void, SysError> IpForwarding::keep_accepting_router_advertisements() {
  std::error_code error;
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(kIpv6Settings, error)) {
    files.push_back(entry.path().string() + "/accept_ra");
  }
  for (const std::string& file : files) {
    const auto now = sys::read_file(file);
    if (now && trimmed(*now) == "1") TRY_VOID(change(file, "2"));
  }
  return {};
}

Result<IpForwarding, SysError> IpForwarding::enable(const std::vector<IpVersion>& families) {
  IpForwarding forwarding;  // an error on the way puts back what was changed
  for (const IpVersion family : families) {
    TRY(const bool on, enabled(family));
    if (on) continue;
    const std::string file = file_of(family);
    auto done = family == IpVersion::V6 ? forwarding.keep_accepting_router_advertisements()
                                        : Result<void, SysError>();
    if (done) done = forwarding.change(file, "1");
    if (!done) {
      return sys::failure(done.error().code, std::format("switch on IPv{} forwarding ({})",
                                                         static_cast<int>(family), file));
    }
  }
  return forwarding;
}

IpForwarding::~IpForwarding() {
  for (const Change& change : changes_ | std::views::reverse) {
    const auto now = sys::read_file(change.file);
    if (!now || trimmed(*now) != change.now) continue;  // gone, or somebody else decided meanwhile
    if (const auto done = sys::write_file(change.file, change.before); !done) {
      log_warn("forwarding.restore_failed", {{"error", done.error().message()}});
    }
  }
}

}  // namespace masque
