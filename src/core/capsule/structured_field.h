// SPDX-License-Identifier: Apache-2.0
// Proxy-Status (RFC 9209), a structured field (RFC 8941). Capsule-Protocol (RFC 9297 3.4), the
// other one of CONNECT-IP, is only written: whatever a peer puts there changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace masque {

// Error types of RFC 9209 2.3 with the status code each recommends.
enum class ProxyError : uint8_t {
  DnsTimeout,
  DnsError,
  DestinationNotFound,
  DestinationUnavailable,
  DestinationIpProhibited,
  DestinationIpUnroutable,
  ConnectionRefused,
  ConnectionTerminated,
  ConnectionTimeout,
  ConnectionReadTimeout,
  ConnectionWriteTimeout,
  ConnectionLimitReached,
  TlsProtocolError,
  TlsCertificateError,
  TlsAlertReceived,
  HttpRequestError,
  HttpRequestDenied,
  HttpUpgradeFailed,
  HttpProtocolError,
  ProxyInternalResponse,
  ProxyInternalError,
  ProxyConfigurationError,
  ProxyLoopDetected,
};
std::string_view to_token(ProxyError error);
std::optional<ProxyError> proxy_error_from_token(std::string_view token);
// 0: the RFC leaves it to the situation.
uint16_t recommended_status(ProxyError error);

// One member of the list: an intermediary and what it has to say.
struct ProxyStatus {
  std::string proxy;                // its name
  std::optional<ProxyError> error;  // nullopt also for a type we do not know
  std::string error_token;          // as received or, if empty, that of `error`
  std::string details;              // empty = absent
  std::string rcode;                // dns_error: "NXDOMAIN"
  std::string next_hop;
  std::optional<uint16_t> received_status;
  friend bool operator==(const ProxyStatus&, const ProxyStatus&) = default;
};

constexpr size_t kProxyStatusMembersMax = 16;
constexpr size_t kStructuredFieldMax = 4096;

std::string to_field(const ProxyStatus& status);
// A new member is appended on the right (RFC 9209 2).
std::string append_member(std::string_view field, const ProxyStatus& status);
// Unknown parameters are ignored; BadSyntax, TooMany, TooLong.
Result<std::vector<ProxyStatus>> parse_proxy_status(std::string_view field);

}  // namespace masque
