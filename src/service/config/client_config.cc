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

namespace masque {

namespace {

constexpr size_t kTokenBytesMax = 4096;

void read_server(ConfigReader& reader, ClientConfig& config) {
  const auto address =
      reader.required_text("server_addr", "for example server_addr = \"vpn.example.com:4433\"");
  const auto split = address ? parse_host_and_port(address->value) : std::nullopt;
  if (split) config.server_host = split->host;
  if (split) config.server_port = split->port.value_or(config.server_port);
  if (address && !split) {
    reader.error(*address,
                 "must be a host and a port: \"vpn.example.com:4433\", \"192.0.2.1:4433\" or "
                 "\"[2001:db8::1]:4433\"");
  }
  config.server_name = config.server_host;
  if (const auto name = reader.text("server_name")) {
    config.server_name = name->value;
    if (!is_host_name(name->value)) {
      reader.error(*name, "must be a host name or an IP address, without scheme and port");
    }
  }
}

void read_identity(ConfigReader& reader, ClientConfig& config) {
  PemPlace ca_place, certificate_place, key_place;
  config.ca = read_pem(reader, {"ca_file", "ca_pem", PemKind::Certificate}, ca_place);
  config.certificate =
      read_pem(reader, {"tls_cert", "cert_pem", PemKind::Certificate}, certificate_place);
  config.key = read_pem(reader, {"tls_key", "key_pem", PemKind::Key}, key_place);
  const bool has_certificate = reader.text("tls_cert") || reader.text("cert_pem");
  const bool has_key = reader.text("tls_key") || reader.text("key_pem");
  if (has_certificate != has_key) {
    const auto key = has_certificate ? "tls_key" : "tls_cert";
    reader.error(has_certificate ? certificate_place.place : key_place.place, key,
                 has_certificate ? "is missing: the certificate needs its key"
                                 : "is missing: the key needs its certificate");
  }
  if (config.certificate.present() && config.key.present()) {
    check_certificate_pair(reader, config.certificate, config.key, certificate_place);
  }
  if (config.ca.present()) check_ca(reader, config.ca, ca_place);

  const auto insecure = reader.boolean("insecure_skip_verify");
  if (!insecure || !insecure->value) return;
  config.verify = ClientConfig::Verify::Nothing;
  reader.warn(*insecure,
              config.ca.present()
                  ? "unsafe: whoever stands between can read and change all traffic, the CA beside "
                    "it is not used; remove this line"
                  : "unsafe: whoever stands between can read and change all traffic; set ca_file "
                    "instead");
}

// RFC 6750 2.1: b64token.
bool is_token(std::string_view token) {
  if (token.empty() || token.size() > kTokenBytesMax) return false;
  return std::ranges::all_of(token, [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("-._~+/=").contains(static_cast<char>(c));
  });
}

void read_token(ConfigReader& reader, ClientConfig& config, const FileText* file) {
  const auto token = reader.text("auth.token");
  const auto path = read_path(reader, "auth.token_file");
  if (token && path) {
    return reader.error(*path, "both token and token_file are set: remove one of them");
  }
  if (token) {
    config.token = token->value;
    if (file != nullptr)
      warn_unless_secret(reader, *token, check_secrecy(reader.path(), file->mode, file->owner));
  } else if (path) {
    const auto text = read_text_file(path->value);
    if (!text) return reader.error(*path, "cannot read the file: " + text.error().message());
    warn_unless_secret(reader, *path, check_secrecy(path->value, text->mode, text->owner));
    reader.note_contents(path->key, sha256_hex(text->text));
    config.token = text->text;
    while (!config.token.empty() &&
           std::isspace(static_cast<unsigned char>(config.token.back())) != 0) {
      config.token.pop_back();
    }
  }
  const auto& at = token ? token : path;
  if (at && !is_token(config.token)) {
    reader.error(
        *at,
        "is not a bearer token: letters, digits and - . _ ~ + / = only (`masque-vpn user token`)");
  }
}

void read_routes(ConfigReader& reader, ClientConfig& config) {
  auto& routes = config.routes;
  const auto accept = reader.texts("routes.accept");
  if (accept && accept->size() == 1 && (*accept)[0].value == "gateway") {
    routes.accept = ClientConfig::RouteAccept::Gateway;
  } else if (accept && accept->size() == 1 && (*accept)[0].value == "all") {
    routes.accept = ClientConfig::RouteAccept::All;
  } else if (accept) {
    routes.accept = ClientConfig::RouteAccept::Listed;
    for (const auto& item : *accept) {
      if (std::ranges::all_of(item.value, [](unsigned char c) { return std::isalpha(c) != 0; })) {
        reader.error(item, "must be \"gateway\", \"all\" or a list of networks");
      } else if (const auto prefix = reader.prefix(item)) {
        routes.accept_list.push_back(*prefix);
      }
    }
  }
  if (const auto exclude = reader.prefixes("routes.exclude")) {
    for (const auto& prefix : *exclude) routes.exclude.push_back(prefix.value);
  }
  if (const auto everything = reader.boolean("routes.accept_default")) {
    routes.accept_default = everything->value;
    if (!everything->value && routes.accept == ClientConfig::RouteAccept::All) {
      reader.warn(*everything,
                  "has no effect beside accept = \"all\", which takes default routes too");
    }
  }
}

void read_site(ConfigReader& reader, ClientConfig& config) {
  const auto routes = reader.prefixes("site.advertise_routes", kAddressRangesMax);
  if (!routes) return;
  for (const auto& route : *routes) {
    const auto same = std::ranges::find_if(
        config.site_routes, [&](const IpPrefix& p) { return p.overlaps(route.value); });
    if (same != config.site_routes.end()) {
      // RFC 9484 4.7.3: advertised ranges must not overlap.
      reader.error(route, std::format("{} overlaps {}: the subnets of a site must be apart",
                                      route.value.to_string(), same->to_string()));
    } else if (is_default_route(route.value)) {
      reader.error(route, "a site cannot advertise a default route: name its own subnets");
    } else {
      config.site_routes.push_back(route.value);
    }
  }
}

void read_network(ConfigReader& reader, ClientConfig& config) {
  if (const auto mark = reader.integer("network.fwmark", 1, UINT32_MAX)) {
    config.fwmark = static_cast<uint32_t>(mark->value);
  }
  config.ipv6_probe = read_ipv6_probe(reader);
}

// RFC 9484 3: absolute, https, and printable ASCII; the client core checks the rest of the grammar.
void read_template(ConfigReader& reader, ClientConfig& config) {
  const auto text = reader.text("http.uri_template");
  if (!text) {
    config.uri_template = default_uri_template(config.server_name, config.server_port);
    return;
  }
  config.uri_template = text->value;
  const bool printable =
      std::ranges::all_of(text->value, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  const std::string_view rest =
      std::string_view(text->value).substr(std::min<size_t>(8, text->value.size()));
  if (!text->value.starts_with("https://") || !printable || rest.find('/') == 0 ||
      !rest.contains('/') || rest.substr(0, rest.find('/')).contains('{')) {
    reader.error(*text,
                 "must be an absolute https template such as "
                 "\"https://vpn.example.com:4433/.well-known/masque/ip/{target}/{ipproto}/\"");
  }
}

ClientConfig read_client(ConfigReader& reader, const FileText* file) {
  ClientConfig config;
  config.file = reader.path();
  read_server(reader, config);
  read_identity(reader, config);
  config.tun_name = read_tun_name(reader);
  const bool has_tun_ip = reader.has("tun_ip");
  reader.set_form("tun_ip", "anything");
  if (has_tun_ip) {
    reader.warn(*reader.place("tun_ip"), "tun_ip",
                "has no effect: the server assigns the addresses");
  }
  config.mtu = read_mtu(reader);
  if (const auto path = read_path(reader, "key_log_file")) {
    config.key_log_file = path->value;
    std::error_code ignored;
    if (!std::filesystem::is_directory(directory_of(path->value), ignored)) {
      reader.error(*path, std::format("the directory {} is not there: make it first",
                                      directory_of(path->value)));
    }
    reader.warn(
        *path,
        "unsafe: who reads this file can decrypt recorded traffic; remove it after debugging");
  }
  read_routes(reader, config);
  read_token(reader, config, file);
  read_site(reader, config);
  read_template(reader, config);
  read_network(reader, config);
  config.resilience = read_resilience(reader);
  config.quic = read_quic(reader, QuicRole::Client);
  config.log = read_log(reader);
  config.control_socket = read_control_socket(reader);
  if (!config.certificate.present() && config.token.empty() && reader.errors.empty()) {
    reader.warn({.line = 1, .column = 1}, "cert_pem",
                "neither a certificate nor a token is set: most servers will refuse this client");
  }
  if (const auto key = reader.text("key_pem"); key && file != nullptr)
    warn_unless_secret(reader, *key, check_secrecy(reader.path(), file->mode, file->owner));
  return config;
}

Loaded<ClientConfig> parse(std::string_view text, const std::string& path, const FileText* file) {
  return parse_with<ClientConfig>(
      text, path,
      {.read = read_server_keys, .belongs = "it belongs into the server's configuration"},
      [file](ConfigReader& reader) { return read_client(reader, file); });
}

}  // namespace

void read_client_keys(ConfigReader& reader) { (void)read_client(reader, nullptr); }

Loaded<ClientConfig> parse_client_config(std::string_view text, const std::string& path) {
  return parse(text, absolute_path(path), nullptr);
}

Loaded<ClientConfig> load_client_config(const std::string& path) {
  return load_with<ClientConfig>(path, parse);
}

}  // namespace masque
