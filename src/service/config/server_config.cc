// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <filesystem>
#include <format>

#include "core/capsule/capsule.h"
#include "service/config/load.h"
#include "service/config/settings.h"
#include "service/files.h"
#include "service/pki/certificate.h"
#include "service/store/store.h"

namespace masque {

namespace {

using AuthMode = ServerConfig::AuthMode;
using UnknownUsers = ServerConfig::UnknownUsers;

constexpr uint8_t kPoolFreeBitsMin = 2;  // the gateway and one client, at least
constexpr auto kAuthModes =
    std::to_array<NamedChoice<AuthMode>>({{"certificate", AuthMode::Certificate},
                                          {"certificate-or-token", AuthMode::CertificateOrToken},
                                          {"token", AuthMode::Token}});
constexpr auto kUnknownUsers = std::to_array<NamedChoice<UnknownUsers>>(
    {{"admit", UnknownUsers::Admit}, {"refuse", UnknownUsers::Refuse}});

void read_listen(ConfigReader& reader, ServerConfig& config) {
  const auto text =
      reader.required_text("listen_addr", "for example listen_addr = \"0.0.0.0:4433\"");
  if (!text) return;
  // ":4433" is how Go programs say all addresses; [::] takes IPv4 too.
  const std::string wanted = text->value.starts_with(':') ? "[::]" + text->value : text->value;
  const auto listen = SocketAddress::parse(wanted);
  if (!listen || listen->port == 0) {
    return reader.error(
        *text,
        "must be an IP address and a port of 1 to 65535: for example \"0.0.0.0:4433\" or "
        "\"[::]:4433\"");
  }
  config.listen = *listen;
}

void read_server_name(ConfigReader& reader, ServerConfig& config) {
  const auto name =
      reader.required_text("server_name", "the name that clients know this server by");
  if (!name) return;
  if (!is_host_name(name->value)) {
    return reader.error(*name, "must be a host name or an IP address, without scheme and port");
  }
  config.server_name = name->value;
}

bool is_usable_pool(ConfigReader& reader, const LocatedPrefix& pool) {
  const IpAddress& address = pool.value.address();
  const uint8_t bits = address_bits(address.version());
  if (pool.value.length() + kPoolFreeBitsMin > bits) {
    reader.error(
        pool,
        std::format("{} is too small: it must hold the gateway and its clients, so /{} or shorter",
                    pool.value.to_string(), bits - kPoolFreeBitsMin));
    return false;
  }
  if (address.is_multicast() || address.is_loopback() || address.is_link_local() ||
      address.is_any()) {
    reader.error(pool,
                 std::format("{} cannot be assigned to clients: take a private network such as "
                             "10.8.0.0/24 or fd00:8::/64",
                             pool.value.to_string()));
    return false;
  }
  return true;
}

void read_pools(ConfigReader& reader, ServerConfig& config) {
  const size_t faults = reader.errors.size();
  const auto pools =
      reader.prefixes("assign_cidr", kAddressRangesMax);  // advertised, if nothing else is
  if (!pools || (pools->empty() && reader.errors.size() == faults)) {
    return reader.missing("assign_cidr",
                          "the network that clients get addresses of, such as \"10.8.0.0/24\"");
  }
  for (const auto& pool : *pools) {
    if (!is_usable_pool(reader, pool)) continue;
    const auto same = std::ranges::find_if(
        config.pools, [&](const IpPrefix& p) { return p.overlaps(pool.value); });
    if (same != config.pools.end()) {
      reader.error(pool, std::format("{} overlaps {}: pools must be apart", pool.value.to_string(),
                                     same->to_string()));
      continue;
    }
    config.pools.push_back(pool.value);
  }
}

// A route may be a pool or contain it; a part of a pool is a slip: clients on the rest would be cut
// off.
void read_routes(ConfigReader& reader, ServerConfig& config) {
  const auto routes = reader.prefixes("advertise_routes", kAddressRangesMax);
  if (!routes) {
    config.routes = config.pools;
    return;
  }
  for (const auto& route : *routes) {
    const auto cut = std::ranges::find_if(config.pools, [&](const IpPrefix& p) {
      return p.contains(route.value) && p != route.value;
    });
    if (cut != config.pools.end()) {
      reader.error(
          route,
          std::format("{} overlaps the pool {}, of which it is a part: advertise the whole pool "
                      "or another network",
                      route.value.to_string(), cut->to_string()));
      continue;
    }
    if (std::ranges::contains(config.routes, route.value)) {
      reader.warn(route, std::format("{} is listed twice", route.value.to_string()));
      continue;
    }
    if (const auto other = overlapped(config.routes, route.value)) {
      reader.error(route, std::format("{} overlaps {}: name the wider one alone",
                                      route.value.to_string(), other->to_string()));
      continue;
    }
    config.routes.push_back(route.value);
  }
}

// Beside a default route the pools are advertised by themselves: a client that does not take the
// default still reaches the gateway and what else it is told of.
void add_pools_to_default_route(ServerConfig& config) {
  if (std::ranges::none_of(config.routes, is_default_route)) return;
  for (const IpPrefix& pool : config.pools) {
    const auto covers = [&](const IpPrefix& route) {
      return !is_default_route(route) && route.contains(pool);
    };
    if (std::ranges::none_of(config.routes, covers)) config.routes.push_back(pool);
  }
}

void read_identity(ConfigReader& reader, ServerConfig& config) {
  PemPlace certificate_place, key_place, ca_place;
  config.certificate =
      read_pem(reader, {"cert_file", "cert_pem", PemKind::Certificate}, certificate_place);
  config.key = read_pem(reader, {"key_file", "key_pem", PemKind::Key}, key_place);
  config.ca_certificate =
      read_pem(reader, {"ca_cert_file", "ca_cert_pem", PemKind::Certificate}, ca_place);
  const auto set = [&](std::string_view a, std::string_view b) {
    return reader.text(a) || reader.text(b);
  };
  if (!set("cert_file", "cert_pem")) {
    reader.missing("cert_file", "the server's certificate; `masque-vpn init` makes one");
  }
  if (!set("key_file", "key_pem"))
    reader.missing("key_file", "the key of the server's certificate");
  if (config.auth_mode != AuthMode::Token && !set("ca_cert_file", "ca_cert_pem")) {
    reader.missing("ca_cert_file", "the CA that clients' certificates are verified with");
  }
  if (config.certificate.present() && config.key.present()) {
    check_certificate_pair(reader, config.certificate, config.key, certificate_place);
    const auto info = read_certificate(config.certificate.pem);
    if (info && !config.server_name.empty() && !certificate_names(*info, config.server_name)) {
      reader.warn(
          certificate_place.place, certificate_place.key,
          std::format("the certificate is not for \"{}\" (server_name): clients will refuse it",
                      config.server_name));
    }
  }
  if (config.ca_certificate.present()) check_ca(reader, config.ca_certificate, ca_place);
}

// Only `user add` loads the CA's key: here its file must merely be there, and should be secret.
void read_ca_key(ConfigReader& reader, ServerConfig& config) {
  const auto file = read_path(reader, "ca_key_file");
  const auto text = reader.text("ca_key_pem");
  reader.set_form("ca_key_pem", "text in PEM form");
  if (file && text) {
    return reader.error(*text, "both ca_key_file and ca_key_pem are set: remove one of them");
  }
  if (file) {
    config.ca_key_file = file->value;
    std::error_code ignored;
    const auto secret = check_secret_file(file->value);
    if (!std::filesystem::exists(file->value, ignored)) return reader.error(*file, secret.error());
    warn_unless_secret(reader, *file, secret);
  }
  if (text) config.ca_key_pem = text->value;
}

// The program whose configurations ours can read kept its users elsewhere: its database is no
// fault.
bool is_of_another_program(const std::string& database) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(database, ignored) ||
      std::filesystem::is_empty(database, ignored)) {
    return false;
  }
  const auto store = Store::open(database, Store::Open::Existing);
  return !store && store.error().kind == StoreError::Kind::Foreign;
}

void read_state(ConfigReader& reader, ServerConfig& config) {
  const auto database = read_path(reader, "state.database");
  auto older = read_path(reader, "api_server.database_path");
  if (older && !database && is_of_another_program(older->value)) {
    reader.warn(*older, std::format("{} is the database of another program and stays as it is: "
                                    "state.db beside this file is used",
                                    older->value));
    older.reset();
  }
  config.database = database ? database->value
                    : older  ? older->value
                             : resolve_beside(reader.path(), "state.db");
  config.state_dir = directory_of(config.database);
  if (database && older) reader.warn(*older, "has no effect beside [state] database");
  const auto& at = database ? database : older;
  std::error_code ignored;
  if (at && !std::filesystem::is_directory(config.state_dir, ignored)) {
    reader.error(*at,
                 std::format("the directory {} is not there: make it first", config.state_dir));
  }
}

void read_api(ConfigReader& reader, ServerConfig& config) {
  for (const auto key : {"api_server.listen_addr", "api_server.static_dir"}) {
    if (const auto text = reader.text(key)) {
      reader.warn(
          *text,
          "has no effect: this version has no web interface, use `masque-vpn user` and `status`");
      (key == std::string_view("api_server.static_dir") ? config.api.static_dir
                                                        : config.api.listen_addr) = text->value;
    }
  }
}

void read_forwarding(ConfigReader& reader, ServerConfig& config) {
  if (const auto enabled = reader.boolean("nat.enabled")) config.nat.enabled = enabled->value;
  if (const auto interfaces = reader.texts("nat.interfaces")) {
    for (const auto& name : *interfaces) {
      if (!is_interface_name(name.value)) {
        reader.error(name, std::format("\"{}\" is not the name of an interface", name.value));
      }
      config.nat.interfaces.push_back(name.value);
    }
    if (!config.nat.enabled && !interfaces->empty()) {
      reader.warn(interfaces->front(), "has no effect without enabled = true");
    }
  }
  if (const auto forwarding = reader.boolean("network.ip_forwarding");
      forwarding && forwarding->value) {
    config.ip_forwarding = ServerConfig::IpForwarding::Enable;
  }
  config.ipv6_probe = read_ipv6_probe(reader);
}

void read_limits(ConfigReader& reader, ServerConfig& config) {
  constexpr int64_t kClientsMax = 1'000'000;
  constexpr int64_t kHalfOpenMax = 1'000'000;
  auto& limits = config.limits;
  if (const auto n = reader.integer("limits.max_clients", 1, kClientsMax)) {
    limits.clients_max = static_cast<uint32_t>(n->value);
  }
  if (const auto n = reader.integer("limits.max_half_open", 1, kHalfOpenMax)) {
    limits.half_open_max = static_cast<uint32_t>(n->value);
  }
}

// A key inside the file makes the file itself a secret.
void check_file_secrecy(ConfigReader& reader, const FileText* file) {
  if (file == nullptr) return;
  for (const auto key : {"key_pem", "ca_key_pem"}) {
    const auto text = reader.text(key);
    if (!text) continue;
    return warn_unless_secret(reader, *text, check_secrecy(reader.path(), file->mode, file->owner));
  }
}

ServerConfig read_server(ConfigReader& reader) {
  ServerConfig config;
  config.file = reader.path();
  read_listen(reader, config);
  read_server_name(reader, config);
  config.auth_mode = reader.choice<AuthMode>("auth.mode", kAuthModes).value_or(config.auth_mode);
  config.unknown_users = reader.choice<UnknownUsers>("auth.unknown_users", kUnknownUsers)
                             .value_or(config.unknown_users);
  read_identity(reader, config);
  read_ca_key(reader, config);
  read_pools(reader, config);
  read_routes(reader, config);
  add_pools_to_default_route(config);
  config.tun_name = read_tun_name(reader);
  config.mtu = read_mtu(reader);
  read_api(reader, config);
  read_forwarding(reader, config);
  read_limits(reader, config);
  if (const auto sticky = reader.boolean("leases.sticky"); sticky && !sticky->value) {
    config.lease_kind = LeaseKind::Fresh;
  }
  read_state(reader, config);
  config.resilience = read_resilience(reader);
  config.quic = read_quic(reader, QuicRole::Server);
  config.log = read_log(reader);
  config.control_socket = read_control_socket(reader);
  return config;
}

Loaded<ServerConfig> parse(std::string_view text, const std::string& path, const FileText* file,
                           const Blocks& blocks = every_fault) {
  return parse_with<ServerConfig>(
      text, path, {.read = read_client_keys, .belongs = "it belongs into a client's configuration"},
      [file](ConfigReader& reader) {
        ServerConfig config = read_server(reader);
        check_file_secrecy(reader, file);
        return config;
      },
      blocks);
}

// Whether the fault of one key may change what another means: the same table, or a key or table
// that is meant for it, in the wrong place or misspelt.
bool concerns(const std::string& faulty, std::string_view needed) {
  const auto is_near = [](std::string_view word, std::string_view meant) {
    return word == meant || nearest(word, {std::string(meant)});
  };
  const auto split = [](std::string_view key) {
    const size_t dot = key.find('.');
    if (dot == std::string_view::npos) return std::pair(std::string_view(), key);
    return std::pair(key.substr(0, dot), key.substr(dot + 1));
  };
  const auto [table, leaf] = split(faulty);
  const auto [needed_table, needed_leaf] = split(needed);
  const std::string_view top = table.empty() ? leaf : table;
  return is_near(leaf, needed_leaf) || (!needed_table.empty() && is_near(top, needed_table));
}

}  // namespace

void read_server_keys(ConfigReader& reader) { (void)read_server(reader); }

Loaded<ServerConfig> parse_server_config(std::string_view text, const std::string& path) {
  return parse(text, absolute_path(path), nullptr);
}

Loaded<ServerConfig> load_server_config(const std::string& path) {
  return load_with<ServerConfig>(path, [](auto&&... file) { return parse(file...); });
}

Loaded<ServerConfig> load_server_config_for(const std::string& path,
                                            std::span<const std::string_view> needed) {
  const auto parse_for = [&](std::string_view text, const std::string& absolute,
                             const FileText* file) {
    const bool of_a_client = config_kind(text) == ConfigKind::Client;
    return parse(text, absolute, file, [&](const ConfigError& fault) {
      return of_a_client || std::ranges::any_of(needed, [&](std::string_view key) {
               return concerns(fault.key, key);
             });
    });
  };
  return load_with<ServerConfig>(path, parse_for);
}

}  // namespace masque
