// SPDX-License-Identifier: Apache-2.0
#include "host/nat.h"

#include <nftables/libnftables.h>

#include <cctype>
#include <cerrno>
#include <format>
#include <memory>

#include "base/log.h"
#include "host/system.h"

namespace masque {
namespace {

struct ContextDeleter {
  void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

Result<void, SysError> run_nft(const std::string& commands, const std::string& operation) {
  const std::unique_ptr<nft_ctx, ContextDeleter> context(nft_ctx_new(NFT_CTX_DEFAULT));
  if (!context) return sys::failure(ENOMEM, operation);
  nft_ctx_buffer_error(context.get());  // else it prints to stderr
  nft_ctx_buffer_output(context.get());
  errno = 0;
  if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return {};
  const int code = errno != 0 ? errno : EIO;
  std::string reason = nft_ctx_get_error_buffer(context.get());
  if (const size_t end = reason.find('\n'); end != std::string::npos) reason.resize(end);
  return sys::failure(code, std::format("{} ({})", operation, reason));
}

std::string source_set(const std::vector<IpPrefix>& sources, IpVersion version) {
  std::string text;
  for (const IpPrefix& prefix : sources) {
    if (prefix.version() != version) continue;
    if (!text.empty()) text += ", ";
    text += prefix.to_string();
  }
  return text;
}

// In a name (an identifier) and in a quoted string; an interface name is validated before, and this
// makes sure that nothing else can be said in nft's language.
std::string safe(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
    out += plain ? c : '_';
  }
  return out;
}

// `add` before `delete`: deleting what is not there would fail the transaction.
std::string removal(const std::string& table) {
  return std::format("add table inet {0}\ndelete table inet {0}\n", table);
}

}  // namespace

std::string nat_table_name(const std::string& tun_name) {
  std::string name = "masque_vpn_" + safe(tun_name);
  for (char& c : name) {
    if (c == '-' || c == '.') c = '_';
  }
  return name;
}

std::string nat_ruleset(const NatOptions& options) {
  const std::string table = nat_table_name(options.tun_name);
  const std::string tun = safe(options.tun_name);
  std::string rules;
  const std::string v4 = source_set(options.sources, IpVersion::V4);
  const std::string v6 = source_set(options.sources, IpVersion::V6);
  const auto masquerade = [&](const char* family, const std::string& set) {
    if (set.empty()) return;
    // Traffic back into the tunnel and to this host itself keeps its source.
    std::string out = std::format("!= {{ \"{}\", \"lo\" }}", tun);
    if (!options.interfaces.empty()) {
      out.clear();
      for (const std::string& name : options.interfaces) out += std::format("{}\"{}\"", out.empty() ? "" : ", ", safe(name));
      out = std::format("{{ {} }}", out);
    }
    rules += std::format("    {} saddr {{ {} }} oifname {} masquerade\n", family, set, out);
  };
  masquerade("ip", v4);
  masquerade("ip6", v6);
  std::string clamp;
  if (options.clamp_mss == NatOptions::ClampMss::ToRouteMtu) {
    clamp = std::format(
        "  chain forward {{\n"
        "    type filter hook forward priority mangle; policy accept;\n"
        "    oifname \"{0}\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n"
        "    iifname \"{0}\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n"
        "  }}\n",
        tun);
  }
  return removal(table) + std::format(
                              "table inet {} {{\n"
                              "  chain postrouting {{\n"
                              "    type nat hook postrouting priority srcnat; policy accept;\n"
                              "{}"
                              "  }}\n"
                              "{}"
                              "}}\n",
                              table, rules, clamp);
}

Result<Nat, SysError> Nat::create(const NatOptions& options) {
  Nat nat(nat_table_name(options.tun_name));
  TRY_VOID(nat.replace(options));
  return nat;
}

Result<void, SysError> Nat::replace(const NatOptions& options) {
  return run_nft(nat_ruleset(options), std::format("set up NAT in nftables table {}", table_));
}

Nat::Nat(Nat&& other) noexcept : table_(std::exchange(other.table_, {})) {}

Nat::~Nat() {
  if (table_.empty()) return;
  const auto done = run_nft(removal(table_), std::format("remove nftables table {}", table_));
  if (!done) log_warn("nat.remove_failed", {{"error", done.error().message()}});
}

}  // namespace masque
