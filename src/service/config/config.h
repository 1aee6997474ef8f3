// SPDX-License-Identifier: Apache-2.0
// What a configuration file says, after every check: paths are absolute, PEM texts are loaded,
// prefixes have no host bits, defaults are filled in. The names of the keys are those of
// docs/operating.md. load_*_config() never stops at the first fault: `errors` has all of them, in
// the order of the file.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/time.h"
#include "core/ip/address.h"
#include "core/ip/socket_address.h"
#include "core/server/address_pool.h"
#include "core/tunnel/mtu_probe_policy.h"
#include "service/config/resilience.h"
#include "service/config/values.h"

namespace masque {

// A certificate or key: from a file (`*_file`, `tls_*`) or from the configuration itself (`*_pem`).
struct PemSource {
  std::string file;  // absolute; empty when the text stands in the configuration file
  std::string pem;   // empty when nothing is configured
  bool present() const { return !pem.empty(); }
};

enum class CongestionChoice : uint8_t { Cubic, Bbr, Reno };
enum class RetryChoice : uint8_t { Auto, Always, Never };  // Auto: only under a flood of handshakes
enum class LogFormat : uint8_t { Text, Json };

// [quic]
struct QuicConfig {
  CongestionChoice congestion = CongestionChoice::Cubic;
  // A PING after so long without a packet, so that NATs on the path keep their state. Zero: never.
  Duration keep_alive = 20s;
  Duration idle_timeout = 60s;
  RetryChoice retry = RetryChoice::Auto;  // server only
};

// [log] and log_level
struct LogSettings {
  LogLevel level = LogLevel::Info;
  LogFormat format = LogFormat::Text;
};

constexpr uint32_t kMtuAutomatic = 0;

struct ServerConfig {
  std::string file;     // this file, absolute: what a reload reads again
  ConfigValues values;  // what stands in it
  ConfigPlaces places;

  SocketAddress listen;      // listen_addr; ":4433" is [::]:4433, which takes IPv4 too
  std::string server_name;   // the name clients ask for: SNI and :authority
  PemSource certificate;     // cert_file | cert_pem: the chain, leaf first
  PemSource key;             // key_file | key_pem
  PemSource ca_certificate;  // ca_cert_file | ca_cert_pem: issues and verifies client identities
  std::string ca_key_file;   // only `user add` needs the CA's key, so the server does not load it
  std::string ca_key_pem;

  std::vector<IpPrefix> pools;   // assign_cidr; the first address of each is the gateway's
  std::vector<IpPrefix> routes;  // advertise_routes; the pools when the key is absent
  std::string tun_name;          // empty: the kernel chooses
  uint32_t mtu = kMtuAutomatic;  // upper limit of the tunnel's MTU

  struct Api {  // [api_server]
    std::string listen_addr;
    std::string static_dir;
  } api;

  struct Nat {  // [nat]
    bool enabled = false;
    std::vector<std::string> interfaces;  // where packets leave; empty: any but the tunnel
  } nat;

  enum class IpForwarding : uint8_t { Leave, Enable };
  IpForwarding ip_forwarding = IpForwarding::Leave;     // [network] ip_forwarding
  MtuProbePolicy ipv6_probe = MtuProbePolicy::Measure;  // [network] ipv6_probe

  enum class AuthMode : uint8_t { Certificate, CertificateOrToken, Token };
  AuthMode auth_mode = AuthMode::Certificate;  // [auth] mode

  // [auth] unknown_users: a certificate of the CA whose name is not in the database. `init` writes
  // "refuse".
  enum class UnknownUsers : uint8_t { Admit, Refuse };
  UnknownUsers unknown_users = UnknownUsers::Admit;

  struct Limits {                    // [limits]
    uint32_t clients_max = 10'000;   // admitted sessions
    uint32_t half_open_max = 1'000;  // handshakes under way
  } limits;

  // [leases] sticky: the same user gets the same addresses, or other ones with each session.
  LeaseKind lease_kind = LeaseKind::Sticky;

  QuicConfig quic;
  ResilienceConfig resilience;
  LogSettings log;
  std::string control_socket;  // [control] socket, or default_control_socket(file)
  std::string
      database;  // [state] database, or api_server.database_path, or state.db beside the file
  std::string state_dir;  // the database's directory; `server.keys` (mode 0600) lies there too
};

struct ClientConfig {
  std::string file;
  ConfigValues values;
  ConfigPlaces places;

  std::string server_host;  // server_addr: a name or an address
  uint16_t server_port = 443;
  std::string server_name;  // for SNI, verification and :authority; the host when the key is absent
  PemSource ca;             // ca_file | ca_pem; absent: the system's CAs
  PemSource certificate;    // tls_cert | cert_pem
  PemSource key;            // tls_key | key_pem
  enum class Verify : uint8_t { Server, Nothing };
  Verify verify = Verify::Server;  // insecure_skip_verify
  std::string tun_name;
  std::string key_log_file;
  uint32_t mtu = kMtuAutomatic;

  enum class RouteAccept : uint8_t {
    Gateway,  // what the gateway advertises, without default routes unless accept_default
    All,      // whatever the gateway advertises, default routes too
    Listed,   // only what lies inside `accept_list`
  };
  struct Routes {  // [routes]
    RouteAccept accept = RouteAccept::Gateway;
    std::vector<IpPrefix> accept_list;
    std::vector<IpPrefix> exclude;  // never into the tunnel
    bool accept_default = false;    // full tunnel
  } routes;

  std::string token;                  // [auth] token | token_file
  std::vector<IpPrefix> site_routes;  // [site] advertise_routes: the subnets behind this client
  std::string uri_template;           // [http] uri_template; default: RFC 9484 3's well-known one
  std::optional<uint32_t> fwmark;     // [network] fwmark: mark of the outer packets
  MtuProbePolicy ipv6_probe = MtuProbePolicy::Measure;  // [network] ipv6_probe

  QuicConfig quic;
  ResilienceConfig resilience;
  LogSettings log;
  std::string control_socket;
};

template <class Config>
struct Loaded {
  std::optional<Config> config;          // set when there are no errors
  std::vector<ConfigError> errors;       // exit code 78
  std::vector<ConfigError> warnings;     // unsafe values and values without effect
  std::vector<ConfigError> tolerated{};  // load_server_config_for(): faults of what is not needed
};

// A fault of a value that shows only when it is used, told like those of load_*_config().
template <class Config>
ConfigError fault_of(const Config& config, std::string_view key, std::string text) {
  const auto found = config.places.find(key);
  const Place place = found == config.places.end() ? Place{} : found->second;
  return {.file = config.file,
          .line = place.line,
          .column = place.column,
          .key = std::string(key),
          .text = std::move(text)};
}

// Reads the file, the PEM files it names and checks all of it. Also used again for a reload.
Loaded<ServerConfig> load_server_config(const std::string& path);
Loaded<ClientConfig> load_client_config(const std::string& path);
// For commands that must work whatever else is wrong, such as a certificate that has expired. Only
// the keys `needed` are sure, any other may have its default; a fault is tolerated that cannot
// change what they mean.
Loaded<ServerConfig> load_server_config_for(const std::string& path,
                                            std::span<const std::string_view> needed);
// The same for a text that is said to come from `path` (tests, fuzzing).
Loaded<ServerConfig> parse_server_config(std::string_view text, const std::string& path);
Loaded<ClientConfig> parse_client_config(std::string_view text, const std::string& path);

enum class ConfigKind : uint8_t { Server, Client };
// Which of the two a text is, by the number of keys that only one kind has; an unreadable one
// counts as Server.
ConfigKind config_kind(std::string_view text);

// Whether the configuration lets the gateway's advertised route into the client's routing table,
// and which route is a default one: 0.0.0.0/0, ::/0 and their halves and quarters (faults.md C5).
bool is_default_route(const IpPrefix& route);
bool accepts_route(const ClientConfig::Routes& routes, const IpPrefix& route);

// "vpn.example:4433", "[2001:db8::1]:4433".
std::string host_and_port(std::string_view host, uint16_t port);
// "https://NAME:PORT/.well-known/masque/ip/{target}/{ipproto}/" (RFC 9484 3); IPv6 in brackets.
std::string default_uri_template(std::string_view host, uint16_t port);

// /run/masque-vpn/NAME-HASH.sock, from the file's absolute path: `status -c FILE` finds the
// instance that runs with FILE. $MASQUE_VPN_RUNTIME_DIR moves the directory.
std::string default_control_socket(const std::string& config_file);
inline constexpr const char* kSystemRuntimeDirectory = "/run/masque-vpn";
std::string runtime_directory();

}  // namespace masque
