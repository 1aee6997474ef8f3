// SPDX-License-Identifier: Apache-2.0
#include "service/remedy.h"

#include <format>

namespace masque {

namespace {

constexpr std::string_view kNoGateway = "server_addr is not the port of a MASQUE gateway";
constexpr std::string_view kNewProfile = "`masque-vpn user add` on the gateway makes a new profile";

// The names of the refused certificate are left out on purpose: it may be anybody's, and whoever
// took one of them as server_name would trust its owner.
std::string of_certificate(CertificateFault fault, const ClientConfig& config) {
  switch (fault) {
    case CertificateFault::Untrusted:
      return "set ca_file or ca_pem to the gateway's CA";
    case CertificateFault::OtherName:
      return std::format("the certificate is not for {}: set server_name to a name in it",
                         config.server_name);
    case CertificateFault::Expired:
      return "the gateway needs a new one, if this machine's clock is right";
    case CertificateFault::NotYetValid:
      return "set this machine's clock";
    case CertificateFault::None:
    case CertificateFault::Other:
      return {};
  }
  std::unreachable();
}

// Of an alert of the gateway (RFC 8446 6).
std::string of_alert(uint64_t alert, const ClientConfig& config) {
  constexpr uint64_t kUnrecognizedName = 112, kCertificateRequired = 116, kNoAlpn = 120;
  if (alert == kNoAlpn) return std::string(kNoGateway);
  if (alert == kUnrecognizedName) return "check server_name";
  const bool of_our_certificate =
      (alert >= 42 && alert <= 46) || alert == 48 || alert == 49 || alert == kCertificateRequired;
  if (!of_our_certificate) return {};
  if (!config.certificate.present()) return "set tls_cert and tls_key, or cert_pem and key_pem";
  return std::string(kNewProfile);
}

std::string of_close(const CloseReason& closed, const ClientConfig& config) {
  switch (closed.cause) {
    case CloseReason::Cause::Tls:
      return of_certificate(closed.certificate, config);
    case CloseReason::Cause::VersionNegotiation:
      return std::string(kNoGateway);
    case CloseReason::Cause::HandshakeTimeout:
      return "check server_addr, and that UDP passes to it";
    case CloseReason::Cause::Peer: {
      constexpr uint64_t kCryptoError = 0x100;  // RFC 9001 4.8
      const bool alert = !closed.application && closed.code / kCryptoError == 1;
      return alert ? of_alert(closed.code % kCryptoError, config) : std::string();
    }
    case CloseReason::Cause::Local:
    case CloseReason::Cause::IdleTimeout:
    case CloseReason::Cause::StatelessReset:
    case CloseReason::Cause::Transport:
      return {};
  }
  std::unreachable();
}

std::string of_status(unsigned status, const ClientConfig& config) {
  const bool own_template = config.values.contains("http.uri_template");
  switch (status) {
    case 401:
      return "`masque-vpn user token` on the gateway issues a token for [auth] token";
    case 403:
      return std::string(kNewProfile);
    case 404:
      return own_template ? "check [http] uri_template"
                          : "set [http] uri_template as the gateway has it";
    case 405:
    case 501:
      return std::string(kNoGateway);
    case 421:
      return std::format("check {}", own_template ? "[http] uri_template" : "server_name");
    default:
      return {};
  }
}

}  // namespace

std::string remedy_of(const ClientStateChanged& change, const std::optional<CloseReason>& closed,
                      const ClientConfig& config) {
  if (change.status >= 300) return of_status(change.status, config);
  // Its SETTINGS offer no CONNECT-IP.
  if (change.state == ClientState::Failed && change.status == 0) return std::string(kNoGateway);
  return closed ? of_close(*closed, config) : std::string();
}

std::string_view remedy_of(Shortage shortage) {
  switch (shortage) {
    case Shortage::None:
      return {};
    case Shortage::Sessions:
      return "raise [limits] max_clients";
    case Shortage::Addresses:
      return "add a network to assign_cidr, or name a larger one";
  }
  std::unreachable();
}

std::string with_remedy(std::string what, std::string_view remedy) {
  if (!remedy.empty()) what += std::format("; {}", remedy);
  return what;
}

}  // namespace masque
