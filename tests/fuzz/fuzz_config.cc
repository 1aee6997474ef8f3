// SPDX-License-Identifier: Apache-2.0
// A configuration or a client profile, read as each of the two kinds: faults with their places, or
// a configuration whose values are what they promise.
#include <algorithm>

#include "base/bytes.h"
#include "core/capsule/uri_template.h"
#include "service/config/config.h"

using namespace masque;

namespace {

// Relative paths lead nowhere from here.
constexpr const char* kPath = "/nonexistent/fuzz.toml";
constexpr uint32_t kMtuMin = 1280;

template <class Config>
void check_faults(const Loaded<Config>& loaded) {
  MASQUE_ASSERT(loaded.config.has_value() == loaded.errors.empty());
  for (const auto* list : {&loaded.errors, &loaded.warnings}) {
    for (const ConfigError& fault : *list) {
      MASQUE_ASSERT(!fault.text.empty() && fault.file == kPath);
      MASQUE_ASSERT(fault.message().contains(fault.text));
    }
    MASQUE_ASSERT(std::ranges::is_sorted(
        *list, {}, [](const ConfigError& fault) { return std::pair(fault.line, fault.column); }));
  }
}

void check_common(const std::string& socket, const QuicConfig& quic, uint32_t mtu) {
  MASQUE_ASSERT(!socket.empty() && !socket.contains('\0'));
  MASQUE_ASSERT(quic.keep_alive < quic.idle_timeout);
  MASQUE_ASSERT(mtu == kMtuAutomatic || (mtu >= kMtuMin && mtu <= 65'535));
}

void check_apart(const std::vector<IpPrefix>& prefixes) {
  for (size_t i = 0; i < prefixes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) MASQUE_ASSERT(!prefixes[i].overlaps(prefixes[j]));
  }
}

void check_server(const ServerConfig& config) {
  check_common(config.control_socket, config.quic, config.mtu);
  MASQUE_ASSERT(config.listen.port != 0 && !config.server_name.empty());
  MASQUE_ASSERT(config.certificate.present() && config.key.present());
  MASQUE_ASSERT(config.auth_mode == ServerConfig::AuthMode::Token ||
                config.ca_certificate.present());
  MASQUE_ASSERT(!config.pools.empty());
  check_apart(config.pools);
}

void check_client(const ClientConfig& config) {
  check_common(config.control_socket, config.quic, config.mtu);
  MASQUE_ASSERT(config.server_port != 0 && !config.server_host.empty());
  MASQUE_ASSERT(config.certificate.present() == config.key.present());
  MASQUE_ASSERT(UriTemplate::parse(config.uri_template.empty()
                                       ? default_uri_template(config.server_host, 443)
                                       : config.uri_template));
  // Somebody in between is let in only by a file that says so and has no CA.
  if (config.verify == ClientConfig::Verify::Nothing) MASQUE_ASSERT(!config.ca.present());
  check_apart(config.site_routes);
  for (const IpPrefix& route : config.site_routes) MASQUE_ASSERT(!is_default_route(route));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = as_text(Bytes(data, size));
  const auto server = parse_server_config(text, kPath);
  check_faults(server);
  if (server.config) check_server(*server.config);
  const auto client = parse_client_config(text, kPath);
  check_faults(client);
  if (client.config) check_client(*client.config);
  // Nothing is both: whichever it is, config_kind() knows.
  MASQUE_ASSERT(!server.config || !client.config);
  if (server.config) MASQUE_ASSERT(config_kind(text) == ConfigKind::Server);
  return 0;
}
