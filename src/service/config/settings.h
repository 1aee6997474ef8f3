// SPDX-License-Identifier: Apache-2.0
// What the two kinds of configuration have in common: PEM sources, MTU, [quic], [log], [control].
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "service/config/config.h"
#include "service/config/reader.h"

namespace masque {

enum class PemKind : uint8_t { Certificate, Key };
struct PemKeys {
  std::string_view file_key;  // "cert_file"
  std::string_view text_key;  // "cert_pem"
  PemKind kind = PemKind::Certificate;
};
// Where one of the two was set, for faults found later.
struct PemPlace {
  Place place;
  std::string key;
};
// Loads either. Both at once, and what is no PEM, is told and not loaded.
PemSource read_pem(ConfigReader& reader, const PemKeys& keys, PemPlace& at);
// Tells what check_secrecy() found, as a warning: the file may lie where nobody else comes, and a
// mode must not keep a tunnel down.
void warn_unless_secret(ConfigReader& reader, const LocatedText& at,
                        const std::expected<void, std::string>& secrecy);
// The pair fits, is within its time and (server: for the name) usable.
void check_certificate_pair(ConfigReader& reader, const PemSource& certificate,
                            const PemSource& key, const PemPlace& at);
// Whole and within its time.
void check_ca(ConfigReader& reader, const PemSource& ca, const PemPlace& at);

// A path of the file, absolute.
std::optional<LocatedText> read_path(ConfigReader& reader, std::string_view key);
uint32_t read_mtu(ConfigReader& reader);
std::string read_tun_name(ConfigReader& reader);
enum class QuicRole : uint8_t { Client, Server };
// `resilience`: decides which congestion control is the default.
QuicConfig read_quic(ConfigReader& reader, QuicRole role);
MtuProbePolicy read_ipv6_probe(ConfigReader& reader);
LogSettings read_log(ConfigReader& reader);
std::string read_control_socket(ConfigReader& reader);

bool is_interface_name(std::string_view name);
// A DNS name or an IP address without port and brackets.
bool is_host_name(std::string_view name);

struct HostAndPort {
  std::string host;  // without brackets
  std::optional<uint16_t> port;
};
// "host:port", "[v6]:port", or a host alone.
std::optional<HostAndPort> parse_host_and_port(std::string_view text);

// The listed route that overlaps this one, which RFC 9484 4.7.3 forbids in an advertisement. A
// default route may hold others: it is cut where they lie.
std::optional<IpPrefix> overlapped(const std::vector<IpPrefix>& routes, const IpPrefix& route);

int64_t unix_now();

// For finish(): the keys of each kind, without reading anything.
void read_server_keys(ConfigReader& reader);
void read_client_keys(ConfigReader& reader);

}  // namespace masque
