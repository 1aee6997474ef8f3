// SPDX-License-Identifier: Apache-2.0
#include "host/return_path.h"

#include <algorithm>
#include <filesystem>
#include <format>
#include <system_error>
#include <utility>

#include "host/nft_command.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr const char* kSrcValidMark = "/proc/sys/net/ipv4/conf/all/src_valid_mark";
constexpr const char* kInterfaceSettings = "/proc/sys/net/ipv4/conf";

std::string table_of(const std::string& tun_name) { return nft::table_name(tun_name) + "_return"; }

std::string mark_rule(const char* family, const std::vector<IpAddress>& outer, IpVersion version,
                      const std::string& tun, uint32_t mark) {
  std::vector<IpPrefix> hosts;
  for (const IpAddress& address : outer) hosts.push_back(IpPrefix::host(address));
  const std::string list = nft::prefix_list(hosts, version);
  if (list.empty()) return {};
  return std::format("    iifname != {} {} saddr {{ {} }} meta mark set {:#x}\n", tun, family, list,
                     mark);
}

bool reads_as(const std::string& file, char value) {
  const auto text = sys::read_file(file);
  return text && text->starts_with(value);
}

}  // namespace

ReturnPath::ReturnPath(std::string tun_name, uint32_t mark, std::string note)
    : tun_name_(std::move(tun_name)), mark_(mark), settings_(std::move(note)) {
  // Without nftables in the kernel there is nothing stale either.
  (void)nft::run(nft::removal(table_of(tun_name_)), "remove a stale nftables table");
}

ReturnPath::ReturnPath(ReturnPath&& other) noexcept
    : tun_name_(std::move(other.tun_name_)),
      mark_(other.mark_),
      outer_(std::exchange(other.outer_, {})),
      settings_(std::move(other.settings_)) {}

ReturnPath::~ReturnPath() { (void)update({}); }

Result<void, SysError> ReturnPath::update(std::vector<IpAddress> outer) {
  std::ranges::sort(outer);
  if (outer == outer_) return {};
  const std::string table = table_of(tun_name_);
  if (outer.empty()) {
    TRY_VOID(nft::run(nft::removal(table), std::format("remove nftables table {}", table)));
    settings_.put_back();
    outer_.clear();
    return {};
  }
  const std::string tun = nft::quoted(tun_name_);
  const std::string rules = mark_rule("ip", outer, IpVersion::V4, tun, mark_) +
                            mark_rule("ip6", outer, IpVersion::V6, tun, mark_);
  TRY_VOID(
      nft::run(nft::removal(table) + std::format("table inet {} {{\n"
                                                 "  chain prerouting {{\n"
                                                 "    type filter hook prerouting priority mangle; "
                                                 "policy accept;\n"
                                                 "{}"
                                                 "  }}\n"
                                                 "}}\n",
                                                 table, rules),
               std::format("set up nftables table {}", table)));
  outer_ = std::move(outer);
  return settings_.change(kSrcValidMark, "1");
}

bool ReturnPath::kernel_filters_strictly() {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(kInterfaceSettings, ignored)) {
    if (reads_as(entry.path().string() + "/rp_filter", '1')) return true;
  }
  return false;
}

}  // namespace masque
