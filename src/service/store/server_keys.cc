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
constexpr std::string_view kNames[] = {"stateless_reset", "address_token", "session_ticket"};

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

// "name = hex" in the order of kNames, exactly as write_keys() wrote it.
std::optional<ServerKeys> parse_keys(std::string_view text) {
  ServerKeys keys;
  ServerKeys::Key* const members[] = {&keys.stateless_reset, &keys.address_token,
                                      &keys.session_ticket};
  if (!text.starts_with(kHeader)) return std::nullopt;
  text.remove_prefix(kHeader.size());
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const std::string start = std::format("{} = ", kNames[i]);
    const size_t end = text.find('\n');
    if (!text.starts_with(start) || end == std::string_view::npos) return std::nullopt;
    const auto key = parse_hex(text.substr(start.size(), end - start.size()));
    if (!key && !mutant("server_keys.damaged.remove")) return std::nullopt;
    *members[i] = *key;
    text.remove_prefix(end + 1);
  }
  return text.empty() ? std::optional(keys) : std::nullopt;
}

std::string format_keys(const ServerKeys& keys) {
  std::string out(kHeader);
  const ServerKeys::Key* const members[] = {&keys.stateless_reset, &keys.address_token,
                                            &keys.session_ticket};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    out += std::format("{} = ", kNames[i]);
    for (const uint8_t byte : *members[i]) out += std::format("{:02x}", byte);
    out += '\n';
  }
  return out;
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
  for (Key* key : {&keys.stateless_reset, &keys.address_token, &keys.session_ticket})
    rng.fill(*key);
  TRY_VOID(replace_file(path, format_keys(keys), 0600));
  return keys;
}

}  // namespace masque
