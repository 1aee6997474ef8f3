// SPDX-License-Identifier: Apache-2.0
#include "host/nat.h"

#include <format>

#include "base/log.h"
#include "base/mutant.h"
#include "host/nft_command.h"

namespace masque {
namespace {

// What `oifname` is compared with: where packets leave. Traffic back into the tunnel and to this
// host itself keeps its source.
std::string leaving(const NatOptions& options) {
  if (options.interfaces.empty() || mutant("nat.interfaces.remove"))
    return std::format("!= {{ {}, \"lo\" }}", nft::quoted(options.tun_name));
  std::string names;
  for (const std::string& name : options.interfaces)
    names += (names.empty() ? "" : ", ") + nft::quoted(name);
  return std::format("{{ {} }}", names);
}

std::string masquerade_rule(const char* family, IpVersion version, const NatOptions& options) {
  const std::string sources = nft::prefix_list(options.sources, version);
  if (sources.empty()) return {};
  if (mutant("nat.sources.remove"))
    return std::format("    oifname {} masquerade\n", leaving(options));
  if (mutant("nat.interface.remove"))
    return std::format("    {} saddr {{ {} }} masquerade\n", family, sources);
  return std::format("    {} saddr {{ {} }} oifname {} masquerade\n", family, sources,
                     leaving(options));
}

std::string clamp_chain(const std::string& tun) {
  constexpr const char* kClamp = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu";
  return std::format(
      "  chain forward {{\n"
      "    type filter hook forward priority mangle; policy accept;\n"
      "    oifname {0} {1}\n"
      "    iifname {0} {1}\n"
      "  }}\n",
      tun, kClamp);
}

}  // namespace

std::string nat_table_name(const std::string& tun_name) { return nft::table_name(tun_name); }

std::string nat_ruleset(const NatOptions& options) {
  const std::string table = nat_table_name(options.tun_name);
  const std::string tun = nft::quoted(options.tun_name);
  const bool clamp = options.clamp_mss == NatOptions::ClampMss::ToRouteMtu;
  return (mutant("nat.stale.remove") ? std::string() : nft::removal(table)) +
         std::format(
             "table inet {} {{\n"
             "  chain postrouting {{\n"
             "    type nat hook postrouting priority srcnat; policy accept;\n"
             "{}{}"
             "  }}\n"
             "{}"
             "}}\n",
             table, masquerade_rule("ip", IpVersion::V4, options),
             masquerade_rule("ip6", IpVersion::V6, options),
             clamp ? clamp_chain(tun) : std::string());
}

Result<Nat, SysError> Nat::create(const NatOptions& options) {
  Nat nat(nat_table_name(options.tun_name));
  if (auto made = nat.replace(options); !made) {
    nat.table_.clear();  // one transaction: there is nothing of ours to be removed
    return std::unexpected(std::move(made).error());
  }
  return nat;
}

Result<void, SysError> Nat::replace(const NatOptions& options) {
  return nft::run(nat_ruleset(options), std::format("set up NAT in nftables table {}", table_));
}

void Nat::remove_stale(const std::string& tun_name) {
  // Without nftables in the kernel there is nothing stale either.
  (void)nft::run(nft::removal(nat_table_name(tun_name)), "remove a stale nftables table");
}

Nat::Nat(Nat&& other) noexcept : table_(std::exchange(other.table_, {})) {}

Nat::~Nat() {
  if (table_.empty()) return;
  const auto done = nft::run(nft::removal(table_), std::format("remove nftables table {}", table_));
  if (!done) log_warn("nat.remove_failed", {{"error", done.error().message()}});
}

}  // namespace masque
