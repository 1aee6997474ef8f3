// SPDX-License-Identifier: Apache-2.0
#include "service/config/config.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <format>

#include "service/config/document.h"
#include "service/config/reader.h"
#include "service/config/settings.h"
#include "service/files.h"
#include "service/pki/certificate.h"

namespace masque {

namespace {

constexpr uint8_t kDefaultRouteBits = 2;  // the whole, its halves and quarters

std::vector<std::string> keys_of(const ConfigTable& root) {
  std::vector<std::string> out;
  for (const auto& [key, place, node] : root) {
    const auto* table = std::get_if<ConfigTable>(&node.value);
    if (table == nullptr) out.push_back(key);
    if (table == nullptr) continue;
    for (const auto& inner : *table) out.push_back(key + "." + inner.key);
  }
  return out;
}

}  // namespace

ConfigKind config_kind(std::string_view text) {
  const auto root = parse_toml(text, "");
  if (!root) return ConfigKind::Server;
  const ConfigTable nothing;
  ConfigReader server("", nothing), client("", nothing);
  read_server_keys(server);
  read_client_keys(client);
  const auto found = keys_of(*root);
  const auto of_server = server.known_keys(), of_client = client.known_keys();
  // Only keys that the other kind does not have say anything.
  const auto own = [&](const auto& keys, const auto& others) {
    return std::ranges::count_if(
        found, [&](const std::string& key) { return keys.contains(key) && !others.contains(key); });
  };
  return own(of_client, of_server) > own(of_server, of_client) ? ConfigKind::Client
                                                               : ConfigKind::Server;
}

bool is_default_route(const IpPrefix& route) { return route.length() <= kDefaultRouteBits; }

bool accepts_route(const ClientConfig::Routes& routes, const IpPrefix& route) {
  using Accept = ClientConfig::RouteAccept;
  if (std::ranges::any_of(routes.exclude, [&](const IpPrefix& e) { return e.contains(route); }))
    return false;
  if (is_default_route(route) && (routes.accept_default || routes.accept == Accept::All))
    return true;
  if (routes.accept == Accept::Listed) {
    return std::ranges::any_of(routes.accept_list,
                               [&](const IpPrefix& a) { return a.contains(route); });
  }
  return routes.accept == Accept::All || !is_default_route(route);
}

std::string host_and_port(std::string_view host, uint16_t port) {
  const bool v6 = host.contains(':');
  return std::format("{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

std::string default_uri_template(std::string_view host, uint16_t port) {
  return std::format("https://{}/.well-known/masque/ip/{{target}}/{{ipproto}}/",
                     host_and_port(host, port));
}

std::string runtime_directory() {
  if (const char* chosen = getenv("MASQUE_VPN_RUNTIME_DIR"); chosen != nullptr && *chosen != '\0')
    return chosen;
  if (geteuid() == 0 || access(kSystemRuntimeDirectory, W_OK) == 0) return kSystemRuntimeDirectory;
  if (const char* user = getenv("XDG_RUNTIME_DIR"); user != nullptr && *user == '/') {
    return std::string(user) + "/masque-vpn";
  }
  return kSystemRuntimeDirectory;
}

std::string default_control_socket(const std::string& config_file) {
  constexpr size_t kStemBytesMax = 32;
  constexpr size_t kHashDigits = 8;
  // Symlinks are followed, so that every name of one file leads to one socket.
  std::error_code error;
  const auto canonical = std::filesystem::weakly_canonical(absolute_path(config_file), error);
  const std::string path = error ? absolute_path(config_file) : canonical.string();
  std::string stem = std::filesystem::path(path).stem().string().substr(0, kStemBytesMax);
  return std::format("{}/{}-{}.sock", runtime_directory(), stem,
                     sha256_hex(path).substr(0, kHashDigits));
}

}  // namespace masque
