// SPDX-License-Identifier: Apache-2.0
#include "service/store/server_keys.h"

#include <cerrno>
#include <charconv>
#include <format>
#include <optional>
#include <string_view>

#include "base/log.h"
#include "base/mutant.h"
#include "service/files.h"

namespace masque {

namespace {

constexpr std::string_view kHeader = "# masque-vpn server keys: secret, see docs/operating.md\n";
constexpr std::string_view kName = "stateless_reset";
// Of earlier files; nothing uses them.
constexpr std::string_view kFormerNames[] = {"address_token", "session_ticket"};

std::optional<ServerKeys::Key> parse_hex(std::string_view text) {
  ServerKeys::Key key{};
  if (text.size() != 2 * key.size()) return std::nullopt;
  for (size_t i = 0; i < key.size(); ++i) {
    const char* first = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(first, first + 2, key[i], 16);
    if (error != std::errc() || end != first + 2) return std::nullopt;
  }
  return key;
}

// Takes the line "name = hex" off the text.
std::optional<ServerKeys::Key> take_key(std::string_view& text, std::string_view name) {
  const std::string start = std::format("{} = ", name);
  const size_t end = text.find('\n');
  if (!text.starts_with(start) || end == std::string_view::npos) return std::nullopt;
  const auto key = parse_hex(text.substr(start.size(), end - start.size()));
  if (!key && !mutant("server_keys.damaged.remove")) return std::nullopt;
  text.remove_prefix(end + 1);
  return key.value_or(ServerKeys::Key{});
}

// Exactly as format_keys() wrote it, or an earlier version.
std::optional<ServerKeys> parse_keys(std::string_view text) {
  if (!text.starts_with(kHeader)) return std::nullopt;
  text.remove_prefix(kHeader.size());
  const auto key = take_key(text, kName);
  if (!key) return std::nullopt;
  if (!text.empty()) {
    for (const std::string_view name : kFormerNames) {
      if (!take_key(text, name)) return std::nullopt;
    }
  }
  return text.empty() ? std::optional(ServerKeys{.stateless_reset = *key}) : std::nullopt;
}

std::string format_keys(const ServerKeys& keys) {
  std::string out(kHeader);
  out += std::format("{} = ", kName);
  for (const uint8_t byte : keys.stateless_reset) out += std::format("{:02x}", byte);
  return out + '\n';
}

}  // namespace

Result<ServerKeys, SysError> ServerKeys::load_or_create(const std::string& path, Rng& rng) {
  const auto file = read_text_file(path);
  if (file) {
    const auto keys = parse_keys(file->text);
    const auto secret = check_secrecy(path, file->mode, file->owner);
    if (keys && (secret || mutant("server_keys.secrecy.remove"))) return *keys;
    // Keys that others could read are worth nothing, so they are replaced like damaged ones.
    log_warn("keys.replaced", {{"file", path}, {"reason", secret ? "damaged" : secret.error()}});
  } else if (file.error().code != ENOENT) {
    log_warn("keys.replaced", {{"file", path}, {"reason", file.error().message()}});
  }
  ServerKeys keys;
  rng.fill(keys.stateless_reset);
  TRY_VOID(replace_file(path, format_keys(keys), 0600));
  return keys;
}

}  // namespace masque
