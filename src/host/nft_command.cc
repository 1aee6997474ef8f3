// SPDX-License-Identifier: Apache-2.0
#include "host/nft_command.h"

#include <nftables/libnftables.h>

#include <cctype>
#include <cerrno>
#include <format>
#include <memory>

#include "base/mutant.h"
#include "host/system.h"

namespace masque::nft {
namespace {

struct ContextDeleter {
  void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

bool is_alphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

}  // namespace

Result<void, SysError> run(const std::string& commands, const std::string& operation) {
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

std::string quoted(const std::string& interface_name) {
  std::string out = "\"";
  for (const char c : interface_name) {
    out += mutant("nft.quote.remove") || is_alphanumeric(c) || c == '_' || c == '-' || c == '.'
               ? c
               : '_';
  }
  return out + "\"";
}

std::string table_name(const std::string& interface_name) {
  std::string name = "masque_vpn_";
  for (const char c : interface_name) name += is_alphanumeric(c) ? c : '_';
  return name;
}

// `add` before `delete`: deleting what is not there would fail the transaction.
std::string removal(const std::string& table) {
  return std::format("add table inet {0}\ndelete table inet {0}\n", table);
}

std::string prefix_list(const std::vector<IpPrefix>& prefixes, IpVersion version) {
  std::vector<IpPrefix> of_version;
  for (const IpPrefix& prefix : prefixes) {
    if (prefix.version() == version) of_version.push_back(prefix);
  }
  std::string text;
  for (const IpRange& range : to_ranges(std::move(of_version))) {
    for (const IpPrefix& prefix : to_prefixes(range)) {
      if (!text.empty()) text += ", ";
      text += prefix.to_string();
    }
  }
  return text;
}

}  // namespace masque::nft
