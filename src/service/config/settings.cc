// SPDX-License-Identifier: Apache-2.0
#include "service/config/settings.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <format>

#include "host/clock.h"
#include "service/files.h"
#include "service/pki/certificate.h"

namespace masque {

namespace {

constexpr size_t kInterfaceNameBytesMax = 15;  // IFNAMSIZ - 1
constexpr size_t kHostNameBytesMax = 253;      // RFC 1035 2.3.4
constexpr uint32_t kMtuMin = 1280;             // RFC 8200 5; IPv6 inside needs it
constexpr uint32_t kMtuMax = 65'535;
// What a 1500-byte path carries at most, less our headers: above it a value only looks precise.
constexpr uint32_t kMtuOfEthernet = 1400;
constexpr uint32_t kEthernet = 1500;

constexpr auto kCongestion =
    std::to_array<NamedChoice<CongestionChoice>>({{"cubic", CongestionChoice::Cubic},
                                                  {"bbr", CongestionChoice::Bbr},
                                                  {"reno", CongestionChoice::Reno}});
constexpr auto kRetry = std::to_array<NamedChoice<RetryChoice>>(
    {{"auto", RetryChoice::Auto}, {"always", RetryChoice::Always}, {"never", RetryChoice::Never}});
constexpr auto kLogLevels = std::to_array<NamedChoice<LogLevel>>({{"trace", LogLevel::Trace},
                                                                  {"debug", LogLevel::Debug},
                                                                  {"info", LogLevel::Info},
                                                                  {"warn", LogLevel::Warn},
                                                                  {"warning", LogLevel::Warn},
                                                                  {"error", LogLevel::Error},
                                                                  {"off", LogLevel::Off}});
constexpr auto kLogFormats =
    std::to_array<NamedChoice<LogFormat>>({{"text", LogFormat::Text}, {"json", LogFormat::Json}});

bool check_pem_form(ConfigReader& reader, const LocatedText& at, std::string_view pem,
                    PemKind kind) {
  const std::string_view wanted =
      kind == PemKind::Key ? "PRIVATE KEY-----" : "-----BEGIN CERTIFICATE-----";
  if (pem.contains(wanted)) return true;
  reader.error(at, std::format("holds no {} in PEM form (\"{}\")",
                               kind == PemKind::Key ? "private key" : "certificate",
                               kind == PemKind::Key ? "-----BEGIN PRIVATE KEY-----" : wanted));
  return false;
}

PemSource read_pem_file(ConfigReader& reader, const LocatedText& at, PemKind kind) {
  const std::string path = resolve_beside(reader.path(), at.value);
  const auto file = read_text_file(path);
  if (!file) {
    reader.error(at, std::format("cannot read the file: {}", file.error().message()));
    return {};
  }
  if (kind == PemKind::Key)
    warn_unless_secret(reader, at, check_secrecy(path, file->mode, file->owner));
  reader.note_contents(at.key, sha256_hex(file->text));
  if (!check_pem_form(reader, at, file->text, kind)) return {};
  return {.file = path, .pem = file->text};
}

}  // namespace

void warn_unless_secret(ConfigReader& reader, const LocatedText& at,
                        const std::expected<void, std::string>& secrecy) {
  if (!secrecy) reader.warn(at, "unsafe: " + secrecy.error());
}

PemSource read_pem(ConfigReader& reader, const PemKeys& keys, PemPlace& at) {
  const auto file = reader.text(keys.file_key);
  const auto text = reader.text(keys.text_key);
  reader.set_form(keys.file_key, "a path");
  reader.set_form(keys.text_key, "text in PEM form");
  if (file && text) {
    const auto& later = file->place < text->place ? *text : *file;
    reader.error(later, std::format("both {} and {} are set: remove one of them", keys.file_key,
                                    keys.text_key));
    return {};
  }
  if (file) {
    at = {.place = file->place, .key = file->key};
    return read_pem_file(reader, *file, keys.kind);
  }
  if (!text) return {};
  at = {.place = text->place, .key = text->key};
  if (!check_pem_form(reader, *text, text->value, keys.kind)) return {};
  return {.file = {}, .pem = text->value};
}

void check_certificate_pair(ConfigReader& reader, const PemSource& certificate,
                            const PemSource& key, const PemPlace& at) {
  constexpr int64_t kWarnSeconds = int64_t{30} * 24 * 3600;
  const auto info = read_certificate(certificate.pem);
  if (!info) return reader.error(at.place, at.key, info.error());
  if (const auto fits = check_pair(certificate.pem, key.pem); !fits) {
    return reader.error(at.place, at.key, fits.error());
  }
  const int64_t now = unix_now();
  if (const auto valid = check_validity(*info, now); !valid)
    return reader.error(at.place, at.key, valid.error());
  if (info->not_after - now < kWarnSeconds) {
    reader.warn(
        at.place, at.key,
        std::format("the certificate expires in {} days", (info->not_after - now) / (24 * 3600)));
  }
}

void check_ca(ConfigReader& reader, const PemSource& ca, const PemPlace& at) {
  const auto info = read_certificate(ca.pem);
  const auto fault = !info ? info.error() : check_validity(*info, unix_now()).error_or("");
  if (!fault.empty()) reader.error(at.place, at.key, fault);
}

std::optional<LocatedText> read_path(ConfigReader& reader, std::string_view key) {
  auto path = reader.text(key);
  reader.set_form(key, "a path");
  if (path) path->value = resolve_beside(reader.path(), path->value);
  return path;
}

uint32_t read_mtu(ConfigReader& reader) {
  const auto mtu = reader.integer("mtu", 0, kMtuMax);
  if (!mtu || mtu->value == kMtuAutomatic) return kMtuAutomatic;
  const auto value = static_cast<uint32_t>(mtu->value);
  if (value < kMtuMin) {
    reader.error(
        *mtu, std::format("{} is less than {}, which IPv6 needs: leave mtu out to have it measured",
                          value, kMtuMin));
    return kMtuAutomatic;
  }
  if (value > kMtuOfEthernet && value <= kEthernet) {
    reader.warn(*mtu,
                std::format("{} is only an upper limit: the tunnel's MTU follows the path, and a "
                            "{}-byte path carries less",
                            value, kEthernet));
  }
  return value;
}

bool is_interface_name(std::string_view name) {
  if (name.empty() || name.size() > kInterfaceNameBytesMax || name == "." || name == "..")
    return false;
  return std::ranges::all_of(name, [](unsigned char c) {
    return c > 0x20 && c < 0x7f && c != '/' && c != ':' && c != '"' && c != '%' && c != '\\';
  });
}

bool is_host_name(std::string_view name) {
  if (IpAddress::parse(name)) return true;
  if (name.empty() || name.size() > kHostNameBytesMax || name.front() == '-' || name.front() == '.')
    return false;
  return std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
  });
}

std::optional<HostAndPort> parse_host_and_port(std::string_view text) {
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    if (!port.empty() && !port.starts_with(':')) return std::nullopt;
    if (!port.empty()) port.remove_prefix(1);
    if (!IpAddress::parse(host)) return std::nullopt;
  } else if (std::ranges::count(text, ':') == 1) {
    host = text.substr(0, text.find(':'));
    port = text.substr(text.find(':') + 1);
  }
  if (!is_host_name(host)) return std::nullopt;
  HostAndPort out{.host = std::string(host), .port = std::nullopt};
  if (port.empty() && !text.ends_with(':')) return out;
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number == 0) return std::nullopt;
  out.port = number;
  return out;
}

std::string read_tun_name(ConfigReader& reader) {
  const auto name = reader.text("tun_name");
  if (!name) return {};
  if (is_interface_name(name->value)) return name->value;
  reader.error(
      *name,
      std::format("an interface name has 1 to {} printable characters without space, / : % \" \\",
                  kInterfaceNameBytesMax));
  return {};
}

MtuProbePolicy read_ipv6_probe(ConfigReader& reader) {
  constexpr auto kPolicies =
      std::to_array<NamedChoice<MtuProbePolicy>>({{"measure", MtuProbePolicy::Measure},
                                                  {"require", MtuProbePolicy::Require},
                                                  {"off", MtuProbePolicy::Off}});
  return reader.choice<MtuProbePolicy>("network.ipv6_probe", kPolicies)
      .value_or(MtuProbePolicy::Measure);
}

QuicConfig read_quic(ConfigReader& reader, QuicRole role) {
  QuicConfig quic;
  quic.congestion =
      reader.choice<CongestionChoice>("quic.congestion", kCongestion).value_or(quic.congestion);
  quic.keep_alive = reader.duration("quic.keep_alive", 1s, 1h, ConfigReader::Zero::Allowed)
                        .value_or(quic.keep_alive);
  quic.idle_timeout = reader.duration("quic.idle_timeout", 2s, 1h, ConfigReader::Zero::Refused)
                          .value_or(quic.idle_timeout);
  if (role == QuicRole::Server) {
    quic.retry = reader.choice<RetryChoice>("quic.retry", kRetry).value_or(quic.retry);
  }
  const auto place = reader.place("quic.keep_alive");
  if (!place) {
    quic.keep_alive = std::min(quic.keep_alive, quic.idle_timeout / 3);
  } else if (quic.keep_alive >= quic.idle_timeout) {
    reader.error(
        *place, "quic.keep_alive",
        "must be shorter than idle_timeout, or idle tunnels break: a third of it is a good value");
  }
  return quic;
}

LogSettings read_log(ConfigReader& reader) {
  LogSettings log;
  log.level = reader.choice<LogLevel>("log_level", kLogLevels).value_or(log.level);
  log.format = reader.choice<LogFormat>("log.format", kLogFormats).value_or(log.format);
  return log;
}

std::string read_control_socket(ConfigReader& reader) {
  constexpr size_t kSocketPathBytesMax = 107;  // sun_path with its NUL
  const auto path = read_path(reader, "control.socket");
  if (!path) return default_control_socket(reader.path());
  if (path->value.size() > kSocketPathBytesMax) {
    reader.error(*path,
                 std::format("the path of a socket has at most {} bytes", kSocketPathBytesMax));
  }
  return path->value;
}

std::optional<IpPrefix> overlapped(const std::vector<IpPrefix>& routes, const IpPrefix& route) {
  if (is_default_route(route)) return std::nullopt;
  const auto found = std::ranges::find_if(
      routes, [&](const IpPrefix& r) { return !is_default_route(r) && r.overlaps(route); });
  return found == routes.end() ? std::nullopt : std::optional(*found);
}

int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(wall_clock_now().time_since_epoch())
      .count();
}

}  // namespace masque
